"""Scores of models beside baselines, by RelBench's own metrics on RelBench's own label tables.

Labels come from the raw folder through RelBench; the model sees only the store. Rows are matched
by position: the rows of a label file, or of the entity table of an autocomplete task, through the
store's `row_source`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import Table

from plurel.errors import InputError
from plurel.rng import stream
from rt.baselines import Baseline, baselines
from rt.boosted import BoostedSettings, every_baseline
from rt.bootstrap import TaskPredictions, intervals
from rt.context_labels import context_label_means
from rt.meta import StoreMeta, open_meta
from rt.model import ModelConfig, RelationalTransformer
from rt.named_tasks import named_tasks
from rt.predictions import Contexts, ContextSettings, predict
from rt.relbench_folder import label_table, open_dataset, open_task
from rt.scores import BETTER, NoScore, Protocol, check_any, relbench_score, scored_by
from rt.store import read_arrays
from rt.tasks import Task

__all__ = ["ContextSettings", "Selection", "evaluate_table", "predict", "store_rows",
           "untrained_like"]  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """What is scored: a split under a protocol, on all its label rows or on `max_rows` of them,
    the same for every model and baseline: those that come first in the permutation of
    `plurel.rng.stream(seed, "evaluate", database, task, split)`."""

    split: str = "test"
    protocol: Protocol = "split"
    max_rows: int | None = None
    seed: int = 0

    def positions(self, database: str, task: str, num_rows: int) -> NDArray[np.int64]:
        """The chosen positions in the label table, rising."""
        if self.max_rows is not None and self.max_rows < 1:
            raise InputError(f"max_rows must be 1 or more, or null for all, not {self.max_rows}")
        if self.max_rows is None or self.max_rows >= num_rows:
            return np.arange(num_rows)
        order = stream(self.seed, "evaluate", database, task, self.split).permutation(num_rows)
        return np.sort(order[: self.max_rows])


@dataclass(frozen=True)
class ScoredRows:
    """The label rows to score: `table` holds the chosen rows, `positions` their places in the whole
    label table of `num_rows` rows."""

    relbench_task: Any
    table: Table
    positions: NDArray[np.int64]
    num_rows: int


OnPredictions = Callable[[str, ScoredRows, Mapping[str, NDArray[np.float64]]], object]


@dataclass(frozen=True)
class Labelled(ScoredRows):
    """A task of a store with the label rows to score; `rows`: their numbers in the store."""

    task: Task
    rows: NDArray[np.uint32]


def evaluate_table(
    models: Mapping[str, RelationalTransformer],
    raw_folder: str | Path,
    store_folder: str | Path,
    *,
    settings: ContextSettings | Mapping[str, ContextSettings],
    own_settings: Mapping[str, ContextSettings] | None = None,
    tasks: Sequence[str] | None = None,
    selection: Selection | None = None,
    show_progress: bool = True,
    boosted: BoostedSettings | None = None,
    resamples: int = 0,
    on_predictions: OnPredictions | None = None,
) -> dict[str, Any]:
    """Scores of `models` by name, and of the baselines global_mean and entity_mean, on `tasks` (all
    binary and regression tasks of the store if None), as plain values for JSON; with `boosted` of
    every baseline (`rt.boosted`), and beside models of the labels in their contexts
    (`rt.context_labels`):

    {"database", "split", "protocol", "max_rows", "seed", "tasks": {task: {"metric", "better",
    "rows", "of_rows", "entity_column", and under each model's and baseline's name its score}},
    "skipped": {task whose labels have no score: why}} (where tasks are named this is an error).
    settings: of all tasks, or by the task's name (`rt.tuning`), and the contexts whose labels are
    averaged; own_settings: of models by name that have others, for all tasks.
    resamples: of the label rows, for intervals: {"intervals": {name: {"value", "low", "high"}},
    "better_by": {name: the same of how much the first model is better}} in each entry; 0: none.
    on_predictions: called with the database's name, the label rows of each task, and the
    predictions for them by model.
    Raises InputError for unknown tasks, folders that don't belong together, undefined scores.
    """
    selection = selection or Selection()
    dataset = open_dataset(raw_folder)
    head = {"database": open_meta(store_folder).name, **asdict(selection)}
    result: dict[str, Any] = {**head, "tasks": {}, "skipped": {}}
    for task in named_tasks(raw_folder, store_folder, tasks):
        try:
            context = _context(settings, task.name)
            labelled = label(dataset, store_folder, task, selection)
            check_any(task.name, selection.split, labelled.num_rows)
            found = chosen_baselines(
                dataset, labelled, selection.split, selection.protocol, boosted
            )
            entry = baseline_entry(labelled, found)
        except NoScore as error:
            if tasks is not None:
                raise
            result["skipped"][task.name] = str(error)
            continue
        predictions = {name: baseline.prediction for name, baseline in found.items()}
        each = {name: (own_settings or {}).get(name, context) for name in models}
        opened = _Opened(store_folder, task)
        of_models = _of_models(models, opened, labelled, each, selection, show_progress)
        of_models |= _of_contexts(models, opened, labelled, context, selection)
        for name, prediction in of_models.items():
            _, entry[name] = relbench_score(labelled.relbench_task, labelled.table, prediction)
        if resamples:
            compared = _compared(labelled, predictions | of_models)
            entry |= intervals(compared, next(iter(models), None), resamples)
        if on_predictions is not None:
            on_predictions(result["database"], labelled, of_models)
        result["tasks"][task.name] = entry
    if not result["tasks"]:
        reasons = "; ".join(result["skipped"].values()) or "it has none"
        raise InputError(f"{store_folder}: no binary or regression task to score: {reasons}")
    return result


def _context(
    settings: ContextSettings | Mapping[str, ContextSettings], task: str
) -> ContextSettings:
    """The task's; NoScore where none were chosen for it."""
    if isinstance(settings, ContextSettings):
        return settings
    if task not in settings:
        raise NoScore(f"task {task}: no contexts were chosen: its validation labels have no score")
    return settings[task]


