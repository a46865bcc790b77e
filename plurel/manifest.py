"""manifest.yaml of a RelBench folder, checked: which tables there are and how they hang together.

Without relbench, whose import takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plurel.errors import InputError

MANIFEST = "manifest.yaml"
PROVENANCE = "provenance.yaml"

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class TableKeys:
    """Key and time columns of a table. foreign_keys: per column the table that it references."""

    primary_key: str | None
    time_column: str | None
    foreign_keys: dict[str, str]

    def check(self, name: str, columns: Sequence[str], manifest: Path, file: object) -> None:
        """InputError if `columns`, those of the table in `file`, lack one that is named here."""
        for column in (self.primary_key, self.time_column, *self.foreign_keys):
            if column is not None and column not in columns:
                raise InputError(
                    f"{manifest}: table '{name}' has no column '{column}' in {file}; "
                    "name one that is there"
                )


def read_tables(folder: Path) -> tuple[dict[str, Any], dict[str, TableKeys]]:
    """The whole manifest of a folder and the keys of its tables, whose references are checked.

    Raises InputError that names the file and the table or key.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: no {MANIFEST}; give the folder of a RelBench 3 database")
    manifest = read_yaml(path)
    specs = manifest.get("tables")
    if not isinstance(specs, dict) or not specs:
        raise InputError(f"{path}: 'tables' must name at least one table")
    tables = {str(name): _keys(str(name), spec, path) for name, spec in specs.items()}
    _check_references(tables, path)
    return manifest, tables


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; InputError in one line otherwise."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); check the file and its rights"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # or not UTF-8, or no date: 2020-13-45
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: broken YAML ({reason}); mend the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold keys and values")
    return content


def _keys(name: str, spec: Any, path: Path) -> TableKeys:
    spec = {} if spec is None else spec
    keys = (spec.get("fkeys") or {}) if isinstance(spec, dict) else None
    if not isinstance(keys, dict):
        raise InputError(f"{path}: table '{name}' must be a mapping with pkey, time_col, fkeys")
    named = [spec.get("pkey"), spec.get("time_col"), *keys, *keys.values()]
    for value in named:
        if not isinstance(value, str | None):
            raise InputError(
                f"{path}: table '{name}' has {value!r} for a key; give the name of one column, "
                "or of a table for fkeys"
            )
    return TableKeys(spec.get("pkey"), spec.get("time_col"), dict(keys))


def _check_references(tables: Mapping[str, TableKeys], path: Path) -> None:
    for name, table in tables.items():
        for column, parent in table.foreign_keys.items():
            where = f"{path}: foreign key '{name}.{column}'"
            if parent not in tables:
                raise InputError(
                    f"{where} references table '{parent}', which is not there; name one that is"
                )
            if tables[parent].primary_key is None:
                raise InputError(
                    f"{where} references table '{parent}', which has no primary key; name its pkey"
                )
