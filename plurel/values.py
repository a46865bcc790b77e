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

    def encoder_inputs(self) -> list[tuple[int | None, NDArray[Any]]]:
        """What a child's encoders read: (number of categories or None, values) a column."""
        if self.mode == EAGER:
            return [
                (column.num_categories, values)
                for column, values in zip(self.columns, self.values, strict=True)
            ]
        return [(None, values.astype(np.float32, copy=False)) for values in self.values]
