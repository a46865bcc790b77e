"""Cross-table conditioning (PluRel, arXiv 2602.04029): what referenced rows add to a row's nodes.

Every column of every referenced parent row is encoded and is a term of every node that has
parents. The encoders belong to (parent column, child table), so the terms of all nodes are the
same, and each aggregation is associative: they are encoded and aggregated once per parent table
and aggregation, and gathered for the child's rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rustler
from plurel.mechanisms import Functions
from plurel.schema import TableSchema
from plurel.values import TableValues

WHOLE_ROWS = 1 << 17
"""Parents up to this size are encoded whole; of larger ones only the rows that a chunk of the
child references, so that memory stays bounded. Each row's encoding is the same either way."""

Links = NDArray[np.int64]


class CrossTable:
    """The encoders of the tables that a table references, and where its rows point."""

    def __init__(
        self, table: TableSchema, links: Sequence[Links], parents: Sequence[TableValues]
    ) -> None:
        self.links: list[tuple[str, Links]] = []
        self.parents: dict[str, TableValues] = {}
        for key, link, parent in zip(table.foreign_keys, links, parents, strict=True):
            if parent.columns:
                _check_link(table, key.column, link, len(parent.values[0]))
                self.links.append((key.parent, link))
                self.parents[key.parent] = parent
        self.first: dict[str, int] = {}
        self.encoded: dict[str, rustler.EncodedRows] = {}

    def add_encoders(self, functions: Functions) -> None:
        """One encoder a column of each parent table, for the values as they stand in the table."""
        for name, parent in self.parents.items():
            self.first[name] = functions.add_encoders(parent.encoder_types())

    def encode(self, model: rustler.TableModel, aggregations: Sequence[int]) -> None:
        """Encode the parents that are not large, for all rows of the child."""
        for name, parent in self.parents.items():
            if len(parent.values[0]) <= WHOLE_ROWS:
                columns = [_floats(column) for column in parent.values]
                self.encoded[name] = model.encode(self.first[name], columns, list(aggregations))

    def rows(
        self, model: rustler.TableModel, aggregations: Sequence[int], rows: slice
    ) -> list[tuple[rustler.EncodedRows, Links]]:
        """For each foreign key encoded rows and which of them the given rows reference (-1:
        none)."""
        found = []
        for name, link in self.links:
            part = np.ascontiguousarray(link[rows])
            if name in self.encoded:
                found.append((self.encoded[name], part))
                continue
            parent_rows, places = np.unique(part, return_inverse=True)
            places -= parent_rows[0] < 0  # -1 sorts first
            columns = [
                _floats(column[parent_rows[parent_rows >= 0]])
                for column in self.parents[name].values
            ]
            found.append((model.encode(self.first[name], columns, list(aggregations)), places))
        return found


def _floats(column: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(column, dtype=np.float32)


def _check_link(table: TableSchema, column: str, link: Links, size: int) -> None:
    if len(link) != table.num_rows:
        raise ValueError(f"{table.name}.{column}: {len(link)} links for {table.num_rows} rows")
    if link.size and not -1 <= int(link.min()) <= int(link.max()) < size:
        raise ValueError(f"{table.name}.{column}: a link lies outside of the parent's {size} rows")
