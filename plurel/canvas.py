"""What the pictures share: colours, and reading a database folder."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest

from plurel.errors import InputError
from plurel.manifest import MANIFEST, read_tables

ENTITY, ACTIVITY = "#cfe0f3", "#fbd9b5"
INK, SOFT = "#22303c", "#7b8a97"


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