class _Opened:
    """Contexts of a task: of each settings opened once."""

    def __init__(self, store_folder: str | Path, task: Task) -> None:
        self.store_folder, self.task = store_folder, task
        self._found: dict[tuple[ContextSettings, bool], Contexts] = {}

    def by(self, settings: ContextSettings, child_counts: bool = False) -> Contexts:
        key = settings, child_counts
        if key not in self._found:
            self._found[key] = Contexts(self.store_folder, [self.task], *key)
        return self._found[key]


def _of_models(
    models: Mapping[str, RelationalTransformer],
    opened: _Opened,
    labelled: Labelled,
    settings: Mapping[str, ContextSettings],
    selection: Selection,
    show_progress: bool,
) -> dict[str, NDArray[np.float64]]:
    """What models predict, each from contexts of its own settings."""
    task = labelled.task
    return {
        name: predict(
            model,
            opened.store_folder,
            task,
            labelled.rows,
            settings=settings[name],
            contexts=opened.by(settings[name], model.config.child_counts),
            protocol=selection.protocol,
            seed=selection.seed,
            progress=f"{task.name}, {name}" if show_progress else None,
        )
        for name, model in models.items()
    }


def _of_contexts(
    models: Mapping[str, RelationalTransformer],
    opened: _Opened,
    labelled: Labelled,
    settings: ContextSettings,
    selection: Selection,
) -> dict[str, NDArray[np.float64]]:
    """The means of the labels in contexts, if there are models to compare with them."""
    if not models:
        return {}
    return context_label_means(
        opened.store_folder,
        labelled.task,
        labelled.rows,
        settings=settings,
        contexts=opened.by(settings),
        protocol=selection.protocol,
        seed=selection.seed,
    )


def _compared(
    labelled: Labelled, predictions: Mapping[str, NDArray[np.float64]]
) -> TaskPredictions:
    metric, truth, scale = scored_by(labelled.relbench_task, labelled.table.df)
    every = {name: found[None] for name, found in predictions.items()}
    return TaskPredictions(labelled.task.name, metric, truth, every, scale)


def label(dataset: Any, store_folder: str | Path, task: Task, selection: Selection) -> Labelled:
    """The label rows of a task that `selection` chooses, with their rows in the store."""
    relbench_task, whole = split_labels(dataset, task.name, selection.split)
    meta = open_meta(store_folder)
    rows = store_rows(store_folder, meta, task, selection.split, whole)
    chosen = choose_rows(relbench_task, whole, meta.name, selection)
    return Labelled(**vars(chosen), task=task, rows=rows[chosen.positions])


