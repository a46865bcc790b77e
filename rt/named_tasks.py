"""Tasks of a store by name, where the raw folder may say why one is not there."""

from collections.abc import Sequence
from pathlib import Path

from plurel.errors import InputError
from plurel.manifest import MANIFEST
from plurel.nearest import instead
from rt.labels import read_tasks
from rt.layout import of_another_type
from rt.meta import open_meta, preprocess_command
from rt.raw import read_database
from rt.tasks import TASK_TYPES, Task, load_tasks


def named_tasks(
    raw_folder: str | Path,
    store_folder: str | Path,
    names: Sequence[str] | None,
    types: Sequence[str] = TASK_TYPES,
) -> list[Task]:
    """`rt.tasks.load_tasks` of the store; the InputError for a task that the raw folder has and the
    store lacks says why it was left out. InputError for the store of another database."""
    check_same(raw_folder, store_folder)
    there = {entry["name"] for entry in open_meta(store_folder).tasks}
    for name in names or ():
        if name not in there and (Path(raw_folder) / "tasks" / name / MANIFEST).is_file():
            reason = left_out(raw_folder, store_folder, name)
            raise InputError(f"{store_folder}: no task '{name}': {reason}")
    return load_tasks(store_folder, names, types)


def check_task(raw_folder: str | Path, name: str) -> None:
    """InputError for a task that a raw folder has not."""
    names = [path.parent.name for path in (Path(raw_folder) / "tasks").glob(f"*/{MANIFEST}")]
    if name not in names:
        there = instead(name, sorted(names)) if names else "; it has none (scripts/add_tasks.py)"
        raise InputError(f"{raw_folder}: no task '{name}'{there}")


def check_same(raw_folder: str | Path, store_folder: str | Path) -> None:
    """InputError for the store of another database."""
    own, other = read_database(Path(raw_folder)).name, open_meta(store_folder).name
    if own != other:
        raise InputError(
            f"{store_folder}: is the store of the database {other}, and {raw_folder} is {own}: "
            "give the store of this one, or the folder of that one"
        )


def left_out(raw_folder: str | Path, store_folder: str | Path, name: str) -> str:
    """Why a store of the raw folder has no such task, and what to do."""
    tasks, skipped = read_tasks(read_database(Path(raw_folder)))
    skipped |= of_another_type(tasks)
    if name in skipped:
        return f"it was left out, since {skipped[name]}"
    return (
        "the store was made before it, or without it: make it again by "
        f"{preprocess_command(raw_folder, store_folder, overwrite=True)}, which says what it "
        "leaves out"
    )
