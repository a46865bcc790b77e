"""What the training labels tell: by which foreign keys and columns label rows are chosen and shown.

A hand-made table of events, each of a user and an item, whose label is decided by one thing that is
known; the contexts must follow it, and nothing outside of the training split may change them.
"""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cases import NUM_TIMES, ROW, Case, cases, examples, recipes, to_sampler
from sampler_fixtures import make
from store_fixtures import write_store
from test_future import assert_same_contexts, rewritten

import rustler

TARGET, ANCESTOR, OWN, OTHER, AROUND, NEIGHBOUR = range(6)
USERS, ITEMS, EVENTS = 5, 7, 400
FIRST = USERS + ITEMS
TEST = FIRST + 360
SPLITS = [(FIRST, FIRST + 320), (FIRST + 320, TEST), (TEST, FIRST + EVENTS)]


def draw() -> tuple[np.ndarray, np.ndarray]:
    """User and item of each event."""
    rng = np.random.default_rng(0)
    return rng.integers(USERS, size=EVENTS), rng.integers(ITEMS, size=EVENTS)


def events_store(folder: Path, label: np.ndarray, **changes: Any) -> Path:
    """changes: `times`, a time an event (the default: one after the other; None for none); `cells`,
    values by column beside y; `items`, cells of each item; `kind` of y."""
    users, items = draw()
    times = changes.get("times", range(EVENTS))
    cells = changes.get("cells", {})
    kind = changes.get("kind", "number")
    values = {name: v.tolist() for name, v in (cells | {"y": label}).items()}
    rows = [
        {
            "time": None if times is None else int(times[i]),
            "parents": [("users", int(users[i])), ("items", int(items[i]))],
            "cells": {name: v[i] for name, v in values.items()},
        }
        for i in range(EVENTS)
    ]
    of_items = changes.get("items", [{} for _ in range(ITEMS)])
    names = dict.fromkeys(of_items[0], "number")
    kinds = {name: "text" if v.dtype.kind == "U" else "number" for name, v in cells.items()}
    tables = [
        {"name": "users", "columns": {}, "rows": [{} for _ in range(USERS)]},
        {"name": "items", "columns": names, "rows": [{"cells": cells} for cells in of_items]},
        {"name": "events", "columns": kinds | {"y": kind}, "rows": rows},
    ]
    return write_store(folder, {"name": "events", "tables": tables})


def contexts(
    store: Path, column: int, rows: list[int], length: int = 60, **recipe: Any
) -> list[dict[str, Any]]:
    """Per context its rows, parts and the columns shown of each row. hidden_keys: of the task."""
    hidden = recipe.pop("hidden_keys", [])
    task = rustler.Task(0, 2, column, SPLITS, hidden_keys=hidden)
    made = rustler.Recipe("r", **recipe)
    sampler = make([store], tasks=[task], recipes=[made], context_length=length)
    batch = sampler.contexts(0, np.array(rows, np.uint32))
    found = []
    for b in range(len(rows)):
        span = slice(*batch["context_row_ptr"][b : b + 2])
        cells: list[set[int]] = [set() for _ in range(span.stop - span.start)]
        there = ~batch["is_padding"][b]
        number = batch["column_number"][batch["column"][b][there]]
        for row, name in zip(batch["row"][b][there].tolist(), number.tolist(), strict=True):
            cells[row].add(name)
        found.append(
            {
                "rows": batch["row_number"][span].tolist(),
                "parts": batch["row_part"][span].tolist(),
                "cells": cells,
                "alike": batch["row_alike"][span].tolist(),
                "told": float(batch["context_told"][b]),
            }
        )
    return found


def own_events(context: dict[str, Any]) -> list[int]:
    """The events of the context that are own labels, in order."""
    rows = zip(context["rows"], context["parts"], strict=True)
    return [row - FIRST for row, part in rows if part == OWN]


OWN_LABELS = {"own_labels": 0.5, "own_order": "telling"}


