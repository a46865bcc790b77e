"""Task manifests of a raw folder, with their label files (RelBench 3: `tasks/<task>/`)."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from plurel.errors import InputError
from plurel.manifest import read_yaml
from rt.joined_source import JoinedSource
from rt.raw import MemorySource, ParquetSource, RawDatabase, Source

SPLITS = ("train", "val", "test")
LABEL_TYPES = {
    "binary_classification": "boolean",
    "regression": "number",
    "multiclass_classification": "text",
}
"""Semantic type of the labels of each task type that is kept."""
_TEXTS = ("kind", "entity_table", "entity_col", "target_col", "time_col", "timedelta")


@dataclass(frozen=True)
class RawTask:
    """One task manifest. `source` holds the label rows of train, val and test, `split_sizes` their
    numbers; both None for autocomplete tasks, whose labels are a column of the entity table."""

    name: str
    kind: str
    task_type: str
    description: str
    entity_table: str
    entity_column: str | None
    target: str
    time_column: str | None
    horizon: int | None
    hidden: tuple[tuple[str, str], ...]
    source: Source | None = None
    split_sizes: tuple[int, ...] | None = None


def read_tasks(database: RawDatabase) -> tuple[list[RawTask], dict[str, str]]:
    """The tasks in order of their names, and for each skipped task the reason."""
    tasks: list[RawTask] = []
    skipped: dict[str, str] = {}
    for path in sorted((database.folder / "tasks").glob("*/manifest.yaml")):
        manifest = read_yaml(path)
        name = path.parent.name  # by which RelBench loads it, whatever the manifest says
        _check_texts(manifest, ("task_type",), path)
        task_type = manifest.get("task_type")
        if task_type not in LABEL_TYPES:
            skipped[name] = f"task type {task_type} is not supported"
            continue
        task = _read_task(database, path, name, manifest)
        if missing := _missing_files(task, path.parent):
            skipped[name] = f"{', '.join(missing)} missing; an external task needs its label files"
            continue
        if task.kind != "autocomplete":
            task = _with_labels(task, database, path.parent)
        if task.split_sizes is not None and task.split_sizes[0] == 0:
            skipped[name] = "it has no labels for training"
        else:
            tasks.append(task)
    return tasks, skipped


def _read_task(database: RawDatabase, path: Path, name: str, manifest: dict[str, Any]) -> RawTask:
    """The task as its manifest has it, without labels."""
    _check_texts(manifest, _TEXTS, path)
    kind = _checked_kind(manifest, path)
    entity = next((t for t in database.tables if t.name == manifest["entity_table"]), None)
    if entity is None:
        raise InputError(
            f"{path}: entity_table '{manifest['entity_table']}' is not in the database; "
            "name one that is"
        )
    autocomplete = kind == "autocomplete"
    target = manifest["target_col"]
    if autocomplete and target not in entity.features:
        raise InputError(
            f"{path}: '{target}' is no feature column of '{entity.name}'; name one in target_col"
        )
    if not autocomplete and entity.primary_key is None:
        raise InputError(f"{path}: entity table '{entity.name}' has no primary key; name its pkey")
    return RawTask(
        name=name,
        kind=kind,
        task_type=manifest["task_type"],
        description=str(manifest.get("description") or ""),
        entity_table=entity.name,
        entity_column=entity.primary_key if autocomplete else manifest["entity_col"],
        target=target,
        time_column=entity.time_column if autocomplete else manifest.get("time_col"),
        horizon=_horizon(manifest.get("timedelta"), path),
        hidden=_pairs(manifest.get("remove_columns"), path),
    )


def _check_texts(manifest: dict[str, Any], keys: Sequence[str], path: Path) -> None:
    for key in keys:
        value = manifest.get(key)
        if not isinstance(value, str | None):
            raise InputError(f"{path}: {key} is {value!r}; write one text, a number in quotes")


def _checked_kind(manifest: dict[str, Any], path: Path) -> str:
    """The kind of a task whose manifest has all entries that this kind needs."""
    kind = manifest.get("kind")
    if kind not in ("forecast", "autocomplete", "external"):
        raise InputError(f"{path}: kind is {kind!r}; it must be forecast, autocomplete or external")
    required = ["entity_table", "target_col"]
    if kind != "autocomplete":
        required.append("entity_col")
    if kind == "forecast":
        required += ["time_col", "timedelta"]
    missing = [key for key in required if not manifest.get(key)]
    if missing:
        raise InputError(f"{path}: {kind} task without {', '.join(missing)}; add the entry")
    return str(kind)


def _missing_files(task: RawTask, folder: Path) -> list[str]:
    """The label files that an external task lacks; those of a forecast can be made."""
    if task.kind != "external":
        return []
    names = [f"{split}.parquet" for split in SPLITS]
    # a link to nowhere is there, and unreadable: that is damage
    return [name for name in names if not os.path.lexists(folder / name)]


def _with_labels(task: RawTask, database: RawDatabase, folder: Path) -> RawTask:
    """The task with its label rows, of which the columns that it names are there."""
    files = [folder / f"{split}.parquet" for split in SPLITS]
    parts: Sequence[Source]
    if task.kind == "external" or all(file.is_file() for file in files):
        parts = [ParquetSource(file) for file in files]
    else:
        parts = _made_by_relbench(database.folder, folder.name)
    for part in parts:
        for column in (task.entity_column, task.target, task.time_column):
            if column is not None and column not in part.schema.names:
                raise InputError(
                    f"{part.label}: no column '{column}', which the task manifest names; name one "
                    "that is there"
                )
    values = {field: getattr(task, field) for field in task.__dataclass_fields__}
    sizes = tuple(part.num_rows for part in parts)
    return RawTask(**values | {"source": JoinedSource(str(folder), parts), "split_sizes": sizes})


def _made_by_relbench(database: Path, name: str) -> list[MemorySource]:
    """Labels by RelBench's own rule: the manifest's SQL at the timestamps of each split."""
    # only here: the import of relbench takes seconds
    from rt.relbench_folder import label_table, open_dataset, open_task

    dataset = open_dataset(database)
    task = open_task(dataset, name)
    parts = []
    for split in SPLITS:
        frame = label_table(task, split).df
        table = pa.Table.from_pandas(frame, preserve_index=False)
        parts.append(MemorySource(f"{database / 'tasks' / name} ({split})", table))
    return parts


def _horizon(timedelta: Any, path: Path) -> int | None:
    """Whole seconds, rounded up: a label is never known too early."""
    if timedelta is None:
        return None
    import pandas as pd  # most of the import time of this module, so only where it is needed

    try:
        span: Any = pd.Timedelta(timedelta)
    except ValueError:
        span = pd.NaT
    if span is pd.NaT:
        raise InputError(f"{path}: timedelta is {timedelta!r}; write e.g. '30 days'")
    if span < pd.Timedelta(0):
        raise InputError(f"{path}: timedelta is {timedelta!r}; it must not be negative")
    return math.ceil(span.total_seconds())


def _pairs(pairs: Any, path: Path) -> tuple[tuple[str, str], ...]:
    pairs = pairs or []
    good = isinstance(pairs, list) and all(
        isinstance(p, list | tuple)
        and len(p) == 2
        and not any(isinstance(n, list | dict) for n in p)
        for p in pairs
    )
    if not good:
        raise InputError(f"{path}: remove_columns must be a list of [table, column] pairs")
    return tuple((str(table), str(column)) for table, column in pairs)
