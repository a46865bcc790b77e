"""What SQL statements declare: tables, columns with their types, keys.

Plain data, filled by `plurel.sql`; `to_plain` is the form that is kept beside a generated database.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Base = Literal[
    "integer",
    "decimal",
    "float",
    "boolean",
    "text",
    "date",
    "timestamp",
    "time",
    "binary",
    "category",
]
Value = str | int | float | bool


@dataclass(frozen=True)
class SqlType:
    """What a column may hold.

    spelled: the type as the file writes it. low, high: inclusive bounds, None where there is none
    (dates: seconds since 1970); low_checked, high_checked: a CHECK says so, not the type. scale:
    digits after the point of a decimal. min_length, length: bounds of a text in characters. form:
    what a text holds, "words", "uuid", "json" and the like. values: what a category may hold.
    """

    base: Base
    spelled: str = ""
    low: float | None = None
    high: float | None = None
    low_checked: bool = False
    high_checked: bool = False
    scale: int = 0
    min_length: int = 0
    length: int | None = None
    form: str = "words"
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class SqlColumn:
    """A declared column. default: its literal default, None without one (or with NULL)."""

    name: str
    type: SqlType
    line: int
    not_null: bool = False
    default: Value | None = None


@dataclass(frozen=True)
class SqlKey:
    """A foreign key: `columns` hold what `parent_columns` of the table `parent` hold."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return f"({', '.join(self.columns)}) -> {self.parent} ({', '.join(self.parent_columns)})"


@dataclass(frozen=True)
class Ordered:
    """CHECK (low <= high) between two columns, low < high if strict."""

    low: str
    high: str
    strict: bool


@dataclass(frozen=True)
class SqlTable:
    """A declared table; primary_key is empty without one, uniques don't repeat it."""

    name: str
    columns: tuple[SqlColumn, ...]
    line: int
    primary_key: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[SqlKey, ...] = ()
    ordered: tuple[Ordered, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the statement."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> SqlColumn:
        """The column of this name, which must be there."""
        return next(column for column in self.columns if column.name == name)

    @property
    def unique_sets(self) -> tuple[tuple[str, ...], ...]:
        """The primary key, if there is one, and the other unique sets of columns."""
        return ((self.primary_key,) if self.primary_key else ()) + self.uniques

    def to_plain(self) -> dict[str, Any]:
        """Names, types and keys as dicts, lists and strings, for YAML."""
        return {
            "columns": {
                column.name: {"type": column.type.spelled, "not_null": column.not_null}
                for column in self.columns
            },
            "primary_key": list(self.primary_key),
            "unique": [list(columns) for columns in self.uniques],
            "foreign_keys": [
                {
                    "columns": list(key.columns),
                    "parent": key.parent,
                    "parent_columns": list(key.parent_columns),
                }
                for key in self.foreign_keys
            ],
        }


@dataclass(frozen=True)
class SqlDatabase:
    """All declared tables in the order of the file; left_out: what was not understood, by line."""

    dialect: str
    tables: tuple[SqlTable, ...]
    left_out: tuple[str, ...] = ()
    by_name: dict[str, SqlTable] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {table.name: table for table in self.tables})


@dataclass(frozen=True)
class Roles:
    """What the generator does with each column of a table.

    is_activity: no other table references this one. natural_key: the column of a primary key of
    one integer. time_column: of the rows. key_columns: drawn with the keys, before any feature, as
    they are part of one; features: all other columns. key_sets: unique sets that the keys have to
    keep; completing: (feature, other columns) of unique sets that a feature keeps. owned, nullable:
    per foreign key the columns that take their values from it, and whether it may be null.
    """

    is_activity: bool
    natural_key: str | None
    time_column: str | None
    key_columns: tuple[str, ...]
    features: tuple[str, ...]
    key_sets: tuple[tuple[str, ...], ...]
    completing: tuple[tuple[str, tuple[str, ...]], ...]
    owned: tuple[tuple[str, ...], ...]
    nullable: tuple[bool, ...]