def by_item(rng: np.random.Generator) -> np.ndarray:
    return draw()[1] + 0.1 * rng.standard_normal(EVENTS)


@pytest.mark.parametrize("untimed", [False, True], ids=["timed", "untimed"])
def test_own_labels_are_of_the_parent_that_tells(tmp_path: Path, untimed: bool) -> None:
    users, items = draw()
    label = by_item(np.random.default_rng(1))
    times = {"times": None} if untimed else {}
    store = events_store(tmp_path / "s", label, **times)
    targets = list(range(350, 360))
    rows = [FIRST + target for target in targets]
    for order, only_items in (("recency", False), ("telling", True)):
        for target, context in zip(
            targets, contexts(store, 0, rows, own_labels=0.5, own_order=order), strict=True
        ):
            own = own_events(context)
            assert len(own) >= 14
            same_item = items[own] == items[target]
            assert (same_item | (users[own] == users[target])).all()
            assert same_item.all() == only_items
            if only_items and not untimed:
                known = [e for e in range(target) if items[e] == items[target]]
                assert own == known[::-1][: len(own)]


def test_rows_that_share_more_come_first(tmp_path: Path) -> None:
    """Both keys tell something: first events of the same user and item."""
    users, items = draw()
    label = users + items + 0.01 * np.random.default_rng(1).standard_normal(EVENTS)
    store = events_store(tmp_path / "s", label)
    found = contexts(store, 0, [FIRST + 359], **OWN_LABELS)
    own = own_events(found[0])
    both = [(users[e] == users[359]) & (items[e] == items[359]) for e in own]
    assert sum(both) >= 3
    assert both == sorted(both, reverse=True)


def test_a_parent_whose_labels_come_too_late_tells_nothing(tmp_path: Path) -> None:
    """Items whose events all have one time explain every label, but none is known in time."""
    users, _ = draw()
    rng = np.random.default_rng(2)
    batch = np.arange(EVENTS) // 8
    label = rng.standard_normal(50)[batch]
    times = batch
    rows = [
        {
            "time": int(times[i]),
            "parents": [("users", int(users[i])), ("batches", int(batch[i]))],
            "cells": {"y": float(label[i] + users[i])},
        }
        for i in range(EVENTS)
    ]
    tables = [
        {"name": "users", "columns": {}, "rows": [{} for _ in range(USERS)]},
        {"name": "batches", "columns": {}, "rows": [{} for _ in range(50)]},
        {"name": "events", "columns": {"y": "number"}, "rows": rows},
    ]
    store = write_store(tmp_path / "s", {"name": "events", "tables": tables})
    first = USERS + 50
    task = rustler.Task(0, 2, 0, [(first, first + EVENTS), (0, 0), (0, 0)])
    sampler = make([store], tasks=[task], recipes=[rustler.Recipe("r", **OWN_LABELS)])
    result = sampler.contexts(0, np.array([first + 390], np.uint32))
    own = result["row_number"][result["row_part"] == OWN] - first
    assert len(own) > 10
    assert (users[own] == users[390]).all()


def test_a_hidden_key_tells_nothing(tmp_path: Path) -> None:
    users, _ = draw()
    label = by_item(np.random.default_rng(1)) + 0.5 * users
    store = events_store(tmp_path / "s", label)
    found = contexts(store, 0, [FIRST + 359], hidden_keys=[(2, 1)], **OWN_LABELS)
    own = own_events(found[0])
    assert len(own) > 10
    assert (users[own] == users[359]).all()


def test_labels_that_are_texts(tmp_path: Path) -> None:
    _, items = draw()
    label = np.array([f"kind {item}" for item in items])
    store = events_store(tmp_path / "s", label, kind="text")
    own = own_events(contexts(store, 0, [FIRST + 359], **OWN_LABELS)[0])
    assert len(own) > 10
    assert (items[own] == items[359]).all()


