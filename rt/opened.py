"""A task of a database on which predictions are asked for: its folder, its store, its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.rng import stream
from rt.asked_times import last_time, seconds, written
from rt.labels import LABEL_TYPES
from rt.meta import StoreMeta, open_meta
from rt.named_tasks import check_task, named_tasks
from rt.sources import Source, find_sources, prepare
from rt.tasks import Split, Task, load_tasks

SHOWN = 5
"""Names of databases in a message."""


@dataclass(frozen=True)
class Opened:
    """A task of a database: its folder in RelBench's format, and its store."""

    raw: Path
    store: Path
    meta: StoreMeta
    task: Task

    @property
    def name(self) -> str:
        """ "<database>/<task>"."""
        return f"{self.store.name}/{self.task.name}"

    def relbench_task(self) -> Any:
        """RelBench's own."""
        from rt import relbench_folder  # RelBench takes seconds to import

        return relbench_folder.open_task(relbench_folder.open_dataset(self.raw), self.task.name)

    def label_rows(
        self, relbench_task: Any, split: Split
    ) -> tuple[pd.DataFrame, NDArray[np.uint32], str]:
        """The label table of a split, its rows in the store, and the column of labels."""
        from rt.evaluate import store_rows  # as above
        from rt.relbench_folder import label_table

        table = label_table(relbench_task, split)
        rows = store_rows(self.store, self.meta, self.task, split, table)
        if not len(rows):
            raise InputError(f"task {self.task.name}: the label table of {split} is empty")
        named = [*table.fkey_col_to_pkey_table, table.time_col, relbench_task.target_col]
        columns = [column for column in named if column in table.df]
        return table.df[columns].reset_index(drop=True), rows, relbench_task.target_col

    def labelled(
        self, relbench_task: Any, split: Split, most: int, seed: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.generic]]:
        """Label rows of a split, drawn at random where there are more than wanted, and the
        labels."""
        table, rows, target = self.label_rows(relbench_task, split)
        order = stream(seed, "head", self.store.name, self.task.name, split).permutation(len(rows))
        chosen = np.sort(order[:most])
        labels = table[target].iloc[chosen]
        if self.task.task_type == "multiclass_classification":
            if pd.api.types.is_float_dtype(labels.dtype) and (labels % 1 == 0).all():
                labels = labels.astype("int64")  # named as the store names them: 3, not 3.0
            return rows[chosen], labels.astype(str).to_numpy(dtype=str)
        return rows[chosen], labels.astype("Float64").to_numpy(dtype=np.float64)


def open_task(
    database: str | Path, task: str, embedder: str, pre_dir: str | Path | None, show_progress: bool
) -> Opened:
    """A task of a database in RelBench's format, whose store is made where it is not there yet.

    Raises InputError for a store, for a folder of several databases, and for a task that is not
    there.
    """
    source = _one(database, find_sources([str(database)], pre_dir=pre_dir))
    if source.raw is None:
        raise InputError(
            f"{database} is a store, which knows no keys: give the database's folder in "
            "RelBench's format"
        )
    check_task(source.raw, task)  # a store that is to be made anew says nothing of it
    prepare([source], embedder, show_progress=show_progress)
    (found,) = named_tasks(source.raw, source.store, [task], tuple(LABEL_TYPES))
    return Opened(source.raw, source.store, open_meta(source.store), found)


def notes_on_times(
    database: str | Path, task: str, pre_dir: str | Path | None, asked: Any
) -> list[str]:
    """Lines for times that lie further behind the last one in a database than its task looks
    ahead, and for times before the end of training, whose contexts follow from later labels too.
    asked: a frame with the task's column of times, or times; the store is there."""
    store = _one(database, find_sources([str(database)], pre_dir=pre_dir)).store
    (found,) = load_tasks(store, [task], tuple(LABEL_TYPES))
    meta = open_meta(store)
    column, last = meta.tables[found.table].time_column, last_time(store)
    if found.kind == "autocomplete" or column is None or last is None:
        return []
    times = seconds(asked[column] if isinstance(asked, pd.DataFrame) else asked, column)
    if not len(times):
        return []
    notes = []
    if times.max() > last + (found.horizon or 0):
        notes.append(
            f"note: the database ends at {written(last)}; what came between then and "
            f"{written(times.max())} is not known"
        )
    if times.min() < meta.val_timestamp:
        notes.append(
            f"note: {written(times.min())} lies before the validation timestamp "
            f"{written(meta.val_timestamp)}: no later row or label is shown, but what rows are "
            "compared by follows from later training labels, too"
        )
    return notes


def _one(database: str | Path, sources: Sequence[Source]) -> Source:
    """The only database of a place."""
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources[:SHOWN])
        more = len(sources) - SHOWN
        raise InputError(
            f"{database} holds {len(sources)} databases ({names}"
            + (f" and {more} more" if more > 0 else "")
            + "): give the folder of one"
        )
    return sources[0]
