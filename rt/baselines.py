"""Baselines that a model has to beat: the mean of all known labels, and the mean of the known
labels of the same entity; for a regression their median; and the mean of the entity's last ones.

*Known* is what the model may know too: a label is known `horizon` after its time (a forecast's
timedelta), without a horizon strictly after its time. Under the protocol `split` a prediction
uses the labels known by the split's timestamp (for test rows, labels of train and val), under
`rolling` those known by the row's own time (earlier labels of the test period among them).

The entity of a forecast is its own entity. A row of an autocomplete task never occurs twice, so
its entity is a parent row, by the foreign key whose means score best on validation; test labels
play no part in the choice. An entity without known labels, and a null key, get the mean of all
known labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import TaskType

from plurel.errors import InputError
from rt.relbench_folder import label_table
from rt.scores import BETTER, PROTOCOLS, Protocol, relbench_score, target_values

SPLITS = ("train", "val", "test")
LATEST = 10
"""Labels of an entity whose mean is a baseline of its own."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """N labels: when each is known (seconds since 1970 UTC), its value, its entity (-1: none)."""

    known_at: Ints
    value: Floats
    entity: Ints


@dataclass(frozen=True)
class Baseline:
    """Predictions in the order of the label table, and the column that names the entity (None
    for the mean of all labels)."""

    prediction: Floats
    entity_column: str | None = None


def known_means(labels: Labels, entity: Ints, bound: Ints, *, latest: int | None = None) -> Floats:
    """For each query the mean value of the labels of its entity that are known by its bound, or of
    the `latest` of them that became known last.

    entity, bound: i64[Q], bound in seconds. NaN where no such label exists, or entity is -1.
    """
    times = np.unique(labels.known_at)
    width = len(times) + 1
    key = labels.entity * width + np.searchsorted(times, labels.known_at)
    order = np.argsort(key, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(labels.value[order])])
    first = np.searchsorted(key[order], entity * width)
    # a label counts where its time's rank is below the number of times up to the bound
    last = np.searchsorted(key[order], entity * width + np.searchsorted(times, bound, "right"))
    if latest is not None:
        first = np.maximum(first, last - latest)
    count = np.where(entity >= 0, last - first, 0)
    return np.where(count > 0, (sums[last] - sums[first]) / np.maximum(count, 1), np.nan)


def known_medians(labels: Labels, bound: Ints) -> Floats:
    """For each query the median of all labels that are known by its bound, i64[Q] in seconds; NaN
    where none is."""
    order = np.argsort(labels.known_at, kind="stable")
    running = pd.Series(labels.value[order]).expanding().median().to_numpy()
    count = np.searchsorted(labels.known_at[order], bound, "right")
    return np.append(np.nan, running)[count]


def split_timestamp(dataset: Any, split: str) -> pd.Timestamp:
    """The timestamp after which a split begins: the cutoff of the protocol `split`."""
    if split not in ("val", "test"):
        raise InputError(f"split {split!r} is not for scoring: choose val or test")
    return dataset.test_timestamp if split == "test" else dataset.val_timestamp


def baselines(
    dataset: Any, task: Any, split: str, *, horizon: int | None, protocol: Protocol = "split"
) -> dict[str, Baseline]:
    """{"global_mean", "entity_mean"} for the rows of the task's `split` (val or test).

    dataset, task: as relbench.load_dataset and load_task give them. horizon: seconds after which
    a label is known (see the module's text), from the store's meta.json.
    Raises InputError for an unknown split or protocol, and where no label is known by a bound.
    """
    found = label_baselines(dataset, task, split, horizon=horizon, protocol=protocol)
    return {name: found[name] for name in ("global_mean", "entity_mean")}


def label_baselines(
    dataset: Any, task: Any, split: str, *, horizon: int | None, protocol: Protocol = "split"
) -> dict[str, Baseline]:
    """Those of `baselines`, "entity_last_10" (the mean of the entity's labels that became known
    last, by the same column) and, for a regression, "global_median"."""
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    tables = {name: label_table(task, name) for name in SPLITS}
    frames = {name: table.df for name, table in tables.items()}
    context = _Context(dataset, task, frames, horizon, protocol)
    overall = context.means(split, None)
    if np.isnan(overall).any():
        raise InputError(
            f"task {task.name}: no label is known by the time of some {split} rows; score another "
            "split or task"
        )
    columns = _entity_columns(dataset, task, frames)
    name = next(iter(columns), None)
    if len(columns) > 1:
        worst = -np.inf
        for candidate, entities in columns.items():
            prediction = context.with_fallback("val", entities)
            value = _validation_value(task, tables["val"], prediction)
            if value > worst:
                worst, name = value, candidate
    by_entity = latest = overall
    if name is not None:
        by_entity = context.with_fallback(split, columns[name])
        latest = context.with_fallback(split, columns[name], latest=LATEST)
    found = {"global_mean": Baseline(overall)}
    if task.task_type is TaskType.REGRESSION:
        labels, _, bound = context.known(split, None)
        found["global_median"] = Baseline(known_medians(labels, bound))
    return found | {
        "entity_mean": Baseline(by_entity, name),
        "entity_last_10": Baseline(latest, name),
    }


@dataclass(frozen=True)
class _Context:
    dataset: Any
    task: Any
    frames: dict[str, pd.DataFrame]
    horizon: int | None
    protocol: Protocol

    def known(self, split: str, entities: dict[str, Ints] | None) -> tuple[Labels, Ints, Ints]:
        """All labels, and for the rows of `split` entity and bound; entities per split, None for
        one entity for all."""
        if entities is None:
            entities = {s: np.zeros(len(f), dtype=np.int64) for s, f in self.frames.items()}
        time = {s: _seconds(f[self.task.time_col]) for s, f in self.frames.items()}
        delay = 1 if self.horizon is None else self.horizon
        labels = Labels(
            np.concatenate([time[s] + delay for s in SPLITS]),
            np.concatenate([target_values(self.task, self.frames[s]) for s in SPLITS]),
            np.concatenate([entities[s] for s in SPLITS]),
        )
        cutoff = int(split_timestamp(self.dataset, split).timestamp())
        bound = time[split]
        if self.protocol == "split":
            bound = np.minimum(bound, cutoff)
        return labels, entities[split], bound

    def means(
        self, split: str, entities: dict[str, Ints] | None, *, latest: int | None = None
    ) -> Floats:
        """Means for the rows of `split`."""
        return known_means(*self.known(split, entities), latest=latest)

    def with_fallback(
        self, split: str, entities: dict[str, Ints], *, latest: int | None = None
    ) -> Floats:
        means = self.means(split, entities, latest=latest)
        return np.where(np.isnan(means), self.means(split, None), means)


def _validation_value(task: Any, table: Any, prediction: Floats) -> float:
    """The score on validation, larger is better; minus infinity where it is not defined."""
    try:
        metric, value = relbench_score(task, table, prediction)
    except InputError:  # validation labels of one class cannot rank the keys
        return -np.inf
    return value if BETTER[metric] == "higher" else -value


def _entity_columns(
    dataset: Any, task: Any, frames: dict[str, pd.DataFrame]
) -> dict[str, dict[str, Ints]]:
    """Per candidate column the entity numbers of the label rows of each split."""
    own = {split: _keys(frame[task.entity_col]) for split, frame in frames.items()}
    if task.kind != "autocomplete":
        return {task.entity_col: own}
    table = dataset.make_db().table_dict[task.entity_table]
    removed = {column for name, column in task.remove_columns if name == task.entity_table}
    # primary keys are row positions (RelBench's contract), so they index the parents' keys
    parents = {
        column: _keys(table.df[column])
        for column in table.fkey_col_to_pkey_table
        if column not in removed
    }
    return {c: {split: keys[own[split]] for split in frames} for c, keys in parents.items()}


def _keys(column: pd.Series) -> Ints:
    keys: Ints = column.astype("Float64").fillna(-1).to_numpy().astype(np.int64)
    return keys


def _seconds(column: pd.Series) -> Ints:
    return column.to_numpy(dtype="datetime64[s]").astype(np.int64)