# ---------------------------------------------------------------- columns

DECIDES = 2
"""The column b of events, after that of items and a."""


def columns_store(folder: Path) -> Path:
    """y is decided by an event's column b, not monotonously, and by the item's column p."""
    rng = np.random.default_rng(3)
    _, items = draw()
    a, b, c = rng.standard_normal((3, EVENTS))
    p = rng.standard_normal(ITEMS)
    cells = {"a": a, "b": b, "c": c}
    label = np.abs(b) + p[items]
    return events_store(folder, label, cells=cells, items=[{"p": float(value)} for value in p])


OTHERS = {"other_labels": 1.0, "other_cells": 30}


def test_others_show_the_columns_that_tell(tmp_path: Path) -> None:
    store = columns_store(tmp_path / "s")
    label = 4
    found = contexts(store, label, [TEST], length=100, other_columns=2, **OTHERS)[0]
    others = 0
    for row, part, cells in zip(found["rows"], found["parts"], found["cells"], strict=True):
        if part == OTHER:
            assert cells == {DECIDES, label}
            others += 1
        if part == AROUND:
            assert USERS <= row < FIRST
            assert cells == {0}
    # two cells each, and those of the items
    assert others >= 40
    whole = contexts(store, label, [TEST], length=100, **OTHERS)[0]
    assert whole["parts"].count(OTHER) < 30


def test_no_more_columns_than_asked_for(tmp_path: Path) -> None:
    store = columns_store(tmp_path / "s")
    found = contexts(store, 4, [TEST], length=100, other_columns=1, **OTHERS)[0]
    shown = [c for c, part in zip(found["cells"], found["parts"], strict=True) if part == OTHER]
    around = [c for c, part in zip(found["cells"], found["parts"], strict=True) if part == AROUND]
    # the item's column tells more: rows of events show their label alone
    assert shown
    assert around
    assert all(cells == {4} for cells in shown)
    assert all(cells == {0} for cells in around)
    bare = contexts(store, 4, [TEST], length=100, other_columns=0, **OTHERS)[0]
    assert AROUND not in bare["parts"]


def test_own_labels_show_telling_columns(tmp_path: Path) -> None:
    store = columns_store(tmp_path / "s")
    found = contexts(store, 4, [TEST], own_columns=2, **OWN_LABELS)[0]
    shown = [c for c, part in zip(found["cells"], found["parts"], strict=True) if part == OWN]
    assert len(shown) > 5
    assert all(cells == {DECIDES, 4} for cells in shown[:-1])


# ---------------------------------------------------------------- those most alike

NEAREST = {
    "other_labels": 1.0,
    "other_cells": 2,
    "other_width": 0,
    "other_order": "telling",
    "other_columns": 0,
}


def other_events(context: dict[str, Any], first: int = FIRST) -> list[int]:
    rows = zip(context["rows"], context["parts"], strict=True)
    return [row - first for row, part in rows if part == OTHER]


@pytest.mark.parametrize("untimed", [False, True], ids=["timed", "untimed"])
def test_others_are_those_most_alike(tmp_path: Path, untimed: bool) -> None:
    """In the column that decides, whichever way; those of another column are as they come."""
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, EVENTS))
    times = {"times": None} if untimed else {}
    store = events_store(tmp_path / "s", np.abs(b), cells={"a": a, "b": b}, **times)
    for target, context in enumerate(
        contexts(store, 2, list(range(TEST, TEST + 10)), length=21, **NEAREST), TEST - FIRST
    ):
        others = other_events(context)
        assert len(others) >= 9
        apart = np.abs(b[others] - b[target])
        known = np.setdiff1d(np.arange(320 if untimed else target), [target])
        nearest = np.sort(np.abs(b[known] - b[target]))
        # codes are coarse, and the tails are thin
        assert apart.mean() < nearest[: 4 * len(others)].mean() + 0.05
        assert np.abs(a[others] - a[target]).mean() > 0.4


