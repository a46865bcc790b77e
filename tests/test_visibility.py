"""The sampler against a brute-force oracle, written from the rules about time and leakage alone.

Random small databases (rows without time, ties, null cells, several references to one table,
cycles, self-references), random tasks of every kind and random cutoffs. Nothing forbidden may be in
a context; and where budget and width do not bind, a context holds exactly all rows that can be
reached through visible rows, with exactly their visible cells.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_cases import Case, cases, examples, to_sampler
from sampler_fixtures import published
from store_fixtures import EMBEDDER, write_store
from visibility_oracle import TYPES, Oracle, World

import rustler

UNLIMITED = 400


# ---------------------------------------------------------------- contexts as plain values


def decode(batch: dict[str, Any], b: int, world: World) -> dict[str, Any]:
    """Context b: its rows, and per row its cells in the order of the slots."""
    start, end = batch["context_row_ptr"][b : b + 2]
    rows = batch["row_number"][start:end].tolist()
    cells: list[dict[int, Any]] = [{} for _ in rows]
    used = int((~batch["is_padding"][b]).sum())
    assert not batch["is_padding"][b, :used].any()
    row, text, value = (batch[name][b, :used].tolist() for name in ("row", "text", "value"))
    column = batch["column_number"][batch["column"][b, :used]].tolist()
    assert row == sorted(row)
    for slot in range(used):
        if text[slot] >= 0:
            assert value[slot] == 0
            value[slot] = world.texts[int(batch["text_embedding"][text[slot], 0])]
        assert column[slot] not in cells[row[slot]]
        cells[row[slot]][column[slot]] = value[slot]
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


def check_arrays(context: dict[str, Any], oracle: Oracle) -> None:
    """Tables, times, parents, types of what is there, and depths along references."""
    rows, world = context["rows"], oracle.world
    assert len(set(rows)) == len(rows)
    assert context["table"] == [world.table_of[row] for row in rows]
    times = [world.time(row) for row in rows]
    assert context["time"] == [rustler.NO_TIME if t is None else t for t in times]
    assert context["parents"] == [[p for p in oracle.parents(r) if p in rows] for r in rows]
    assert context["depth"][0] == 0
    for place, row in enumerate(rows[1:], start=1):
        near = {*oracle.parents(row), *oracle.children(row)}
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
    value = oracle.world.cells[oracle.target].get(oracle.task.column)
    if not isinstance(value, str):
        assert batch["value"][b, slot] == (0 if value is None else value)


def ask(case: Case, check: Callable[[dict[str, Any], int, Oracle], None], **settings: Any) -> None:
    """Calls `check` with (batch, b, oracle) of every row of each task's table, without a cutoff and
    with the task's own, for a sampler of these settings."""
    tasks = [to_sampler(task) for task, _ in case.tasks]
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder), case.world.database)
        sampler = rustler.Sampler([store], tasks, embedder=EMBEDDER, seed=case.seed, **settings)
    for number, (task, last) in enumerate(case.tasks):
        rows = range(*case.world.table_range(task.table))
        for cutoff in (None, last):
            batch = sampler.contexts(number, np.array(rows, np.uint32), cutoff=cutoff)
            for b, row in enumerate(rows):
                try:
                    check(batch, b, Oracle(case.world, task, row, cutoff))
                except AssertionError as error:
                    error.add_note(f"target: row {row}, cutoff {cutoff}, {task}")
                    raise


def with_null_target(cells: dict[int, Any]) -> dict[int, Any]:
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
    "hidden key",
    "target column",
}


def test_unlimited_contexts_hold_exactly_what_may_be_seen() -> None:
    drops: Counter[str] = Counter()
    count = shown = 0

    def check(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
        nonlocal count, shown
        context = decode(batch, b, oracle.world)
        assert context["rows"][0] == oracle.target
        assert set(context["rows"]) == oracle.reachable()
        for row, cells in zip(context["rows"], context["cells"], strict=True):
            assert list(cells.items()) == list(with_null_target(oracle.cells(row)).items())
        check_arrays(context, oracle)
        check_target(batch, b, oracle)
        count += 1
        shown += len(context["rows"])
        drops.update(oracle.drops)

    @examples(max_examples=310)
    @given(cases())
    def every_case(case: Case) -> None:
        ask(case, check, context_length=UNLIMITED, recipes=[published(1000)])

    every_case()
    # The databases exercise every rule, and most contexts show something.
    assert count > 7000
    assert shown > 2 * count
    assert min(drops[reason] for reason in REASONS) > 300, drops
    assert set(drops) == REASONS


def test_small_contexts_hold_only_what_may_be_seen() -> None:
    count = full = 0

    def check(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
        nonlocal count, full
        context = decode(batch, b, oracle.world)
        rows, budget = context["rows"], batch["row"].shape[1]
        assert set(rows) <= oracle.reachable()
        check_arrays(context, oracle)
        check_target(batch, b, oracle)
        for place, (row, cells) in enumerate(zip(rows, context["cells"], strict=True)):
            allowed = list(with_null_target(oracle.cells(row)).items())
            if row == oracle.target and len(cells) < len(allowed):
                # The target, and the first others.
                others = [c for c in allowed if c[0] != oracle.task.column][: budget - 1]
                assert [c for c in cells.items() if c[0] != oracle.task.column] == others
            elif place == len(rows) - 1 and context["size"] == budget:
                assert list(cells.items()) == allowed[: len(cells)]
            else:
                assert list(cells.items()) == allowed
        count += 1
        full += context["size"] == budget

    @examples(max_examples=310)
    @given(cases(), st.integers(1, 40), st.integers(0, 3))
    def every_case(case: Case, budget: int, width: int) -> None:
        ask(case, check, context_length=budget, recipes=[published(width)])

    every_case()
    assert count > 7000
    assert full > 400
