"""Baselines of boosted trees: LightGBM on the target's row alone, and on the row joined with its
ancestors, aggregates of the rows that reference it, and known labels (`rt.joined`). What is asked
is a `Question`; `predict_sets` answers it from any parts of the joined row.

Every training row is described by what was known at its own time. Under `split` rows of the scored
split know nothing after its timestamp, while training rows knew all of the day before; so a second
training table, in which each row is described as of an earlier moment (as far back as a row that is
scored, drawn with the seed), is offered too, and held-out rows choose between the two.

Held-out rows are the validation split; the final models are fitted on train and validation rows
whose labels are known by the test timestamp. Where validation itself is scored, the latest fifth of
the train rows is held out instead and validation labels play no part.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import TaskType

from plurel.errors import InputError
from plurel.rng import stream
from rt.baselines import SPLITS, Baseline, label_baselines, split_timestamp
from rt.boosting import Booster, Flat
from rt.joined.features import PARTS, Features, Part, View, joined_features
from rt.joined.queries import Queries, joined, make_labels, make_queries
from rt.joined.tables import MICROSECONDS, NO_TIME, Floats, Ints, microseconds, read_tables
from rt.relbench_folder import label_table
from rt.scores import PROTOCOLS, Protocol, target_values

SETS: dict[str, tuple[Part, ...]] = {"lightgbm_row": ("row",), "lightgbm_joined": PARTS}
"""The parts of the joined row that each baseline knows."""
HELD_OUT = 0.2
"""Share of the train rows held out where validation is scored."""


@dataclass(frozen=True)
class BoostedSettings:
    """max_rows: training rows, and held-out rows, at most, drawn with the seed; max_features:
    columns of the joined table at most; num_threads: LightGBM's, which change nothing but the
    time."""

    seed: int = 0
    max_rows: int = 20_000
    max_features: int = 400
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_features", "num_threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Rows:
    """Label rows: the entity's row i64[N], time i64[N] in microseconds, label f64[N]."""

    row: Ints
    time: Ints
    label: Floats

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: NDArray[Any]) -> "Rows":
        """Some of the rows, by mask or position."""
        return Rows(self.row[chosen], self.time[chosen], self.label[chosen])


@dataclass(frozen=True)
class Plan:
    """fit, held_out: the rows that choose; cutoff: microseconds, what held-out rows know under
    `split`; scored: the rows to predict, whose labels are not used, and their cutoff."""

    fit: Rows
    held_out: Rows
    cutoff: int
    scored: Rows
    scored_cutoff: int


@dataclass(frozen=True)
class Question:
    """A task of any kind: its database as it sees it, its rows, whether its labels are 0 and 1."""

    name: str
    binary: bool
    view: View
    plan: Plan


def boosted_baselines(
    dataset: Any,
    task: Any,
    split: str,
    *,
    horizon: int | None,
    protocol: Protocol = "split",
    settings: BoostedSettings | None = None,
) -> dict[str, Baseline]:
    """{"lightgbm_row", "lightgbm_joined"} for the rows of the task's `split` (val or test).

    dataset, task: as relbench.load_dataset and load_task give them. horizon: seconds after which a
    label is known, from the store's meta.json or the task's manifest.
    Raises InputError for an unknown split or protocol, a task without times or without training
    labels, and where lightgbm is not installed.
    """
    settings = settings or BoostedSettings()
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    question = task_question(dataset, task, split, horizon=horizon, settings=settings)
    found = predict_sets(question, SETS, protocol=protocol, settings=settings)
    return {name: Baseline(prediction) for name, prediction in found.items()}


def task_question(
    dataset: Any, task: Any, split: str, *, horizon: int | None, settings: BoostedSettings
) -> Question:
    """A task that a database declares; see `boosted_baselines`."""
    rows = label_rows(task)
    plan = make_plan(dataset, task, split, rows, horizon=horizon, settings=settings)
    view = make_view(dataset, task, rows, horizon=horizon, max_features=settings.max_features)
    return Question(task.name, task.task_type is TaskType.BINARY_CLASSIFICATION, view, plan)


def predict_sets(
    question: Question, sets: Mapping[str, Collection[Part]], *, protocol: Protocol,
    settings: BoostedSettings,
) -> dict[str, Floats]:  # fmt: skip
    """f64 by name of a set: predictions of the scored rows from these parts of the joined row."""
    queries = _queries(question.plan, question.view.horizon, protocol, settings.seed)
    features = joined_features(question.view, joined(list(queries.values())))
    found = {}
    for name, parts in sets.items():
        booster = Booster(
            question.binary, f"{question.name}/{name}", settings.seed, settings.num_threads
        )
        found[name] = _predict(question.plan, queries, features.only(parts), booster)
    return found


def every_baseline(
    dataset: Any,
    task: Any,
    split: str,
    *,
    horizon: int | None,
    protocol: Protocol = "split",
    settings: BoostedSettings | None = None,
) -> dict[str, Baseline]:
    """The baselines of labels alone (`rt.baselines.label_baselines`), then `boosted_baselines`."""
    found = label_baselines(dataset, task, split, horizon=horizon, protocol=protocol)
    return found | boosted_baselines(
        dataset, task, split, horizon=horizon, protocol=protocol, settings=settings
    )


