"""Contexts of rows that the store lacks are those of the same rows, had they been there."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from random_cases import Case, cases, examples, to_sampler
from sampler_fixtures import CHURN, forecast, make, published, shop
from store_fixtures import EMBEDDER, write_store
from test_visibility import UNLIMITED, decode
from visibility_oracle import World

import rustler

LABELS = {"own_labels": 1.0, "ancestors": 1.0, "other_labels": 1.0, "other_cells": UNLIMITED}


def without_own(context: dict[str, Any]) -> set[tuple[Any, ...]]:
    """What a context holds but for the cells of the target's row: of each row its cells, parents,
    table and time."""
    own = context["rows"][0]
    found = set()
    for row, cells, parents, table, time in zip(
        *(context[name] for name in ("rows", "cells", "parents", "table", "time")), strict=True
    ):
        shown = () if row == own else tuple(cells.items())
        found.add((None if row == own else row, shown, tuple(parents), table, time))
    return found


@examples(max_examples=150)
@given(cases())
def test_the_same_context_as_of_a_row_that_is_there(case: Case) -> None:
    world: World = case.world
    tasks = [to_sampler(task) for task, _ in case.tasks]
    recipes = [
        rustler.Recipe("published", width=UNLIMITED),
        rustler.Recipe("labels", width=UNLIMITED, other_width=UNLIMITED, **LABELS),
    ]
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder), world.database)
        sampler = rustler.Sampler(
            [store], tasks, embedder=EMBEDDER, context_length=UNLIMITED, recipes=recipes
        )
    for number, (task, last) in enumerate(case.tasks):
        if not world.is_label_table(task.table):
            continue
        for row in range(*world.table_range(task.table)):
            time, parents = world.time(row), world.parents[row]
            in_test = task.splits[2][0] <= row < task.splits[2][1]
            if len(parents) != 1 or (time is None and not in_test):
                continue
            compare(sampler, (number, row), world, (None, last), len(recipes))


def compare(
    sampler: rustler.Sampler, place: tuple[int, int], world: World, cutoffs: Any, recipes: int
) -> None:
    """The row's own context and that of a new row of its entity and time, by each recipe."""
    task, row = place
    time = world.time(row)
    new = (
        np.array(world.parents[row], np.uint32),
        np.array([rustler.NO_TIME if time is None else time], np.int64),
        np.array([0.25], np.float32),
    )
    for cutoff in cutoffs:
        for recipe in range(recipes):
            real = sampler.contexts(task, np.array([row], np.uint32), cutoff=cutoff, recipe=recipe)
            made = sampler.new_contexts(task, *new, cutoff=cutoff, recipe=recipe)
            one, other = decode(real, 0, world), decode(made, 0, world)
            assert other["rows"][0] == len(world.rows)
            assert without_own(one) == without_own(other)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = shop()
    for table in database["tables"][1:]:
        table["foreign_keys"] = [("user", "users")]
    return write_store(tmp_path_factory.mktemp("new"), database)


def ask(sampler: rustler.Sampler, **settings: Any) -> dict[str, Any]:
    entities = np.array([3, 3, 7], np.uint32)
    times = np.array([500, 900, 5000], np.int64)
    return sampler.new_contexts(
        0, entities, times, np.array([-1, 0.5, np.nan], np.float32), **settings
    )


def test_the_row_itself(store: Path) -> None:
    """Its time, if it has a value, and its target, which has none; nothing else."""
    sampler = make([store], tasks=[forecast()])
    batch = ask(sampler)
    num_rows = rustler.Store(store).num_rows
    assert batch["target_row"].tolist() == [num_rows] * 3
    for b, cells in enumerate(
        [{CHURN - 1: -1.0, CHURN: 0.0}, {CHURN - 1: 0.5, CHURN: 0.0}, {CHURN: 0.0}]
    ):
        own = batch["row"][b] == 0
        columns = batch["column_number"][batch["column"][b, own]]
        assert dict(zip(columns.tolist(), batch["value"][b, own].tolist(), strict=True)) == cells
        slot = batch["target_slot"][b]
        assert batch["is_target"][b, slot]
        assert batch["column_number"][batch["column"][b, slot]] == CHURN
    first = batch["context_row_ptr"][:-1]
    assert batch["row_time"][first].tolist() == [500, 900, 5000]
    assert batch["row_table"][first].tolist() == [2, 2, 2]
    assert batch["parent"][batch["parent_ptr"][first]].tolist() == [1, 1, 1]
    # labels are known when their window of 50 has ended, and orders up to the time are seen
    for b, time in enumerate([500, 900, 5000]):
        rows = slice(first[b] + 1, batch["context_row_ptr"][b + 1])
        is_label = batch["row_table"][rows] == 2
        times = batch["row_time"][rows]
        assert (times[is_label] + 50 <= time).all()
        assert (times <= time).all()


def test_every_recipe_and_any_number_of_threads(store: Path) -> None:
    walks = rustler.Recipe(
        "walks", own_labels=0.2, other_labels=0.5, other_order="walks", walks=200, walk_length=5
    )
    recipes = [published(4), walks]
    one, many = (
        make([store], tasks=[forecast()], recipes=recipes, num_threads=n, child_counts=True)
        for n in (1, 3)
    )
    for recipe in (0, 1):
        found, same = ask(one, recipe=recipe), ask(many, recipe=recipe)
        assert all(np.array_equal(found[name], same[name], equal_nan=True) for name in found)
        counted = found["count_ptr"][found["context_row_ptr"][:-1] + 1]
        assert (counted == found["count_ptr"][found["context_row_ptr"][:-1]]).all()
    assert set(ask(one, recipe=1)["row_part"].tolist()) >= {0, 2, 3}
    assert not np.array_equal(ask(one, seed=1)["row_number"], ask(one)["row_number"])
    early = ask(one, cutoff=100)
    seen = early["row_time"][early["row_number"] < 540]
    assert seen[seen != rustler.NO_TIME].max() <= 100


def test_wrong_arguments(store: Path) -> None:
    sampler = make([store], tasks=[forecast()])
    good = (np.array([3], np.uint32), np.array([5], np.int64), np.array([0], np.float32))

    def refused(*arrays: Any, **settings: Any) -> str:
        with pytest.raises(rustler.RustlerError) as raised:
            sampler.new_contexts(0, *arrays, **settings)
        return str(raised.value)

    assert "row 20 is no entity of task 0" in refused(np.array([20], np.uint32), *good[1:])
    assert "differ in length" in refused(good[0], np.array([5, 6], np.int64), good[2])
    assert "times must be a one-dimensional" in refused(good[0], np.array([5.0]), good[2])
    assert "no recipe 4" in refused(*good, recipe=4)
