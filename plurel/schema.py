"""What a database looks like before it holds a row: tables, columns, keys, sizes.

A `Schema` is plain data, drawn by `draw_schema` or read from SQL; everything after it (links,
features, dates) is a function of the schema, the config and a seed.
"""

from dataclasses import dataclass, field
from typing import Literal

PRIMARY_KEY = "row_idx"
TIME_COLUMN = "date"

ColumnKind = Literal["numerical", "categorical"]
TableKind = Literal["entity", "activity"]


@dataclass(frozen=True)
class ColumnSchema:
    """A feature column. `num_categories` is None exactly for numerical columns; `categories`
    holds the values of a categorical column that a schema names (None: drawn integers)."""

    name: str
    kind: ColumnKind
    num_categories: int | None = None
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ForeignKey:
    """`column` of the table that holds this key references the primary key of table `parent`."""

    column: str
    parent: str


@dataclass(frozen=True)
class TableSchema:
    """One table. Activity tables (sinks of the graph) have a time column, entity tables none."""

    name: str
    kind: TableKind
    num_rows: int
    columns: tuple[ColumnSchema, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    primary_key: str = PRIMARY_KEY
    time_column: str | None = None


@dataclass(frozen=True)
class Schema:
    """A database's tables, parents before children (topological order of the foreign keys)."""

    tables: tuple[TableSchema, ...]
    layout: str = ""
    by_name: dict[str, TableSchema] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {table.name: table for table in self.tables})
