"""What a source of an import tells about its tables, and how its rows arrive."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

BATCH_ROWS = 20_000
"""Rows that are in memory together while they are read."""

MOMENT = pa.timestamp("us")
CLOCK = pa.time64("us")
LARGE_WHOLE = pa.decimal128(38, 0)
"""Whole numbers beyond 64 bits."""


@dataclass(frozen=True)
class Column:
    """A column and the Arrow type in which its values arrive: bool, int64, uint64, float, double,
    string, binary, timestamp[us] (UTC, without a zone), time64[us] or decimal128(38, 0).

    note: what was changed on the way, for a message; "" if nothing.
    """

    name: str
    type: pa.DataType
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A foreign key: `columns` hold values of `parent_columns` of table `parent`. missing: the
    source declares the key, but has no such table."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    missing: bool = False


@dataclass(frozen=True)
class SourceTable:
    """One table. Keys are those that the source itself declares, () if none.

    num_rows: None where counting would mean reading. left_out: why the table is not imported
    unless it is named ("a view"); "" for tables that are.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    num_rows: int | None = None
    left_out: str = ""

    def position(self, column: str) -> int:
        """Where the column stands; ValueError if it does not."""
        return self.names.index(column)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


class Source(Protocol):
    """An open database. Raises InputError, in one line, for everything that can't be read."""

    @property
    def label(self) -> str:
        """Where it is, for messages and for the provenance file: never with a password."""

    def tables(self) -> Sequence[SourceTable]:
        """All tables, in the source's order; their names differ even without regard to case."""

    def batches(self, table: SourceTable) -> Iterator[pa.RecordBatch]:
        """All rows in pieces of at most BATCH_ROWS, columns in the order and types of `table`."""

    def close(self) -> None:
        """Give connections and files back."""
