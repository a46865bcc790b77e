"""Nothing later than a target's bound has any influence on its context."""

import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cases import (
    ALL_COLUMNS,
    ALWAYS,
    NUM_TIMES,
    ROW,
    Case,
    cases,
    examples,
    make_row,
    recipes,
    to_sampler,
)
from sampler_fixtures import make
from store_fixtures import write_store
from visibility_oracle import World

import rustler


def assert_same_contexts(
    samplers: Sequence[rustler.Sampler], task: int, rows: Sequence[int], cutoff: int
) -> None:
    """Two samplers give the same contexts of a task's rows, draw for draw."""
    one, two = (s.contexts(task, np.array(rows, np.uint32), cutoff=cutoff) for s in samplers)
    arrays = ("row_number", "value", "row_part", "row_origin", "parent", "column", "row_alike")
    for array in (*arrays, "context_told"):
        assert np.array_equal(one[array], two[array]), array


UNTOLD = {"own_order": "recency", "own_columns": 0, "other_columns": ALL_COLUMNS}
"""What training labels tell is a number of their split (`test_telling`)."""


def rewritten(world: World, bound: int, future: list[bytes]) -> dict[str, Any]:
    """The database with other references and values in all rows later than the bound."""
    database = copy.deepcopy(world.database)
    sizes = {table["name"]: len(table["rows"]) for table in database["tables"]}
    for table in database["tables"]:
        for place, row in enumerate(table["rows"]):
            if row["time"] is not None and row["time"] > bound:
                new = make_row(future[place % len(future)], table, sizes, ALWAYS)
                row |= new | {"time": row["time"]}
    return database


@pytest.mark.parametrize(
    ("recipe", "num_cases"),
    [
        (recipes(other_order="walks", **UNTOLD), 150),
        (recipes(other_order="recency", **UNTOLD), 40),
        (recipes(other_order="random", **UNTOLD), 40),
        (recipes(own_labels=0.0, other_labels=0.0, **UNTOLD), 40),
    ],
    ids=["walks", "recency", "random", "published"],
)
def test_the_future_changes_nothing(
    recipe: st.SearchStrategy[dict[str, Any]], num_cases: int
) -> None:
    """Rows later than the bound may say what they will: contexts stay the same, draw for draw."""
    compared = changed = 0

    @examples(max_examples=num_cases)
    @given(
        cases(),
        st.integers(-1, NUM_TIMES),
        st.lists(ROW, min_size=1, max_size=5),
        recipe,
    )
    def every_case(case: Case, bound: int, future: list[bytes], settings: dict[str, Any]) -> None:
        nonlocal compared, changed
        world, other = case.world, rewritten(case.world, bound, future)
        tasks = [to_sampler(task) for task, _ in case.tasks]
        with TemporaryDirectory() as folder:
            samplers = [
                make(
                    [write_store(Path(folder, str(i)), database)],
                    tasks=tasks,
                    recipes=[rustler.Recipe("drawn", **settings)],
                    context_length=40,
                )
                for i, database in enumerate((world.database, other))
            ]
        for number, (task, _) in enumerate(case.tasks):
            rows = range(*world.table_range(task.table))
            past = [row for row in rows if (time := world.time(row)) is None or time <= bound]
            assert_same_contexts(samplers, number, past, bound)
            compared += len(past)
            changed += len(past) * (world.database != other)

    every_case()
    assert compared > 5 * num_cases
    assert changed > 2 * num_cases
