"""The sampler against a brute-force oracle, written from the rules about time and leakage alone.

Random small databases (rows without time, ties, null cells, several references to one table,
cycles, self-references), random tasks of every kind and random cutoffs. Nothing forbidden may be in
a context; and where budget and width do not bind, a context holds exactly all rows that can be
reached through visible rows, with exactly their visible cells.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampler_fixtures import published
from store_fixtures import EMBEDDER, write_store
from visibility_oracle import TYPES, Oracle, World, random_database, random_tasks

import rustler

NUM_DATABASES = 120
CONTEXTS_PER_TASK = 6
UNLIMITED = 400


# ---------------------------------------------------------------- contexts as plain values


def text_numbers(world: World) -> dict[str, int]:
    """Text numbers as the fixture gives them: names of columns, then texts in order of rows."""
    tables = world.database["tables"]
    names = [f"{name} of {tables[table]['name']}" for table, name, _ in world.columns]
    texts = [
        value
        for row in range(len(world.rows))
        for value in world.cells(row).values()
        if isinstance(value, str)
    ]
    return {text: number for number, text in enumerate(dict.fromkeys(names + texts))}


def decode(batch: dict[str, Any], b: int, texts: dict[int, str]) -> dict[str, Any]:
    """Context b: its rows, and per row its cells in the order of the slots."""
    start, end = batch["context_row_ptr"][b : b + 2]
    rows = batch["row_number"][start:end].tolist()
    cells: list[dict[int, Any]] = [{} for _ in rows]
    used = int((~batch["is_padding"][b]).sum())
    assert not batch["is_padding"][b, :used].any()
    assert (np.diff(batch["row"][b, :used]) >= 0).all()
    for slot in range(used):
        column = batch["column_number"][batch["column"][b, slot]].item()
        text = batch["text"][b, slot].item()
        value: Any = batch["value"][b, slot].item()
        if text >= 0:
            assert value == 0
            value = texts[int(batch["text_embedding"][text, 0])]
        row_cells = cells[batch["row"][b, slot]]
        assert column not in row_cells
        row_cells[column] = value
    pointers = batch["parent_ptr"][start : end + 1]
    parents = [[rows[p] for p in batch["parent"][i:j]] for i, j in pairwise(pointers)]
    return {
        "rows": rows,
        "cells": cells,
        "parents": parents,
        "table": batch["row_table"][start:end].tolist(),
        "time": batch["row_time"][start:end].tolist(),
        "depth": batch["row_depth"][start:end].tolist(),
        "size": used,
    }


def check_arrays(context: dict[str, Any], world: World, children: list[list[int]]) -> None:
    """Tables, times, parents, types of what is there, and depths along references."""
    rows = context["rows"]
    assert len(set(rows)) == len(rows)
    assert context["table"] == [world.table_of[row] for row in rows]
    times = [world.time(row) for row in rows]
    assert context["time"] == [rustler.NO_TIME if t is None else t for t in times]
    assert context["parents"] == [[p for p in world.parents(r) if p in rows] for r in rows]
    assert context["depth"][0] == 0
    for place, row in enumerate(rows[1:], start=1):
        near = {*world.parents(row), *children[row]}
        depths = {context["depth"][i] for i in range(place) if rows[i] in near}
        assert context["depth"][place] - 1 in depths


def check_target(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
    """One target, in its place, with its value, and no other."""
    slot = batch["target_slot"][b]
    assert np.flatnonzero(batch["is_target"][b]).tolist() == [slot]
    assert batch["row"][b, slot] == 0
    assert batch["column_number"][batch["column"][b, slot]] == oracle.task.column
    assert batch["target_row"][b] == oracle.target
    kind = TYPES.index(oracle.world.columns[oracle.task.column][2])
    assert batch["semantic_type"][b, slot] == kind
    value = oracle.world.cells(oracle.target).get(oracle.task.column)
    if not isinstance(value, str):
        assert batch["value"][b, slot] == (0 if value is None else value)


def cases(tmp_path: Path, settings: dict[str, Any], count: int) -> Any:
    """Random (batch, b, oracle, world, children, text of number)."""
    for seed in range(count):
        rng = np.random.default_rng([seed, 7])
        world = World(random_database(rng))
        store = write_store(tmp_path / str(seed), world.database)
        children: list[list[int]] = [[] for _ in world.rows]
        for row in range(len(world.rows)):
            for parent in world.parents(row):
                children[parent].append(row)
        specs = random_tasks(rng, world)
        tasks = [rustler.Task(0, s.table, s.column, s.splits, s.horizon, s.hidden) for s in specs]
        sampler = rustler.Sampler([store], tasks, embedder=EMBEDDER, seed=seed, **settings)
        texts = {number: text for text, number in text_numbers(world).items()}
        for number, spec in enumerate(specs):
            rows = rng.integers(*world.table_range(spec.table), size=CONTEXTS_PER_TASK)
            cutoff = int(rng.integers(-1, 11)) if rng.random() < 0.5 else None
            batch = sampler.contexts(number, rows.astype(np.uint32), cutoff=cutoff)
            for b, row in enumerate(rows.tolist()):
                yield batch, b, Oracle(world, spec, row, cutoff, Counter()), children, texts


def with_null_target(cells: dict[int, Any], world: World) -> dict[int, Any]:
    """The oracle's cells as the batch shows them: a null target has the value 0."""
    return {c: 0 if v is None else v for c, v in cells.items()}


