"""A raw folder through RelBench's own code, for its labels and metrics; errors in one line.

RelBench opens lazily and says what is wrong in exceptions of many kinds. What can be checked
beforehand `rt.raw` checks; the rest is turned into InputError here and nowhere else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import relbench
from relbench.base import Table

from plurel.errors import InputError
from plurel.manifest import MANIFEST, read_yaml
from rt.raw import read_database

_MEND = "write the label files again, mend the task's manifest, or remove the task's folder"
_REASONS = (
    *(OSError, ValueError, KeyError, RuntimeError, TypeError, AssertionError),
    *(SyntaxError, NameError),  # of time columns whose names are no identifiers
    duckdb.Error,
)


def open_dataset(folder: str | Path) -> Any:
    """RelBench's dataset of a raw folder, checked by `rt.raw.read_database`."""
    read_database(Path(folder))
    with one_line(f"{folder}: not a RelBench folder", "write it again"):
        return relbench.load_dataset(str(Path(folder).resolve()))


def open_task(dataset: Any, name: str) -> Any:
    """RelBench's task of the folder `tasks/<name>`."""
    manifest = Path(dataset.dataset_dir) / "tasks" / name / MANIFEST
    if manifest.is_file():
        read_yaml(manifest)
    with one_line(
        f"{dataset.dataset_dir}: task {name} cannot be loaded",
        _MEND,
    ):
        return dataset.load_task(name)


def label_table(task: Any, split: str) -> Table:
    """The label table of a split with all its columns: read, or made by the task's SQL where the
    folder has no label files."""
    with one_line(
        f"task {task.name}: its {split} labels can be neither read nor made by RelBench",
        _MEND,
    ):
        return task.get_table(split, mask_input_cols=False)


@contextmanager
def one_line(what: str, remedy: str) -> Iterator[None]:
    """What RelBench and DuckDB raise inside becomes an InputError "<what> (<reason>); <remedy>"."""
    try:
        yield
    except InputError:
        raise
    except _REASONS as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{what} ({reason}); {remedy}") from None
