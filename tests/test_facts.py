"""Facts by which label rows are chosen: in each of these worlds one fact decides the labels, which
no cell of a row or of its user holds. The neighbours of a target must be alike in that fact,
computed here by loops over what was known at the time of each row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampler_fixtures import make
from store_fixtures import write_store
from test_telling import NEAREST

import rustler

USERS, ITEMS, PERIODS, PERIOD = 30, 12, 72, 3600
HORIZON = PERIOD
OTHER = rustler.PARTS.index("other label")


@dataclass
class World:
    """Events of users with items, and a label of each user at the end of each period."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    # of label rows of others, with a recipe that is not given
    order: str = "telling"
    whole_split: bool = False
    hides_time: bool = False

    def __post_init__(self) -> None:
        rng = self.rng
        self.user = rng.integers(USERS, size=8 * USERS * PERIODS // 4)
        self.time = np.sort(rng.integers(PERIOD * PERIODS, size=len(self.user)))
        # each user takes to items of a kind, and to events of a size, both of which move
        drift = np.cumsum(rng.standard_normal((PERIODS, USERS)), 0)
        level = drift[self.time // PERIOD, self.user]
        self.size = level + 0.1 * rng.standard_normal(len(level))
        self.quality = np.sort(rng.standard_normal(ITEMS))
        place = ITEMS * (np.argsort(np.argsort(level)) / len(level)) + rng.normal(size=len(level))
        self.item = np.clip(place.astype(int), 0, ITEMS - 1)
        self.label_user = np.tile(np.arange(USERS), PERIODS)
        self.label_time = np.repeat(np.arange(1, PERIODS + 1) * PERIOD, USERS)
        self.label = rng.standard_normal(len(self.label_user))
        self.born = -rng.integers(PERIOD * PERIODS, size=USERS)
        # of another table, which no label depends on
        self.view_time = np.zeros(0, int)

    def events_of(self, label: int) -> np.ndarray:
        """What the user of a label had done by then, the latest last."""
        mine = self.user == self.label_user[label]
        return np.flatnonzero(mine & (self.time <= self.label_time[label]))

    def labels_of(self, label: int) -> np.ndarray:
        """Labels of the same user whose window had ended, the latest last."""
        mine = self.label_user == self.label_user[label]
        return np.flatnonzero(mine & (self.label_time + HORIZON <= self.label_time[label]))

    def sampler(
        self,
        folder: Path,
        extra_target_share: tuple[float, float] = (0.0, 0.0),
        train_until: int = PERIOD * PERIODS,
        **recipe: Any,
    ) -> rustler.Sampler:
        """train_until: when the windows of training labels have ended; recipe: in place of one of
        the label rows of others, and nothing else. The training split ends there if
        `whole_split` is set: then labels whose windows end later are of it too."""
        last = PERIOD * PERIODS
        events = [
            {"time": t, "parents": [("users", u), ("items", i)], "cells": {"size": s}}
            for t, u, i, s in zip(
                self.time.tolist(),
                self.user.tolist(),
                self.item.tolist(),
                self.size.tolist(),
                strict=True,
            )
        ]
        labels = [
            {"time": t, "parents": [("users", u)], "cells": {"y": y, "at": t / last}}
            for t, u, y in zip(
                self.label_time.tolist(),
                self.label_user.tolist(),
                self.label.tolist(),
                strict=True,
            )
        ]
        views = [
            {"time": t, "parents": [("users", u)], "cells": {}}
            for t in self.view_time.tolist()
            for u in range(USERS)
        ]
        items = [{"cells": {"quality": q}} for q in self.quality.tolist()]
        users = [{"cells": {"born": t / last}} for t in self.born.tolist()]
        tables: list[dict[str, Any]] = [
            {"name": "users", "columns": {"born": "datetime"}, "rows": users},
            {"name": "items", "columns": {"quality": "number"}, "rows": items},
            {"name": "events", "columns": {"size": "number"}, "rows": events},
            {"name": "views", "columns": {}, "rows": views},
            {
                "name": "labels",
                "kind": "task",
                "columns": {"y": "number", "at": "datetime"},
                "time_column": "at",
                "rows": labels,
                "foreign_keys": [("user", "users")],
            },
        ]
        made = {"name": "users", "tables": tables, "time_scale": (0.0, float(last))}
        if self.whole_split:
            made["val_timestamp"] = train_until
        store = write_store(folder, made)
        self.first = USERS + ITEMS + len(events) + len(views)
        last = self.first + len(labels)
        window = 0 if self.whole_split else HORIZON
        ended = int((self.label_time + window <= train_until).sum())
        train = min(self.first + ended, last - 4 * USERS)
        splits = [
            (self.first, train),
            (train, last - 2 * USERS),
            (last - 2 * USERS, last),
        ]
        hidden = [4] if self.hides_time else []
        task = rustler.Task(0, 4, 3, splits, HORIZON, hidden_columns=hidden)
        chosen = rustler.Recipe("r", **(recipe or NEAREST | {"other_order": self.order}))
        return make(
            [store], tasks=[task], recipes=[chosen], context_length=80 if recipe else 21,
            extra_target_share=extra_target_share,
        )  # fmt: skip

    def contexts(self, sampler: rustler.Sampler, cutoff: int | None = None) -> dict[str, Any]:
        rows = self.first + np.arange(len(self.label) - USERS, len(self.label))
        return sampler.contexts(0, rows.astype(np.uint32), cutoff=cutoff)

    def neighbours(self, batch: dict[str, Any]) -> list[list[int]]:
        """Of the last label of each user the label rows of others in its context."""
        spans = pairwise(batch["context_row_ptr"].tolist())
        number, part = batch["row_number"], batch["row_part"]
        return [(number[i:j][part[i:j] == OTHER] - self.first).tolist() for i, j in spans]


def mean_size(world: World, label: int) -> float:
    return float(world.size[world.events_of(label)[-8:]].mean())


def mean_quality(world: World, label: int) -> float:
    return float(world.quality[world.item[world.events_of(label)[-8:]]].mean())


def count_of_late(world: World, label: int) -> float:
    ago = world.label_time[label] - world.time[world.events_of(label)]
    return float((ago < HORIZON).sum())


def since_last(world: World, label: int) -> float:
    return float(world.label_time[label] - world.time[world.events_of(label)[-1]])


def of_day(world: World, label: int) -> float:
    return float(world.label_time[label] % 86_400)


def age(world: World, label: int) -> float:
    return float(world.label_time[label] - world.born[world.label_user[label]])


def last_label(world: World, label: int) -> float:
    return float(world.label[world.labels_of(label)[-1]])


def decided_by(world: World, fact: Callable[[World, int], float]) -> np.ndarray:
    """The fact about each label row, NaN of those about which there is none; the labels follow it,
    up or down."""
    if fact is last_label:
        steps = 0.2 * world.rng.standard_normal((PERIODS, USERS))
        steps[0] = world.rng.standard_normal(USERS)
        world.label = np.cumsum(steps, 0).ravel()
    found = np.full(len(world.label), np.nan)
    for label in range(len(found)):
        known = world.labels_of if fact is last_label else world.events_of
        if len(known(label)):
            found[label] = fact(world, label)
    if fact is not last_label:
        ranks = np.searchsorted(np.sort(found), np.nan_to_num(found)) / len(found)
        world.label = np.abs(ranks - 0.5) + 0.01 * world.rng.standard_normal(len(ranks))
    return found


AGE = 2**15


def aged_size(world: World, label: int) -> float:
    """As it was known nine periods before the label's row."""
    events = world.events_of(label)
    known = events[world.time[events] <= world.label_time[label] - AGE]
    return float(world.size[known[-8:]].mean()) if len(known) else np.nan


FACTS = [mean_size, mean_quality, count_of_late, since_last, of_day, age, last_label]


def check_alike(
    world: World, fact: Callable[[World, int], float], folder: Path, cutoff: int | None = None
) -> None:
    assert apart_by(world, fact, folder, cutoff) < 0.25


def apart_by(
    world: World, fact: Callable[[World, int], float], folder: Path, cutoff: int | None = None
) -> float:
    """How far label rows are from the target in what decides, as a share of how far all are."""
    found = decided_by(world, fact)
    batch = world.contexts(world.sampler(folder), cutoff)
    assert batch["context_told"].min() > 0.3
    apart, all_apart = [], []
    rank = np.searchsorted(np.sort(found), found)
    for target, others in enumerate(world.neighbours(batch), len(found) - USERS):
        if np.isnan(found[target]):
            continue
        assert len(others) >= 9
        distance = np.abs(rank - rank[target])
        if fact is of_day:  # midnight is next to eleven
            distance = np.minimum(distance, len(rank) - distance)
        apart += distance[others].tolist()
        # the same user's are own label rows, which the recipe leaves out
        all_apart += distance[: len(found) - USERS].tolist()
    return float(np.mean(apart) / np.mean(all_apart))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_label_rows_are_alike_in_the_fact_that_decides(
    tmp_path: Path, fact: Callable[[World, int], float]
) -> None:
    check_alike(World(), fact, tmp_path / "s")


@pytest.mark.parametrize("order", ["telling", "fitted"])
def test_beyond_a_cutoff_label_rows_are_as_old_as_the_target(tmp_path: Path, order: str) -> None:
    """What is known of the target is nine periods old: what was known of label rows nine periods
    before them is compared with it, not what was known at their time."""
    check_alike(World(order=order), aged_size, tmp_path / "s", cutoff=PERIOD * PERIODS - AGE)


def test_fitted_weights_bring_label_rows_nearer(tmp_path: Path) -> None:
    """Many facts say something of the one that decides, some of them nearly the same."""
    shares, fitted = (
        [apart_by(World(order=order), fact, tmp_path / order / fact.__name__) for fact in FACTS]
        for order in ("telling", "fitted")
    )
    assert np.mean(fitted) < 0.8 * np.mean(shares)


@pytest.mark.parametrize("fact", [mean_size, mean_quality, since_last, count_of_late])
def test_rows_of_a_busy_table_do_not_hide_those_of_another(
    tmp_path: Path, fact: Callable[[World, int], float]
) -> None:
    """Every user views twelve times an hour."""
    world = World()
    world.view_time = np.arange(0, PERIOD * PERIODS, PERIOD // 12)
    check_alike(world, fact, tmp_path / "s")


@pytest.mark.parametrize(
    ("fact", "before"),
    # what happened in the last hour tells nothing of what comes nine hours later
    [(fact, 0) for fact in FACTS] + [(fact, AGE) for fact in (mean_size, mean_quality, last_label)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("order", ["telling", "fitted"])
def test_what_is_not_known_yet_changes_no_fact(
    tmp_path: Path, fact: Callable[[World, int], float], before: int, order: str
) -> None:
    """Events after the targets, or their cutoff, hundreds of another table among them, and labels
    whose window has not ended or that come with theirs."""
    world = World(order=order)
    decided_by(world, fact)
    last = PERIOD * PERIODS - before
    cutoff = last if before else None
    first = world.contexts(world.sampler(tmp_path / "before", train_until=last), cutoff)
    neighbours = world.neighbours(first)
    assert first["context_told"].min() > 0
    # the targets see events up to their time, and no label after the period before it
    world.label[world.label_time + HORIZON > last] = 9.0
    world.view_time = last + 1 + np.arange(300)
    for _ in range(5):
        world.user = np.append(world.user, np.arange(USERS))
        world.item = np.append(world.item, np.zeros(USERS, int))
        world.size = np.append(world.size, np.full(USERS, 9.0))
        world.time = np.append(world.time, np.full(USERS, last + 1))
    after = world.contexts(world.sampler(tmp_path / "after", train_until=last), cutoff)
    assert world.neighbours(after) == neighbours
    assert first["row_alike"].tolist() == after["row_alike"].tolist()
    assert first["context_told"].tolist() == after["context_told"].tolist()


@pytest.mark.parametrize("order", ["telling", "fitted"])
def test_labels_that_come_after_training_are_no_numbers_of_it(tmp_path: Path, order: str) -> None:
    """A split by time alone holds labels whose windows end after it."""
    world = World(order=order, whole_split=True)
    decided_by(world, mean_size)
    end = PERIOD * (PERIODS - 9)
    before = world.contexts(world.sampler(tmp_path / "before", train_until=end), end)
    late = (world.label_time <= end) & (world.label_time + HORIZON > end)
    assert late.sum() == USERS
    world.label[late] = 9.0
    after = world.contexts(world.sampler(tmp_path / "after", train_until=end), end)
    for name in ("row_number", "row_alike", "context_told"):
        assert after[name].tolist() == before[name].tolist()


def test_a_hidden_time_is_no_fact(tmp_path: Path) -> None:
    """The hour of the day decides the labels, of which the last ones tell less."""
    level = np.repeat([0, 1, 1, 0, 1, 0, 0, 1], 3)
    told = []
    for hides_time in (False, True):
        world = World(hides_time=hides_time)
        hour = (world.label_time // PERIOD) % 24
        world.label = level[hour] + 0.1 * world.rng.standard_normal(len(hour))
        batch = world.contexts(world.sampler(tmp_path / str(hides_time)))
        told.append(float(batch["context_told"].max()))
    assert told[1] < 0.8 * told[0]


@pytest.mark.parametrize("order", ["telling", "fitted"])
def test_a_label_of_test_is_no_number_of_the_training_split(tmp_path: Path, order: str) -> None:
    """Not even where splits do not follow one another in time."""
    world = World(order=order)
    decided_by(world, last_label)
    order = world.rng.permutation(len(world.label))
    world.label, world.label_user, world.label_time = (
        array[order] for array in (world.label, world.label_user, world.label_time)
    )
    before = world.contexts(world.sampler(tmp_path / "before"))
    spans = list(pairwise(before["context_row_ptr"].tolist()))
    for place in range(0, USERS, 6):
        label = world.label[len(order) - USERS + place]
        world.label[len(order) - USERS + place] = 50.0
        after = world.contexts(world.sampler(tmp_path / str(place)))
        world.label[len(order) - USERS + place] = label
        now = slice(*after["context_row_ptr"][place : place + 2])
        assert after["context_told"][place] == before["context_told"][place]
        for name in ("row_number", "row_alike"):
            assert after[name][now].tolist() == before[name][slice(*spans[place])].tolist()


@pytest.mark.parametrize(
    ("fact", "column"),
    [(of_day, 4), (mean_size, 2), (mean_quality, 1), (last_label, 3), (age, 0)],
)
def test_a_cell_that_has_a_say_in_a_fact_is_no_further_target(
    tmp_path: Path, fact: Callable[[World, int], float], column: int
) -> None:
    """How alike rows are would tell it."""
    world = World()
    decided_by(world, fact)
    if fact is age:
        # two waves, so that neither time tells anything by itself
        span = PERIOD * PERIODS
        world.label = np.abs((world.label_time - world.born[world.label_user]) % span / span - 0.5)
    near = {"own_labels": 0.2, "other_labels": 0.3, "other_order": "telling", "other_columns": 0}
    for recipe, is_target in ((near, False), ({"own_labels": 0.2, "other_labels": 0.3}, True)):
        sampler = world.sampler(tmp_path / str(is_target), extra_target_share=(0.5, 0.5), **recipe)
        batch = world.contexts(sampler)
        extra = batch["is_target"].copy()
        extra[np.arange(USERS), batch["target_slot"]] = False
        masked = batch["column_number"][batch["column"][extra]]
        assert (column in masked) is is_target
        shown = batch["column_number"][batch["column"][~batch["is_padding"] & ~batch["is_target"]]]
        assert column in shown