REASONS = {
    "row later than the bound",
    "label row of another task",
    "row of a later split",
    "label row not known",
    "label of the same or a later split",
    "no time to know a label by",
    "window not over",
    "label not before the target",
    "hidden column",
    "target column",
}


def test_unlimited_contexts_hold_exactly_what_may_be_seen(tmp_path: Path) -> None:
    settings = {"context_length": UNLIMITED, "recipes": [published(1000)]}
    drops: Counter[str] = Counter()
    contexts = shown = 0
    for batch, b, oracle, children, texts in cases(tmp_path, settings, NUM_DATABASES):
        oracle.drops = drops
        context = decode(batch, b, texts)
        assert context["rows"][0] == oracle.target
        assert set(context["rows"]) == oracle.reachable(children)
        for row, cells in zip(context["rows"], context["cells"], strict=True):
            assert list(cells.items()) == list(
                with_null_target(oracle.cells(row), oracle.world).items()
            )
        check_arrays(context, oracle.world, children)
        check_target(batch, b, oracle)
        contexts += 1
        shown += len(context["rows"])
    # The databases exercise every rule, and most contexts show something.
    assert contexts > 3000
    assert shown > 3 * contexts
    assert min(drops[reason] for reason in REASONS) > 200, drops
    assert set(drops) == REASONS


@pytest.mark.parametrize(("budget", "width"), [(1, 3), (6, 1), (15, 2), (40, 0)])
def test_small_contexts_hold_only_what_may_be_seen(tmp_path: Path, budget: int, width: int) -> None:
    settings = {"context_length": budget, "recipes": [published(width)]}
    for batch, b, oracle, children, texts in cases(tmp_path, settings, NUM_DATABASES // 4):
        context = decode(batch, b, texts)
        rows = context["rows"]
        assert context["size"] <= budget
        assert set(rows) <= oracle.reachable(children)
        check_arrays(context, oracle.world, children)
        check_target(batch, b, oracle)
        for place, (row, cells) in enumerate(zip(rows, context["cells"], strict=True)):
            allowed = list(with_null_target(oracle.cells(row), oracle.world).items())
            if row == oracle.target and len(cells) < len(allowed):
                # The target, and the first others.
                others = [c for c in allowed if c[0] != oracle.task.column][: budget - 1]
                assert [c for c in cells.items() if c[0] != oracle.task.column] == others
            elif place == len(rows) - 1 and context["size"] == budget:
                assert list(cells.items()) == allowed[: len(cells)]
            else:
                assert list(cells.items()) == allowed
