"""declared.yaml of a folder: the keys that SQL declared and that RelBench's manifest can't hold.

RelBench knows keys of one column that are row numbers. What a schema file declared beside them,
composite keys and keys of text, dates or other numbers, stands here; its columns are in the tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plurel.errors import InputError
from plurel.manifest import read_yaml

DECLARED = "declared.yaml"


@dataclass(frozen=True)
class DeclaredKeys:
    """A table's further keys: sets of columns that are unique, the declared primary key among them,
    and foreign keys as (columns, parent table, its columns)."""

    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = ()


def read_declared(folder: Path, primary_keys: dict[str, str | None]) -> dict[str, DeclaredKeys]:
    """The further keys of each table; none for a folder without the file.

    primary_keys: RelBench's, which are not repeated. Raises InputError for a broken file.
    """
    path = folder / DECLARED
    if not path.is_file():
        return {}
    tables = read_yaml(path).get("tables")
    try:
        return {
            name: _keys(table, primary_keys[name]) for name, table in dict(tables or {}).items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not what plurel writes ({type(error).__name__}: {error}); generate the "
            "database again or remove the file"
        ) from None


def _keys(table: dict[str, Any], primary_key: str | None) -> DeclaredKeys:
    sets = [tuple(map(str, columns)) for columns in (table["primary_key"], *table["unique"])]
    return DeclaredKeys(
        tuple(dict.fromkeys(columns for columns in sets if columns not in ((), (primary_key,)))),
        tuple(
            (tuple(key["columns"]), str(key["parent"]), tuple(key["parent_columns"]))
            for key in table["foreign_keys"]
            if key["columns"] != [key["relbench_column"]]
        ),
    )
