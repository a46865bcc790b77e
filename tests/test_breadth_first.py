"""Rows with many children: the width bounds them, and they are drawn from the whole list."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampler_fixtures import make
from store_fixtures import write_store

import rustler


def hub(num_children: int, num_labels: int) -> dict[str, Any]:
    """One user with many orders at one time each, among label rows of two tasks."""
    user = [("users", 0)]
    orders = [{"time": t, "parents": user, "cells": {"x": 1.0}} for t in range(num_children)]
    labels = [
        {"time": t, "parents": user, "cells": {"y": 1.0}}
        for t in np.linspace(0, num_children, num_labels).astype(int).tolist()
    ]
    columns = {"y": "boolean"}
    return {
        "name": "hub",
        "tables": [
            {"name": "users", "columns": {}, "rows": [{}]},
            {"name": "orders", "columns": {"x": "number"}, "rows": orders},
            {"name": "mine", "kind": "task", "columns": columns, "rows": labels},
            {"name": "other", "kind": "task", "columns": columns, "rows": labels},
        ],
    }


@pytest.mark.parametrize(("num_children", "width"), [(5, 8), (100, 16), (3000, 16)])
def test_many_children_are_drawn_at_random_up_to_the_width(
    tmp_path: Path, num_children: int, width: int
) -> None:
    store = write_store(tmp_path / "hub", hub(num_children, 12))
    last = 1 + num_children + 11
    task = rustler.Task(0, 2, 1, [(last - 11, last), (last, last), (last, last + 1)], horizon=1)
    sampler = make([store], tasks=[task], context_length=200, width=width)
    seen: list[int] = []
    for seed in range(20):
        batch = sampler.contexts(0, np.array([last], np.uint32), seed=seed)
        tables = batch["row_table"]
        assert (tables == 1).sum() == min(width, num_children)
        assert (tables == 2).sum() == min(1 + width, 12)
        assert (tables == 3).sum() == 0
        seen += batch["row_number"][tables == 1].tolist()
    if num_children > width:
        # Drawn from the whole list, not from one end, and not the same each time.
        assert abs(np.mean(seen) / num_children - 0.5) < 0.08
        assert len(set(seen)) > 4 * width or num_children < 4 * width


@pytest.mark.parametrize("recency", [0.0, 1.0])
@pytest.mark.parametrize("per_table", [False, True])
def test_label_rows_take_no_place_of_children(
    tmp_path: Path, recency: float, per_table: bool
) -> None:
    """A few orders among thousands of label rows of two tasks."""
    store = write_store(tmp_path / "hub", hub(20, 3000))
    last = 1 + 20 + 2999
    task = rustler.Task(0, 2, 1, [(last - 2999, last), (last, last), (last, last + 1)], horizon=1)
    recipe = rustler.Recipe("published", width=32, recency=recency, width_per_table=per_table)
    sampler = make([store], tasks=[task], context_length=200, recipes=[recipe])
    tables = sampler.contexts(0, np.array([last], np.uint32))["row_table"]
    assert [int((tables == table).sum()) for table in (1, 2, 3)] == [20, 33, 0]
