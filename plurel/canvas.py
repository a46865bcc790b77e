"""What the pictures share: colours, and reading a database, be it a folder or an object."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import Database, Dataset
from relbench.manifest import DatasetManifest, TableSpec

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.declared import DECLARED
from plurel.errors import InputError
from plurel.folder import read_provenance
from plurel.manifest import MANIFEST, read_tables, read_yaml

ENTITY, ACTIVITY = "#cfe0f3", "#fbd9b5"
INK, SOFT = "#22303c", "#7b8a97"
DOTS, LINE = "#1f4e79", "#b8500c"
KINDS = ("number", "boolean", "date", "text")

Source: TypeAlias = str | Path | Database | Dataset
"""A database to draw: a RelBench folder, a Database, or a Dataset such as SyntheticDataset."""


class NothingToDrawError(InputError):
    """The database has nothing that this picture shows."""


@dataclass
class Contents:
    """A database as the pictures read it.

    specs: keys and time column by table. splits: validation and test timestamps by name, where
    they are known. folder, database: where the rows are, one of the two. dataset: what drew the
    database, if it is known. declared: per table columns of keys that SQL declared.
    """

    name: str
    specs: dict[str, TableSpec]
    splits: dict[str, pd.Timestamp]
    folder: Path | None = None
    database: Database | None = None
    dataset: SyntheticDataset | None = None
    declared: dict[str, set[str]] = field(default_factory=dict)

    def frame(self, table: str) -> pd.DataFrame:
        """One table."""
        if self.database is not None:
            return self.database.table_dict[table].df
        return read_table(self.folder or Path(), table)

    def types(self, table: str) -> tuple[pa.Schema, int]:
        """Columns with their types, and the number of rows; of a folder without reading them."""
        if self.database is not None:
            frame = self.database.table_dict[table].df
            return pa.Schema.from_pandas(frame, preserve_index=False), len(frame)
        file = open_table(self.folder or Path(), table)
        return file.schema_arrow, file.metadata.num_rows

    def features(self, table: str) -> dict[str, str]:
        """Kinds (number, boolean, date, text) of the columns that are neither key nor time."""
        spec = self.specs[table]
        keys = {spec.pkey, spec.time_col, *spec.fkeys, *self.declared.get(table, ())}
        schema, _ = self.types(table)
        return {column.name: _kind(column.type) for column in schema if column.name not in keys}

    def named(self, table: str | None) -> list[str]:
        """This table, or all; raises InputError if it is not there."""
        if table is None:
            return list(self.specs)
        if table not in self.specs:
            raise InputError(f"{self.name} has no table {table!r}; it has {', '.join(self.specs)}")
        return [table]


def open_source(source: Source) -> Contents:
    """Contents of a folder or an object; raises InputError for a folder that is broken."""
    if isinstance(source, Database):
        return Contents("database", _specs(source), {}, database=source)
    if isinstance(source, Dataset):
        drawn = source if isinstance(source, SyntheticDataset) else None
        database = source.make_db()
        splits = {"validation": source.val_timestamp, "test": source.test_timestamp}
        name = str(getattr(source, "name", type(source).__name__))
        declared = drawn.make_schema().declared() if drawn is not None else None
        return Contents(
            name,
            _specs(database),
            splits,
            database=database,
            dataset=drawn,
            declared=_declared_keys(declared),
        )
    folder = Path(source)
    manifest = read_manifest(folder)
    times = {"validation": manifest.val_timestamp, "test": manifest.test_timestamp}
    splits = {name: pd.Timestamp(time) for name, time in times.items()}
    file = folder / DECLARED
    return Contents(
        manifest.name,
        dict(manifest.tables),
        splits,
        folder=folder,
        dataset=_drawn(folder),
        declared=_declared_keys(read_yaml(file) if file.is_file() else None),
    )


def _declared_keys(plain: dict[str, Any] | None) -> dict[str, set[str]]:
    """Per table the columns of primary and foreign keys, from what declared.yaml holds."""
    return {
        name: {*table["primary_key"], *(c for key in table["foreign_keys"] for c in key["columns"])}
        for name, table in (plain or {"tables": {}})["tables"].items()
    }


def _specs(database: Database) -> dict[str, TableSpec]:
    return {
        name: TableSpec(
            pkey=table.pkey_col, time_col=table.time_col, fkeys=dict(table.fkey_col_to_pkey_table)
        )
        for name, table in database.table_dict.items()
    }


def _drawn(folder: Path) -> SyntheticDataset | None:
    """What made the folder; None if it does not say, or if another version or file did."""
    provenance = read_provenance(folder) or {}
    if not {"seed", "config"} <= provenance.keys():
        return None
    try:
        dataset = SyntheticDataset(provenance["seed"], Config.from_dict(provenance["config"]))
        return dataset if dataset.provenance() == provenance else None
    except InputError:
        return None


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_temporal(kind):
        return "date"
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return "number" if any(is_kind(kind) for is_kind in numbers) else "text"


def read_manifest(folder: Path) -> DatasetManifest:
    """The manifest of a database folder; InputError if it is broken or does not fit its tables."""
    _, tables = read_tables(folder)
    path = folder / MANIFEST
    for name, keys in tables.items():
        keys.check(name, open_table(folder, name).schema_arrow.names, path, f"db/{name}.parquet")
    try:
        return DatasetManifest.load(path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a RelBench manifest ({error})") from None


def open_table(folder: Path, table: str) -> pq.ParquetFile:
    """One table's file; raises InputError if it is missing or broken."""
    file = folder / "db" / f"{table}.parquet"
    if not file.is_file():
        raise InputError(f"{file}: no such file; the manifest names it")
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} can't be read: {' '.join(str(error).split())}") from None


def read_table(folder: Path, table: str) -> pd.DataFrame:
    """One table as a data frame."""
    file = open_table(folder, table)
    try:
        return file.read().to_pandas()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: table {table} can't be read: {reason}") from None
