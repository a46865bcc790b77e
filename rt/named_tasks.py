"""Tasks of a store by name, where the raw folder may say why one is not there."""

from collections.abc import Sequence
from pathlib import Path

from plurel.errors import InputError
from plurel.manifest import MANIFEST
from rt.labels import read_tasks
from rt.meta import open_meta
from rt.raw import read_database
from rt.tasks import TASK_TYPES, Task, load_tasks


def named_tasks(
    raw_folder: str | Path,
    store_folder: str | Path,
    names: Sequence[str] | None,
    types: Sequence[str] = TASK_TYPES,
) -> list[Task]:
    """`rt.tasks.load_tasks` of the store; the InputError for a task that the raw folder has and the
    store lacks says why it was left out."""
    there = {entry["name"] for entry in open_meta(store_folder).tasks}
    for name in names or ():
        if name not in there and (Path(raw_folder) / "tasks" / name / MANIFEST).is_file():
            raise InputError(f"{store_folder}: no task '{name}': {left_out(raw_folder, name)}")
    return load_tasks(store_folder, names, types)


def left_out(raw_folder: str | Path, name: str) -> str:
    """Why a store of the raw folder has no such task, and what to do."""
    skipped = read_tasks(read_database(Path(raw_folder)))[1]
    if name in skipped:
        return f"it was left out, since {skipped[name]}"
    return (
        "the store was made before it, or without it: make it again (scripts/preprocess.py "
        "--overwrite), which says what it leaves out"
    )
