"""The finished features of one table, before transforms and missing values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel.schema import ColumnSchema

EAGER = "type_eager"
LAZY = "type_lazy"


@dataclass(frozen=True, eq=False)
class TableValues:
    """Columns in the order in which they stand in the table.

    values: one array a column, of the table's rows: float32 for numerical columns, int64 codes
    0 .. num_categories - 1 for categorical ones. mode: "type_eager" (children read codes as
    categories) or "type_lazy" (children read codes as numbers).
    """

    columns: tuple[ColumnSchema, ...]
    values: tuple[NDArray[Any], ...]
    mode: str

    def encoder_types(self) -> list[int | None]:
        """What a child's encoder of each column reads: that many categories, or numbers (None)."""
        if self.mode == EAGER:
            return [column.num_categories for column in self.columns]
        return [None] * len(self.columns)


@dataclass(frozen=True, eq=False)
class Cells:
    """Finished cells of one column: values of any kind, and where there is one."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Cells":
        """The cells of these rows; null for row -1."""
        return Cells(self.values[rows], self.valid[rows] & (rows >= 0))