def test_texts_are_alike_if_they_are_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    kind = rng.integers(6, size=EVENTS)
    store = events_store(
        tmp_path / "s",
        kind + 0.1 * rng.standard_normal(EVENTS),
        cells={"kind": np.array([f"kind {k}" for k in kind])},
    )
    others = other_events(contexts(store, 1, [TEST], length=21, **NEAREST)[0])
    assert len(others) >= 9
    assert (kind[others] == kind[TEST - FIRST]).all()
    # of equally alike ones the latest
    same = [event for event in range(TEST - FIRST) if kind[event] == kind[TEST - FIRST]]
    assert others == same[::-1][: len(others)]


def test_texts_are_told_apart_however_many_there_are(tmp_path: Path) -> None:
    """And whatever numbers they have in the store, which depend on texts elsewhere."""
    rng = np.random.default_rng(5)
    is_common = rng.random(EVENTS) < 0.5
    kind = np.where(is_common, rng.integers(6, size=EVENTS), 6 + np.arange(EVENTS))
    label = np.where(is_common, kind, rng.integers(6, size=EVENTS))
    targets = [row for row in range(TEST, FIRST + EVENTS) if is_common[row - FIRST]]
    found = []
    for name, notes in (("one", 1), ("many", EVENTS)):
        note = np.array([f"note {number % notes}" for number in range(EVENTS)])
        cells = {"note": note, "kind": np.array([f"kind {k}" for k in kind])}
        store = events_store(
            tmp_path / name, label + 0.1 * rng.standard_normal(EVENTS), cells=cells
        )
        made = contexts(store, 2, targets, length=21, **NEAREST)
        found.append([other_events(context) for context in made])
    assert found[0] == found[1]
    for target, others in zip(targets, found[0], strict=True):
        same = [event for event in range(target - FIRST) if kind[event] == kind[target - FIRST]]
        assert others == same[::-1][: len(others)]
        assert len(others) >= 9


def test_label_rows_say_how_alike_they_are(tmp_path: Path) -> None:
    """From 1 down in the order in which they come; nothing is said of others."""
    rng = np.random.default_rng(6)
    b = rng.standard_normal(EVENTS)
    store = events_store(tmp_path / "s", np.abs(b), cells={"b": b})
    [context] = contexts(store, 1, [TEST], length=40, **NEAREST)
    label = np.array([part in (OWN, OTHER) for part in context["parts"]])
    alike = np.array(context["alike"])
    assert label.sum() > 9
    assert (alike[~label] == -1).all()
    # the second decimal is what codes round to
    assert alike[label][0] > 0.95
    assert (np.diff(alike[label]) <= 0).all()
    assert alike[label][-1] < alike[label][0]
    assert context["told"] > 0.5
    noise = events_store(tmp_path / "noise", rng.standard_normal(EVENTS), cells={"b": b})
    [context] = contexts(noise, 1, [TEST], length=40, **NEAREST)
    assert set(context["alike"]) == {-1}
    assert context["told"] == 0
    [context] = contexts(store, 1, [TEST], length=40, other_labels=0.5)
    assert set(context["alike"]) == {-1}
    assert context["told"] == 0


def test_likeness_is_of_the_past_and_of_cells(tmp_path: Path) -> None:
    """Labels beyond the training split, and rows that come later, have no say."""
    rng = np.random.default_rng(7)
    b = rng.standard_normal(EVENTS)
    found = []
    for name in ("a", "b"):
        label, cells = np.abs(b), b.copy()
        if name == "b":
            label[SPLITS[1][0] - FIRST :] = rng.standard_normal(EVENTS - SPLITS[1][0] + FIRST)
            cells[TEST + 3 - FIRST :] = 9.0
        store = events_store(tmp_path / name, label, cells={"b": cells})
        rows = [TEST, TEST + 1, TEST + 2]
        got = contexts(store, 1, rows, length=40, own_labels=0.2, **NEAREST)
        found.append([(c["rows"], c["alike"], c["told"]) for c in got])
        assert max(max(c["alike"]) for c in got) > 0.95
        assert all(OWN in c["parts"] for c in got)
    assert found[0] == found[1]


