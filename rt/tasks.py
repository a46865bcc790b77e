"""Tasks: what is predicted, as the sampler and the scores need it.

A `Task` is one entry of a store's meta.json, or an autocomplete task made on the spot from a
feature column (`column_tasks`), which is how synthetic databases are trained on: every boolean
and number column of every table (PluRel, arXiv 2602.04029).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import rustler
from plurel.errors import InputError
from rt.meta import CLASS_LIMIT, StoreMeta, open_meta

TaskType = Literal["binary_classification", "regression"]
Split = Literal["train", "val", "test"]

TASK_TYPES = ("binary_classification", "regression")
"""The task types that are scored."""
MAX_FOREIGN_KEYS = 5
"""Databases with a wider table are left out of training lists, as published."""

COLUMN_TASK_TYPES = {"boolean": "binary_classification", "number": "regression"}
"""The semantic types of columns that are trained on, and of what type their tasks are."""


@dataclass(frozen=True)
class Task:
    """One task of one store. Row ranges are half-open, in the store's global row numbers;
    hidden_keys: foreign keys, each a table and the key's place in it; classes: labels of a
    multiclass task with their text numbers, the most frequent first."""

    name: str
    kind: str
    task_type: str
    table: int
    column: int
    splits: dict[str, tuple[int, int]]
    horizon: int | None = None
    hidden_columns: tuple[int, ...] = ()
    hidden_keys: tuple[tuple[int, int], ...] = ()
    entity_table: str | None = None
    entity_column: str | None = None
    classes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_meta(cls, entry: dict[str, Any], store: str | Path) -> "Task":
        """The task of one entry of meta["tasks"] of a store; InputError if a part is missing."""
        try:
            return cls(
                name=entry["name"],
                kind=entry["kind"],
                task_type=entry["task_type"],
                table=entry["table"],
                column=entry["column"],
                splits={name: (rows[0], rows[1]) for name, rows in entry["splits"].items()},
                horizon=entry["horizon"],
                hidden_columns=tuple(entry["hidden_columns"]),
                hidden_keys=tuple((table, place) for table, place in entry["hidden_keys"]),
                entity_table=entry["entity_table"],
                entity_column=entry["entity_column"],
                classes=tuple((label, number) for label, number in entry.get("classes") or ()),
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{Path(store) / 'meta.json'}: malformed task {entry!r:.60} ({error!r}); "
                "preprocess the database again with overwrite"
            ) from None


def load_tasks(
    store_folder: str | Path,
    names: Sequence[str] | None = None,
    types: Sequence[str] = TASK_TYPES,
) -> list[Task]:
    """The tasks of a store of these types, or those of the given names, in their order.

    InputError for a name that the store lacks, or of a task of another type.
    """
    meta = open_meta(store_folder)
    every = [Task.from_meta(entry, store_folder) for entry in meta.tasks]
    tasks = {task.name: task for task in every if task.task_type in types}
    others = {task.name: task.task_type for task in every if task.task_type not in types}
    if names is None:
        return list(tasks.values())
    for name in names:
        if name not in tasks:
            known = ", ".join(tasks) or "none"
            if name in others:
                raise InputError(
                    f"{store_folder}: task '{name}' is of type {others[name]}, for which "
                    f"RelBench has no metric (scripts/predict.py gives its classes); choose of: "
                    f"{known}"
                )
            raise InputError(f"{store_folder}: no task '{name}'; it has: {known}")
    return [tasks[name] for name in names]


def column_tasks(meta: StoreMeta) -> list[Task]:
    """An autocomplete task "<table>.<column>" for every boolean and number column of every database
    table; columns without two different values in the train rows are left out."""
    tasks = []
    for number, column in enumerate(meta.columns):
        table = meta.tables[column.table]
        if table.kind == "database" and column.type in COLUMN_TASK_TYPES and column.train_varies:
            tasks.append(_column_task(meta, number, COLUMN_TASK_TYPES[column.type]))
    return tasks


def _column_task(meta: StoreMeta, number: int, task_type: str) -> Task:
    column = meta.columns[number]
    table = meta.tables[column.table]
    return Task(
        name=f"{table.name}.{column.name}",
        kind="autocomplete",
        task_type=task_type,
        table=column.table,
        column=number,
        splits=dict(table.splits),
        entity_table=table.name,
        entity_column=table.primary_key,
    )


def text_tasks(store_folder: str | Path, meta: StoreMeta) -> list[Task]:
    """An autocomplete task "<table>.<column>" for every text column of a database table with 2 to
    CLASS_LIMIT different texts in the train rows; its classes are these, in order of number."""
    tasks, store = [], rustler.Store(store_folder)
    for number, column in enumerate(meta.columns):
        table = meta.tables[column.table]
        if table.kind == "database" and column.type == "text":
            texts = store.distinct_texts(number, table.splits["train"], CLASS_LIMIT + 1)
            if 2 <= len(texts) <= CLASS_LIMIT:
                classes = tuple((str(text), text) for text in sorted(texts))
                task = _column_task(meta, number, "multiclass_classification")
                tasks.append(replace(task, classes=classes))
    return tasks


def narrow_stores(
    folders: Iterable[str | Path], max_foreign_keys: int = MAX_FOREIGN_KEYS
) -> list[Path]:
    """The stores in which no database table has more than `max_foreign_keys` foreign keys."""
    return [
        Path(folder)
        for folder in folders
        if all(
            len(table.foreign_keys) <= max_foreign_keys
            for table in open_meta(folder).tables
            if table.kind == "database"
        )
    ]


def to_sampler(task: Task, store_index: int, weight: float = 1.0) -> "rustler.Task":
    """The task as the sampler takes it; `store_index`: its store's place in the sampler's list."""
    return rustler.Task(
        store_index,
        task.table,
        task.column,
        [task.splits[name] for name in ("train", "val", "test")],
        horizon=task.horizon,
        hidden_columns=list(task.hidden_columns),
        hidden_keys=list(task.hidden_keys),
        weight=weight,
        classes=[number for _, number in task.classes],
    )
