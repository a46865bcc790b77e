"""declared.yaml of a folder: the tables as SQL declared them, where RelBench's manifest can't.

RelBench knows keys of one column that are row numbers. A folder made from SQL holds stand-ins for
composite keys and keys of text, dates or other numbers; what was declared stands here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from plurel.errors import InputError
from plurel.manifest import read_yaml

DECLARED = "declared.yaml"

_PLAIN_TYPES: tuple[tuple[str, pa.DataType], ...] = (
    (r"(TINY|SMALL|MEDIUM|BIG|U|UBIG)?INT(EGER)?\b|(SMALL|BIG)?SERIAL\b|INT\d", pa.int64()),
    (r"BOOL(EAN)?\b", pa.bool_()),
    (r"DATE\b", pa.date32()),
)


@dataclass(frozen=True)
class DeclaredKey:
    """A foreign key: `columns` reference `parent_columns` of table `parent`."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class DeclaredTable:
    """types: per column the Arrow type that its declaration asks for, None for what the file has;
    required: the columns that are NOT NULL."""

    types: dict[str, pa.DataType | None]
    required: frozenset[str]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[DeclaredKey, ...]

    def check(self, columns: Sequence[str], path: Path, file: Path) -> None:
        """InputError if the table in `file` lacks a column that is declared."""
        keys = (self.primary_key, *self.unique, *(key.columns for key in self.foreign_keys))
        for name in (*self.types, *(column for key in keys for column in key)):
            if name not in columns:
                raise InputError(f"{path}: column '{name}' is not in {file}; generate it again")


def read_declared(folder: Path, tables: Sequence[str]) -> dict[str, DeclaredTable] | None:
    """The declared tables, or None for a folder that was not made from SQL.

    Raises InputError if they are not the manifest's `tables`, or if the file is broken.
    """
    path = folder / DECLARED
    if not path.is_file():
        return None
    try:
        plain = read_yaml(path)["tables"]
        declared = {
            str(name): DeclaredTable(
                {str(c): _type(str(spec["type"])) for c, spec in table["columns"].items()},
                frozenset(str(c) for c, spec in table["columns"].items() if spec["not_null"]),
                tuple(table["primary_key"]),
                tuple(map(tuple, table["unique"])),
                tuple(
                    DeclaredKey(tuple(k["columns"]), k["parent"], tuple(k["parent_columns"]))
                    for k in table["foreign_keys"]
                ),
            )
            for name, table in plain.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not what plurel writes ({type(error).__name__}: {error}); generate the "
            "database again or remove the file"
        ) from None
    parents = {key.parent for table in declared.values() for key in table.foreign_keys}
    if set(declared) != set(tables) or not parents <= set(declared):
        raise InputError(f"{path}: its tables are not those of the manifest; generate them again")
    return {
        name: replace(
            table,
            foreign_keys=tuple(_in_order(key, declared[key.parent]) for key in table.foreign_keys),
        )
        for name, table in declared.items()
    }


def _in_order(key: DeclaredKey, parent: DeclaredTable) -> DeclaredKey:
    """The key with its columns in the order of the parent's key, since DuckDB wants that."""
    for wanted in (parent.primary_key, *parent.unique):
        if set(wanted) == set(key.parent_columns):
            own = dict(zip(key.parent_columns, key.columns, strict=True))
            return replace(key, columns=tuple(own[name] for name in wanted), parent_columns=wanted)
    return key


def _type(spelled: str) -> pa.DataType | None:
    for pattern, kind in _PLAIN_TYPES:
        if re.match(pattern, spelled, re.IGNORECASE):
            return kind
    decimal = re.match(r"(?:DECIMAL|NUMERIC)\((\d+)(?:,\s*(\d+))?\)", spelled, re.IGNORECASE)
    if decimal and 1 <= int(decimal[1]) <= 38:
        return pa.decimal128(int(decimal[1]), int(decimal[2] or 0))
    return None