def test_likeness_is_of_recipes_that_ask(tmp_path: Path) -> None:
    """Whatever other recipes a sampler has."""
    rng = np.random.default_rng(8)
    b = rng.standard_normal(EVENTS)
    store = events_store(tmp_path / "s", np.abs(b), cells={"b": b})
    task = rustler.Task(0, 2, 1, SPLITS)
    made = [rustler.Recipe("own", **OWN_LABELS), rustler.Recipe("near", **NEAREST)]
    sampler = make([store], tasks=[task], recipes=made, context_length=40)
    own, near = (sampler.contexts(0, np.array([TEST], "u4"), recipe=i) for i in (0, 1))
    assert set(own["row_alike"].tolist()) == {-1}
    assert own["context_told"] == 0
    assert near["row_alike"].max() > 0.95


def test_what_rows_are_compared_by_is_no_further_target(tmp_path: Path) -> None:
    """How alike rows are would tell it."""
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((2, EVENTS))
    store = events_store(tmp_path / "s", np.abs(b), cells={"a": a, "b": b})
    task = rustler.Task(0, 2, 2, SPLITS)
    for settings, columns in ((NEAREST, {0, 2}), ({"other_labels": 0.5}, {0, 1, 2})):
        made = rustler.Recipe("r", **settings | {"other_columns": 1_000_000})
        sampler = make(
            [store], tasks=[task], recipes=[made], context_length=60, extra_target_share=(0.5, 0.5)
        )
        batch = sampler.contexts(0, np.arange(TEST, TEST + 20, dtype="u4"))
        masked = batch["column_number"][batch["column"][batch["is_target"]]]
        assert set(masked.tolist()) == columns


