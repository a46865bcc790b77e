"""What lies in the future neither guides walks nor takes the place of what is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_fixtures import EMBEDDER, write_store

import rustler

OTHER = rustler.PARTS.index("other label")
PAST, NOW, FUTURE = 1, 10, 50


def row(time: int | None, *parents: tuple[str, int], **cells: float) -> dict[str, Any]:
    return {"time": time, "parents": list(parents), "cells": cells}


def contexts(folder: Path, tables: list[dict[str, Any]], recipe: rustler.Recipe) -> list[Any]:
    """Contexts of several seeds of the last row of the last table, a table of labels."""
    write_store(folder, {"name": "made", "tables": tables})
    end = sum(len(table["rows"]) for table in tables)
    splits = [(end - len(tables[-1]["rows"]), end), (end, end), (end, end)]
    column = sum(len(table["columns"]) for table in tables) - 1
    task = rustler.Task(0, len(tables) - 1, column, splits, horizon=2)
    sampler = rustler.Sampler(
        [folder], [task], embedder=EMBEDDER, context_length=[64], recipes=[recipe]
    )
    target = np.array([end - 1], np.uint32)
    return [sampler.contexts(0, target, seed=seed) for seed in range(5)]


def orders(user: int, item: int, time: int, count: int) -> list[dict[str, Any]]:
    return [row(time, ("users", user), ("items", item)) for _ in range(count)]


def test_walks_do_not_pass_through_the_future(tmp_path: Path) -> None:
    """User 1 shares an item with the target's user, user 2 only in orders still to come; all rows
    on the way have more children than are looked up one by one."""
    made = [
        *orders(0, 0, PAST, 35),
        *orders(1, 0, PAST, 35),
        *orders(0, 2, PAST, 120),
        *orders(0, 1, FUTURE, 200),
        *orders(2, 1, FUTURE, 200),
        *orders(2, 0, FUTURE, 50),
    ]
    near = [row(2, ("users", 1), y=1.0) for _ in range(10)]
    far = [row(3, ("users", 2), y=1.0) for _ in range(10)]
    tables = [
        {"name": "users", "columns": {}, "rows": [row(None)] * 3},
        {"name": "items", "columns": {}, "rows": [row(None)] * 3},
        {"name": "orders", "columns": {}, "rows": made},
        {"name": "labels", "kind": "task", "columns": {"y": "number"},
         "rows": [*near, *far, row(NOW, ("users", 0), y=1.0)]},
    ]  # fmt: skip
    recipe = rustler.Recipe(
        "walks", own_labels=0.0, other_labels=1.0, other_order="walks", walks=2000, walk_length=12,
        other_cells=1, other_width=0, width=0,
    )  # fmt: skip
    first = 6 + len(made)
    for batch in contexts(tmp_path, tables, recipe):
        rows = batch["row_number"][batch["row_part"] == OTHER] - first
        # those that walks reach come first, the others only when there are no more
        assert (rows[:10] < 10).all()
        assert len(rows) == 20


@pytest.mark.parametrize("recency", [0.0, 1.0])
@pytest.mark.parametrize("late", [3, 400])
def test_labels_not_known_yet_take_no_known_ones_place(
    tmp_path: Path, recency: float, late: int
) -> None:
    """Breadth-first: a user with known labels, and with `late` whose window has not ended."""
    labels = [row(time, ("users", 0), y=1.0) for time in [*[PAST] * 12, *[NOW - 1] * late, NOW]]
    tables = [
        {"name": "users", "columns": {"age": "number"}, "rows": [row(None, age=0.5)]},
        {"name": "labels", "kind": "task", "columns": {"y": "number"}, "rows": labels},
    ]
    recipe = rustler.Recipe("published", width=8, recency=recency)
    for batch in contexts(tmp_path, tables, recipe):
        numbers = set(batch["row_number"].tolist())
        assert len(numbers) == 10
        assert numbers - {0, len(labels)} <= set(range(1, 13))


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.25])
def test_whether_a_hidden_cell_is_there_decides_nothing(tmp_path: Path, share: float) -> None:
    """Not even which rows have room."""
    labels = [row(time, ("users", time % 2), y=1.0) for time in range(NOW)]
    shown = []
    for name, hidden in (("there", {"birthday": 1.0}), ("null", {})):
        users = [row(None, age=float(user), height=1.0, **hidden) for user in range(2)]
        tables = [
            {"name": "users", "columns": dict.fromkeys(("age", "height", "birthday"), "number"),
             "rows": users},
            {"name": "labels", "kind": "task", "columns": {"y": "number"}, "rows": labels},
        ]  # fmt: skip
        store = write_store(tmp_path / name, {"name": "made", "tables": tables})
        task = rustler.Task(0, 1, 3, [(2, 12), (12, 12), (12, 12)], 2, hidden_columns=[2])
        recipes = [rustler.Recipe("r", ancestors=share, own_labels=0.2, width=4)]
        sampler = rustler.Sampler(
            [store], [task], embedder=EMBEDDER, context_length=[16], recipes=recipes
        )
        target = np.array([11], np.uint32)
        batch = sampler.contexts(0, target)
        names = ("row_number", "row_part", "column")
        shown.append([batch[name].tolist() for name in names])
    assert shown[0] == shown[1]