def split_labels(dataset: Any, task: str, split: str) -> tuple[Any, Table]:
    """RelBench's task and the label table of a split that may be scored."""
    if split not in ("val", "test"):
        raise InputError(f"split {split!r} is not for scoring: choose val or test")
    relbench_task = open_task(dataset, task)
    return relbench_task, label_table(relbench_task, split)


def choose_rows(task: Any, whole: Table, database: str, selection: Selection) -> ScoredRows:
    """The rows of a label table that `selection` chooses."""
    positions = selection.positions(database, task.name, len(whole.df))
    chosen = Table(
        whole.df.iloc[positions], whole.fkey_col_to_pkey_table, whole.pkey_col, whole.time_col
    )
    return ScoredRows(task, chosen, positions, len(whole.df))


def store_rows(
    store_folder: str | Path, meta: StoreMeta, task: Task, split: str, table: Table
) -> NDArray[np.uint32]:
    """u32[N]: the store row of each row of a split's label table, in its order.

    Raises InputError if the store holds other label rows than the table.
    """
    first = meta.tables[task.table].rows[0]
    start, end = task.splits[split]
    if task.kind == "autocomplete":
        # keys are positions in the table's file (RelBench's contract)
        wanted = table.df[task.entity_column or "primary_key"].to_numpy(dtype=np.int64)
    else:
        # the label files of train, val and test stand one after the other
        wanted = start - first + np.arange(len(table.df))
    arrays = read_arrays(store_folder)
    source = arrays["row_source"][start:end].astype(np.int64)
    order = np.argsort(source)
    at = np.searchsorted(source[order], wanted)
    found = at < len(order)
    found[found] = source[order[at[found]]] == wanted[found]
    same = found.all() and (task.kind == "autocomplete" or len(wanted) == end - start)
    if not same or not _same_times(arrays["row_time"][start + order[at]], table):
        raise InputError(
            f"task {task.name}: the store's {split} rows are not those of the label table; "
            f"preprocess {meta.name} again"
        )
    return (start + order[at]).astype(np.uint32)


def _same_times(stored: NDArray[np.int64], table: Table) -> bool:
    """Whether the rows of a label table have the times of the store's rows."""
    if table.time_col is None:
        return True
    time = table.df[table.time_col].to_numpy("datetime64[ns]")
    seconds = -(-time.astype(np.int64) // 10**9)  # the store rounds up
    return bool((np.isnat(time) | (seconds == stored)).all())


def untrained_like(model: RelationalTransformer, seed: int = 0) -> RelationalTransformer:
    """A model of the same sizes with random parameters, a function of the seed."""
    config = ModelConfig.from_dict(model.config.to_dict())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(stream(seed, "untrained").integers(2**63)))
        fresh = RelationalTransformer(config, model.attention)
    return fresh.to(next(model.parameters()).device)


def chosen_baselines(
    dataset: Any,
    labelled: Labelled,
    split: str,
    protocol: Protocol,
    boosted: BoostedSettings | None = None,
) -> dict[str, Baseline]:
    """The baselines of the chosen label rows alone: the means of `rt.baselines`, or with `boosted`
    every one (`rt.boosted`)."""
    task, horizon = labelled.relbench_task, labelled.task.horizon
    if boosted is None:
        found = baselines(dataset, task, split, horizon=horizon, protocol=protocol)
    else:
        found = every_baseline(
            dataset, task, split, horizon=horizon, protocol=protocol, settings=boosted
        )
    return at_positions(found, labelled.positions)


def at_positions(
    found: Mapping[str, Baseline], positions: NDArray[np.int64]
) -> dict[str, Baseline]:
    """The predictions at some positions of the label table."""
    return {
        name: replace(baseline, prediction=baseline.prediction[positions])
        for name, baseline in found.items()
    }


def baseline_entry(labelled: ScoredRows, found: Mapping[str, Baseline]) -> dict[str, Any]:
    """A task's entry of `evaluate_table`, with the scores of baselines."""
    scores = {
        name: relbench_score(labelled.relbench_task, labelled.table, baseline.prediction)
        for name, baseline in found.items()
    }
    metric = scores["global_mean"][0]
    return {
        "metric": metric,
        "better": BETTER[metric],
        "rows": len(labelled.positions),
        "of_rows": labelled.num_rows,
        "entity_column": found["entity_mean"].entity_column,
        **{name: value for name, (_, value) in scores.items()},
    }