class Habits:
    """Users who go on to do what they did of late, and a forecast of whether they do anything."""

    def __init__(self, folder: Path, *, users: int = 40, periods: int = 20, **changes: Any) -> None:
        """changes: `tables` of the store besides, `hidden_keys` of the task; `level`: how much
        labels differ by the user, whose number is a column."""
        rng = np.random.default_rng(6)
        self.users, self.periods = users, periods
        self.active = np.cumsum(rng.standard_normal((periods + 1, users)), 0) > 0
        level = changes.get("level", 0.0)
        names = {"u": "number"} if level else {}
        of_users = [{"cells": {"u": float(user)} if level else {}} for user in range(users)]
        events = [
            {"time": 10 * period + k, "parents": [("users", user)], "cells": {}}
            for period, user in zip(*np.nonzero(self.active[:-1]), strict=True)
            for k in range(1, 5)
        ]
        labels = [
            {
                "time": 10 * (period + 1),
                "parents": [("users", user)],
                "cells": {"y": float(self.active[period + 1, user]) + level * user},
            }
            for period in range(periods)
            for user in range(users)
        ]
        tables = [
            {"name": "users", "columns": names, "rows": of_users},
            {"name": "events", "columns": {}, "rows": events},
            {
                "name": "labels",
                "kind": "task",
                "columns": {"y": "number"},
                "rows": labels,
                "foreign_keys": [("user", "users")],
            },
            *changes.get("tables", []),
        ]
        store = write_store(folder, {"name": "users", "tables": tables})
        self.first = users + len(events)
        self.last = self.first + len(labels)
        train = (self.first, self.last - 2 * users)
        splits = [train, (train[1], self.last - users), (self.last - users, self.last)]
        keys = changes.get("hidden_keys", [])
        task = rustler.Task(0, 2, len(names), splits, 10, hidden_keys=keys)
        recipe = rustler.Recipe("r", **NEAREST)
        self.sampler = make([store], tasks=[task], recipes=[recipe], context_length=21)

    def neighbours(self, batch: dict[str, Any] | None = None) -> list[list[int]]:
        """Of each test row the label rows of others in its context."""
        if batch is None:
            rows = np.arange(self.last - self.users, self.last, dtype=np.uint32)
            batch = self.sampler.contexts(0, rows)
        spans = pairwise(batch["context_row_ptr"].tolist())
        number, part = batch["row_number"], batch["row_part"]
        return [(number[i:j][part[i:j] == OTHER] - self.first).tolist() for i, j in spans]

    def alike(self) -> float:
        """How many of them had been as active of late as the target."""
        found = []
        for user, others in enumerate(self.neighbours()):
            for other in others:
                was = self.active[other // self.users, other % self.users]
                found.append(was == self.active[self.periods - 1, user])
        assert len(found) > 5 * self.users
        return float(np.mean(found))


def test_entities_are_alike_if_as_much_has_happened_to_them(tmp_path: Path) -> None:
    assert Habits(tmp_path / "s").alike() > 0.95
    # nothing is told along a hidden key; half of the users are active
    assert Habits(tmp_path / "hidden", hidden_keys=[(1, 0)]).alike() < 0.8


def test_own_label_rows_do_not_crowd_out_those_of_others(tmp_path: Path) -> None:
    """A third of all rows are of the target's own user, and the most like it."""
    assert Habits(tmp_path / "s", users=3, periods=300, level=0.5).alike() > 0.95


def test_a_new_row_has_the_neighbours_of_a_stored_one(tmp_path: Path) -> None:
    habits = Habits(tmp_path / "s")
    users = np.arange(habits.users, dtype=np.uint32)
    time = np.full(habits.users, 10 * habits.periods, np.int64)
    new = habits.sampler.new_contexts(0, users, time, np.zeros(habits.users, np.float32))
    assert habits.neighbours(new) == habits.neighbours()
    stored = habits.sampler.contexts(
        0, np.arange(habits.last - habits.users, habits.last, dtype="u4")
    )
    assert np.array_equal(new["context_told"], stored["context_told"])
    for batch in (new, stored):
        assert batch["row_alike"][batch["row_part"] == OTHER].min() > 0
    by_number = [dict(zip(b["row_number"], b["row_alike"], strict=True)) for b in (new, stored)]
    both = by_number[0].keys() & by_number[1].keys()
    assert all(by_number[0][row] == by_number[1][row] for row in both)


def test_that_there_is_a_label_row_tells_nothing(tmp_path: Path) -> None:
    """A task that asks only about those who go on to be active."""
    habits = Habits(tmp_path / "s")
    going_on = zip(*np.nonzero(habits.active[1:]), strict=True)
    rows = [
        {"time": 10 * (period + 1), "parents": [("users", user)], "cells": {"z": 1.0}}
        for period, user in going_on
    ]
    other = {"name": "other", "kind": "task", "columns": {"z": "number"}, "rows": rows}
    assert Habits(tmp_path / "other", tables=[other]).neighbours() == habits.neighbours()


def test_rows_of_later_splits_take_no_places(tmp_path: Path) -> None:
    """Without a time splits decide: what stands in later rows changes no context."""
    rng = np.random.default_rng(7)
    b = rng.standard_normal(EVENTS)
    found = []
    for name, later in (("one", b), ("two", np.full(EVENTS, b[10]))):
        cells = np.where(np.arange(EVENTS) < 320, b, later)
        store = events_store(tmp_path / name, np.abs(b), cells={"b": cells}, times=None)
        rows = [FIRST + 10, FIRST + 20, FIRST + 325]
        found.append([other_events(c) for c in contexts(store, 1, rows, length=21, **NEAREST)])
    # the validation target's own cell is another one
    assert found[0][:2] == found[1][:2]
    assert all(len(others) >= 9 and max(others) < 320 for each in found for others in each)


def test_labels_that_are_all_the_same_tell_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    cells = {"b": rng.standard_normal(EVENTS)}
    store = events_store(tmp_path / "s", np.full(EVENTS, 0.3), cells=cells)
    found = [
        contexts(store, 1, [TEST], length=40, own_labels=0.5, own_order=order, **settings)[0]
        for order, settings in (
            ("telling", NEAREST),
            ("recency", NEAREST | {"other_order": "recency"}),
        )
    ]
    assert found[0] == found[1]


def test_a_hidden_column_tells_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((2, EVENTS))
    store = events_store(tmp_path / "s", b + 0.3 * a, cells={"a": a, "b": b})
    task = rustler.Task(0, 2, 2, SPLITS, hidden_columns=[1])
    recipe = rustler.Recipe("r", **(NEAREST | {"other_columns": 2, "other_cells": 8}))
    sampler = make([store], tasks=[task], recipes=[recipe], context_length=31)
    batch = sampler.contexts(0, np.array([TEST], np.uint32))
    names = set(batch["column_number"][batch["column"][0][~batch["is_padding"][0]]].tolist())
    assert names == {0, 2}
    others = batch["row_number"][batch["row_part"] == OTHER] - FIRST
    assert np.abs(a[others] - a[TEST - FIRST]).mean() < 0.2
    assert np.abs(b[others] - b[TEST - FIRST]).mean() > 0.5


def test_what_happens_long_after_training_moves_no_window(tmp_path: Path) -> None:
    """Columns have no horizon: the windows of facts come from the training rows' times."""
    users, _ = draw()
    rng = np.random.default_rng(10)
    times = np.cumsum(rng.integers(1, 20, EVENTS))
    since = np.array([
        times[i] - max([times[j] for j in range(i) if users[j] == users[i]], default=0)
        for i in range(EVENTS)
    ])  # fmt: skip
    found = []
    for name, end in (("one", 0), ("two", 10**6)):
        late = np.where(np.arange(EVENTS) == EVENTS - 1, end, 0)
        store = events_store(tmp_path / name, np.log(since), times=times + late)
        rows = list(range(TEST, TEST + 10))
        found.append([other_events(c) for c in contexts(store, 0, rows, length=21, **NEAREST)])
    assert found[0] == found[1]
    apart = [
        abs(since[others] - since[TEST - FIRST + i]).mean() for i, others in enumerate(found[0])
    ]
    assert np.mean(apart) < 0.5 * since.mean()


# ---------------------------------------------------------------- only the training split


def test_what_is_not_of_the_training_split_changes_nothing() -> None:
    """Rows later than the last training row may say what they will."""
    compared = changed = 0

    @examples(max_examples=100)
    @given(
        cases(),
        st.integers(-1, NUM_TIMES),
        st.lists(ROW, min_size=1, max_size=5),
        recipes(own_order="telling", own_columns=1, other_columns=3),
    )
    def every_case(case: Case, bound: int, future: list[bytes], settings: dict[str, Any]) -> None:
        nonlocal compared, changed
        world = case.world
        made = rustler.Recipe("drawn", **settings)
        for task, _ in case.tasks[:3]:
            train = range(*task.splits[0])
            times = [time for row in train if (time := world.time(row)) is not None]
            last = max([bound, *times])
            other = rewritten(world, last, future)
            with TemporaryDirectory() as folder:
                samplers = [
                    make(
                        [write_store(Path(folder, str(i)), database)],
                        tasks=[to_sampler(task)], recipes=[made], context_length=40,
                    )
                    for i, database in enumerate((world.database, other))
                ]  # fmt: skip
            rows = range(*world.table_range(task.table))
            past = [row for row in rows if (time := world.time(row)) is None or time <= last]
            assert_same_contexts(samplers, 0, past, last)
            compared += len(past)
            changed += len(past) * (world.database != other)

    every_case()
    assert compared > 300
    assert changed > 100