def label_rows(task: Any) -> dict[str, Rows]:
    """The label rows of each split, in the order of its label table."""
    if task.time_col is None:
        raise InputError(f"task {task.name} has no time column, which these baselines need")
    found = {}
    for split in SPLITS:
        frame = label_table(task, split).df
        time = microseconds(frame[task.time_col])
        if (time == NO_TIME).any():
            raise InputError(f"task {task.name}: a {split} label has no time; leave it out")
        keys = frame[task.entity_col].astype("Float64").fillna(-1).to_numpy().astype(np.int64)
        found[split] = Rows(keys, time, target_values(task, frame))
    return found


def make_view(
    dataset: Any, task: Any, rows: dict[str, Rows], *, horizon: int | None, max_features: int = 400
) -> View:
    """The database as the task sees it."""
    own_row = task.kind == "autocomplete"
    tables = read_tables(
        dataset,
        target=(task.entity_table, task.target_col) if own_row else None,
        leaking={tuple(pair) for pair in task.remove_columns},
    )
    size = len(tables[task.entity_table])
    for split, part in rows.items():
        if len(part) and part.row.max() >= size:
            raise InputError(
                f"task {task.name}: a {split} label is of row {part.row.max()} of "
                f"{task.entity_table}, which has {size} rows; write the label files again"
            )
    labels = make_labels(
        np.concatenate([rows[split].row for split in SPLITS]),
        np.concatenate([rows[split].time for split in SPLITS]),
        np.concatenate([rows[split].label for split in SPLITS]),
        horizon=horizon,
    )
    return View(tables, task.entity_table, labels, own_row, horizon, max_features)


def make_plan(
    dataset: Any, task: Any, split: str, rows: dict[str, Rows], *, horizon: int | None,
    settings: BoostedSettings,
) -> Plan:  # fmt: skip
    """Which rows fit, choose and are scored."""
    cutoff = int(microseconds(pd.Series([split_timestamp(dataset, split)]))[0])
    delay = (horizon or 0) * MICROSECONDS
    fit = rows["train"]
    if split == "test":
        held_out = rows["val"]
        choice_cutoff = int(microseconds(pd.Series([dataset.val_timestamp]))[0])
    else:
        choice_cutoff = int(np.quantile(fit.time, 1 - HELD_OUT, method="lower")) if len(fit) else 0
        held_out = fit.take((fit.time >= choice_cutoff) & (fit.time + delay <= cutoff))
    held_out = held_out.take(held_out.time + delay <= cutoff)
    fit = fit.take((fit.time + delay <= choice_cutoff) & (fit.time < max(choice_cutoff, cutoff)))
    if not len(fit):
        raise InputError(f"task {task.name}: no train label is known in time; score another task")
    draws = stream(settings.seed, "boosted", task.name, split)
    fit, held_out = (sample(part, settings.max_rows, draws) for part in (fit, held_out))
    return Plan(fit, held_out, choice_cutoff, rows[split], cutoff)


def sample(rows: Rows, limit: int, draws: np.random.Generator) -> Rows:
    """The rows, or so many of them in their order."""
    if len(rows) <= limit:
        return rows
    return rows.take(np.sort(draws.permutation(len(rows))[:limit]))


def _queries(plan: Plan, horizon: int | None, protocol: Protocol, seed: int) -> dict[str, Queries]:
    """What is described, by part. "own": fit and held-out rows by their own times; "lagged": the
    same as of an earlier moment, under `split` alone."""
    split = protocol == "split"
    own_row = np.concatenate([plan.fit.row, plan.held_out.row])
    own_time = np.concatenate([plan.fit.time, plan.held_out.time])
    parts = {
        "held_out": make_queries(
            plan.held_out.row, plan.held_out.time, horizon=horizon,
            cutoff=plan.cutoff if split else None,
        ),
        "scored": make_queries(
            plan.scored.row, plan.scored.time, horizon=horizon,
            cutoff=plan.scored_cutoff if split else None,
        ),
        "own": make_queries(own_row, own_time, horizon=horizon),
    }  # fmt: skip
    if split:
        known = [parts["held_out"], parts["scored"]]
        lags = np.concatenate([part.time - part.bound for part in known])
        lag = lags[stream(seed, "boosted", "lags").integers(len(lags), size=len(own_time))]
        parts["lagged"] = make_queries(own_row, own_time, horizon=horizon, cutoff=own_time - lag)
    return parts


def _predict(
    plan: Plan, queries: dict[str, Queries], features: Features, booster: Booster
) -> Floats:
    """Choose on the held-out rows, fit on all, predict the scored rows."""
    matrix, categories = features.matrix(), np.array(features.categories, dtype=bool)
    ends = np.cumsum([len(part) for part in queries.values()])
    parts = dict(zip(queries, np.split(matrix, ends[:-1]), strict=True))
    size = len(plan.fit)
    labels = np.concatenate([plan.fit.label, plan.held_out.label])
    variants = [name for name in ("own", "lagged") if name in parts]
    choice = booster.choose(
        {name: Flat(parts[name][:size], categories, labels[:size]) for name in variants},
        Flat(parts["held_out"], categories, plan.held_out.label),
    )
    train = Flat(parts[choice.variant], categories, labels)
    return booster.fit_predict(choice, train, parts["scored"])
