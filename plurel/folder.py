"""Databases as folders in RelBench 3's format.

    manifest.yaml               name, timestamps, and per table primary key, time column, keys
    db/<table>.parquet
    tasks/<task>/manifest.yaml  and {train,val,test}.parquet where labels are given
    provenance.yaml             what made the folder
    declared.yaml               the keys and types of a database that SQL declares

`relbench.load_dataset(folder)` opens it. A folder is written whole or not at all, and the same
input gives the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from relbench.base import Database, Table
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from plurel.atomic import new_folder
from plurel.declared import DECLARED
from plurel.errors import InputError
from plurel.manifest import MANIFEST, PROVENANCE
from plurel.spill import release

ROW_GROUP = 1 << 17
"""Rows of a parquet file that stand together, and are in memory together."""
SPLITS = ("train", "val", "test")
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")


def write_folder(
    path: str | Path,
    *,
    database: Database,
    name: str,
    val_timestamp: pd.Timestamp | str,
    test_timestamp: pd.Timestamp | str,
    tasks: Sequence[TaskManifest] = (),
    labels: Mapping[str, Mapping[str, pd.DataFrame]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    declared: Mapping[str, Any] | None = None,
    description: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a RelBench folder and return its path.

    labels: per task name and split a frame of labels. provenance, declared: plain data for the
    files of these names.
    A complete folder at `path` is replaced only with `overwrite`. Raises InputError, naming the
    table, column or task, if the parts don't fit together; then nothing is left behind.
    """
    _check_database(database)
    labels = labels or {}
    _check_tasks(database, tasks, labels)
    manifest = DatasetManifest(
        name=name,
        val_timestamp=str(pd.Timestamp(val_timestamp)),
        test_timestamp=str(pd.Timestamp(test_timestamp)),
        description=description or None,
        tables={key: _table_spec(table) for key, table in database.table_dict.items()},
    )
    with new_folder(path, marker=MANIFEST, overwrite=overwrite) as folder:
        (folder / "db").mkdir()
        for key, table in database.table_dict.items():
            write_parquet(table.df, folder / "db" / f"{key}.parquet", f"table {key}")
        for task in tasks:
            _write_task(folder / "tasks" / task.name, task, labels.get(task.name, {}))
        for extra, plain in ((PROVENANCE, provenance), (DECLARED, declared)):
            if plain is not None:
                (folder / extra).write_text(_yaml(plain), encoding="utf-8")
        manifest.save(folder / MANIFEST)
    return Path(path)


def is_complete(path: str | Path) -> bool:
    """True if a folder stands at `path`; folders appear only when they are complete."""
    return (Path(path) / MANIFEST).is_file()


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """What made the folder, or None if it does not say."""
    file = Path(path) / PROVENANCE
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{file} is not YAML; remove the folder or overwrite it") from None
    return plain if isinstance(plain, dict) else None


def write_parquet(frame: pd.DataFrame, path: Path, what: str) -> None:
    """One parquet file with fixed settings and no index or pandas metadata.

    Raises InputError, naming `what`, for columns that parquet can't hold.
    """
    # one part says its own types, and which column is wrong; several need those of the whole
    several = len(frame) > ROW_GROUP
    starts = range(0, max(len(frame), 1), ROW_GROUP)
    try:
        schema = pa.Schema.from_pandas(frame, preserve_index=False) if several else None
        with ExitStack() as stack:
            writer = None
            for start in starts:
                rows = frame.iloc[start : start + ROW_GROUP]
                part = pa.Table.from_pandas(rows, schema, preserve_index=False)
                part = part.replace_schema_metadata(None)
                if writer is None:
                    writer = pq.ParquetWriter(path, part.schema, compression="zstd", version="2.6")
                    stack.enter_context(writer)
                writer.write_table(part)
                release()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{what} can't be written as parquet: {reason}") from None


def _write_task(folder: Path, task: TaskManifest, labels: Mapping[str, pd.DataFrame]) -> None:
    folder.mkdir(parents=True)
    task.save(folder / MANIFEST)
    for split, frame in labels.items():
        write_parquet(frame, folder / f"{split}.parquet", f"task {task.name}, {split} labels")


def _yaml(plain: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True)


def _table_spec(table: Table) -> TableSpec:
    return TableSpec(
        pkey=table.pkey_col, time_col=table.time_col, fkeys=dict(table.fkey_col_to_pkey_table)
    )


def _check_database(database: Database) -> None:
    tables: dict[str, Table] = database.table_dict
    if not tables:
        raise InputError("a database needs at least one table")
    for name, table in tables.items():
        if not _FILE_NAME.fullmatch(name):
            raise InputError(f"table {name!r}: the name can't be a file name; rename the table")
        if not len(table.df):
            raise InputError(f"table {name} is empty; leave it out")
        for column in (table.pkey_col, table.time_col, *table.fkey_col_to_pkey_table):
            if column is not None and column not in table.df.columns:
                raise InputError(f"table {name} has no column {column!r}, which it names as a key")
        if table.pkey_col is not None and not _is_unique(table.df[table.pkey_col]):
            raise InputError(f"table {name}: primary key {table.pkey_col} has duplicates")
        if table.time_col is not None and table.df[table.time_col].dtype.kind != "M":
            raise InputError(f"table {name}: time column {table.time_col} holds no timestamps")
        for column, parent in table.fkey_col_to_pkey_table.items():
            if parent not in tables:
                raise InputError(f"table {name}: {column} references an unknown table {parent!r}")
            if tables[parent].pkey_col is None:
                raise InputError(
                    f"table {name}: {column} references {parent}, which has no primary key"
                )


def _is_unique(keys: "pd.Series[Any]") -> bool:
    values = keys.to_numpy()
    # keys that rise need no hash table
    rising = values.dtype.kind == "i" and bool((values[1:] > values[:-1]).all())
    return rising or bool(keys.is_unique)


def _check_tasks(
    database: Database,
    tasks: Sequence[TaskManifest],
    labels: Mapping[str, Mapping[str, pd.DataFrame]],
) -> None:
    names = [task.name for task in tasks]
    for task in tasks:
        if not _FILE_NAME.fullmatch(task.name) or names.count(task.name) > 1:
            raise InputError(f"task {task.name!r}: names must be distinct and usable as file names")
        try:
            task.validate()
        except ValueError as error:
            raise InputError(str(error)) from None
        if task.entity_table is not None and task.entity_table not in database.table_dict:
            raise InputError(f"task {task.name}: unknown entity table {task.entity_table!r}")
    for name, splits in labels.items():
        if name not in names:
            raise InputError(f"labels for {name!r}, which is not among the tasks")
        for split in splits:
            if split not in SPLITS:
                raise InputError(f"task {name}: split {split!r} is not one of {', '.join(SPLITS)}")
