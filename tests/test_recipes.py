"""Contexts made of parts: what each part holds, by the same oracle as `test_visibility`.

Databases, tasks, cutoffs and recipes are random; a fact about a part is checked on thousands of
contexts.
"""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cases import ORDERS, Case, cases, examples, recipes
from sampler_fixtures import LABELS, autocomplete, forecast, make, shop
from store_fixtures import write_store
from test_visibility import UNLIMITED, ask, check_target, decode, with_null_target
from visibility_oracle import Oracle

import rustler

TARGET, ANCESTOR, OWN, OTHER, AROUND, NEIGHBOUR = range(6)


def parts_of(batch: dict[str, Any], b: int) -> tuple[list[int], list[int]]:
    """Part and origin of each row of context b."""
    rows = slice(*batch["context_row_ptr"][b : b + 2])
    return batch["row_part"][rows].tolist(), batch["row_origin"][rows].tolist()


def own_entity(oracle: Oracle, row: int) -> bool:
    mine = [p for p in oracle.parents(oracle.target) if oracle.row_allowed(p)]
    return any(parent in mine for parent in oracle.parents(row))


def known_labels(oracle: Oracle) -> list[int]:
    """The rows whose label the target may see."""
    table = range(*oracle.world.table_range(oracle.task.table))
    return [
        row
        for row in table
        if row != oracle.target
        and oracle.row_allowed(row)
        and oracle.task.column in oracle.cells(row)
    ]


def time_column(oracle: Oracle) -> set[int]:
    columns = enumerate(oracle.world.columns)
    return {n for n, (table, name, _) in columns if table == oracle.task.table and name == "when"}


# ---------------------------------------------------------------- nothing forbidden


def rows_of_parts(num_cases: int, **fixed: Any) -> tuple[int, list[int]]:
    """Checks contexts by recipes with these settings; how many they were, and rows by part."""
    contexts, rows_by_part = 0, [0] * len(rustler.PARTS)
    most_columns = {"own": 0}

    def check(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
        nonlocal contexts
        oracle.blind = not fixed.get("with_labels", True)
        context, (parts, origins) = decode(batch, b, oracle.world), parts_of(batch, b)
        check_target(batch, b, oracle)
        rows, budget = context["rows"], batch["row"].shape[1]
        assert len(set(rows)) == len(rows)
        assert rows[0] == oracle.target
        for place, (row, part, shown) in enumerate(zip(rows, parts, context["cells"], strict=True)):
            assert row == oracle.target or oracle.row_allowed(row)
            allowed = with_null_target(oracle.cells(row))
            assert shown.items() <= allowed.items()
            whole = part not in (TARGET, OTHER, OWN, AROUND) and context["size"] < budget
            assert shown == allowed or not whole
            check_origin(context, origins, place, oracle)
            rows_by_part[part] += 1
        check_labels(context, parts, oracle, most_columns["own"])
        contexts += 1

    @examples(max_examples=num_cases)
    @given(cases(), recipes(**fixed), st.integers(1, 60) | st.just(UNLIMITED))
    def every_case(case: Case, recipe: dict[str, Any], budget: int) -> None:
        made = rustler.Recipe("drawn", **recipe)
        most_columns["own"] = recipe["own_columns"]
        ask(case, check, context_length=budget, recipes=[made])

    every_case()
    return contexts, rows_by_part


@pytest.mark.parametrize(
    ("order", "num_cases", "least"),
    [("walks", 310, 7000), ("recency", 60, 1000), ("random", 60, 1000)],
)
def test_contexts_hold_only_what_may_be_seen(order: str, num_cases: int, least: int) -> None:
    contexts, rows = rows_of_parts(num_cases, other_order=order)
    assert contexts > least
    assert min(rows) > 50, rows


def test_without_labels_no_label_is_shown() -> None:
    """The oracle is told that none is known."""
    contexts, rows = rows_of_parts(60, with_labels=False)
    assert contexts > 1000
    assert rows[OWN] == rows[OTHER] == rows[AROUND] == 0
    assert rows[NEIGHBOUR] > 50


def check_labels(
    context: dict[str, Any], parts: list[int], oracle: Oracle, own_columns: int
) -> None:
    """Label rows that come by themselves are known and show their label, and nothing around them
    is later than they are."""
    known = known_labels(oracle)
    bare = {oracle.task.column} | time_column(oracle)
    root = None
    for place, (row, part) in enumerate(zip(context["rows"], parts, strict=True)):
        if part in (OWN, OTHER):
            assert row in known
            assert oracle.task.column in context["cells"][place]
        if part == OWN:
            assert own_entity(oracle, row)
            assert len(context["cells"][place].keys() - bare) <= own_columns
        if part == OTHER:
            root = row
            assert not (oracle.world.is_label_table(oracle.task.table) and own_entity(oracle, row))
        if part == AROUND:
            assert root is not None
            time, until = oracle.world.time(row), oracle.world.time(root)
            assert time is None or until is None or time <= until


def check_origin(context: dict[str, Any], origins: list[int], place: int, oracle: Oracle) -> None:
    """A row was reached from its parent or its child, one step nearer; roots from nowhere."""
    origin, row = origins[place], context["rows"][place]
    assert origin < place
    if origin < 0:
        assert context["depth"][place] == (0 if place == 0 else 1)
        return
    other = context["rows"][origin]
    near = [*oracle.parents(row), *oracle.parents(other)]
    assert row in near or other in near
    assert context["depth"][place] == context["depth"][origin] + 1


# ---------------------------------------------------------------- what each part holds


def test_own_labels_are_the_latest() -> None:
    seen = cut = 0

    def check(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
        nonlocal seen, cut
        context, (parts, _) = decode(batch, b, oracle.world), parts_of(batch, b)
        budget, rows = batch["row"].shape[1], list(zip(context["rows"], parts, strict=True))
        found = [row for row, part in rows if part == OWN]
        before = {row for row, part in rows if part in (TARGET, ANCESTOR)}
        own = [row for row in known_labels(oracle) if own_entity(oracle, row) and row not in before]
        if oracle.bound() is not None:
            time = {row: oracle.world.time(row) for row in own}
            own.sort(key=lambda row: (-1 if time[row] is None else time[row], row), reverse=True)
            assert found == own[: len(found)]
        assert set(found) <= set(own)
        seen += len(found)
        if len(found) < len(own) and len(rows) < budget:
            cut += 1
            cells = zip(context["cells"], parts, strict=True)
            room = budget - sum(len(cell) for cell, part in cells if part in (TARGET, ANCESTOR))
            assert 2 * len(found) >= room - 1

    @examples(max_examples=150)
    @given(cases(), st.integers(2, 20))
    def every_case(case: Case, budget: int) -> None:
        recipe = rustler.Recipe("own", own_labels=1.0, parent_levels=1)
        ask(case, check, context_length=budget, recipes=[recipe])

    every_case()
    assert seen > 50
    assert cut > 10


def test_rows_that_reference_the_entity_twice_take_one_place(tmp_path: Path) -> None:
    events = [
        {"time": time, "parents": [("users", 0), ("users", 0)], "cells": {"y": 1.0}}
        for time in range(4)
    ]
    tables = [
        {"name": "users", "columns": {}, "rows": [{}]},
        {"name": "events", "columns": {"y": "number"}, "rows": events},
    ]
    store = write_store(tmp_path / "twice", {"name": "twice", "tables": tables})
    task = rustler.Task(0, 1, 0, [(1, 5), (5, 5), (5, 5)])
    recipe = rustler.Recipe("own", own_labels=1.0)
    sampler = make([store], tasks=[task], recipes=[recipe], context_length=5)
    batch = sampler.contexts(0, np.array([4], np.uint32))
    assert batch["row_number"].tolist() == [4, 0, 3, 2, 1]
    assert batch["row_part"].tolist() == [TARGET, ANCESTOR, OWN, OWN, OWN]


@pytest.mark.parametrize("order", ORDERS)
def test_unlimited_contexts_hold_every_known_label(order: str) -> None:
    others = 0

    def check(batch: dict[str, Any], b: int, oracle: Oracle, own: bool) -> None:
        nonlocal others
        parts, _ = parts_of(batch, b)
        # without a part of their own, the search alone meets label rows of the same entity
        known = {row for row in known_labels(oracle) if own or not own_entity(oracle, row)}
        assert known <= set(decode(batch, b, oracle.world)["rows"])
        others += parts.count(OTHER)

    @examples(max_examples=60)
    @given(cases(), recipes(other_order=order))
    def every_case(case: Case, recipe: dict[str, Any]) -> None:
        of_recipe = partial(check, own=recipe["own_labels"] > 0)
        made = rustler.Recipe("drawn", **recipe)
        ask(case, of_recipe, context_length=UNLIMITED, recipes=[made])

    every_case()
    assert others > 300


def timed_shop(tmp_path: Path) -> Path:
    return write_store(tmp_path / "shop", shop())


def test_recency_takes_the_latest_known_labels_of_others(tmp_path: Path) -> None:
    recipe = rustler.Recipe("r", other_labels=0.5, other_cells=2, width=0)
    path = timed_shop(tmp_path)
    sampler = make([path], tasks=[forecast()], recipes=[recipe], context_length=40)
    store = rustler.Store(path)
    first, last = LABELS
    batch = sampler.contexts(0, np.arange(first + 60, first + 80, dtype=np.uint32))
    for b in range(20):
        rows = slice(*batch["context_row_ptr"][b : b + 2])
        number, part = batch["row_number"][rows], batch["row_part"][rows]
        target = store.row(int(number[0]))
        known = [
            row
            for row in range(first, last)
            if store.row(row)["time"] + 50 <= target["time"]
            and store.row(row)["parents"] != target["parents"]
        ]
        found = number[part == OTHER].tolist()
        assert found[:10] == known[::-1][:10]


def test_walks_prefer_what_is_near(tmp_path: Path) -> None:
    """Orders of the target's own user come before those of other users, who share nothing."""
    path = timed_shop(tmp_path)
    recipe = rustler.Recipe("w", other_labels=1.0, other_order="walks", other_cells=3, width=0)
    sampler = make([path], tasks=[autocomplete()], recipes=[recipe], context_length=30)
    store = rustler.Store(path)
    batch = sampler.contexts(0, np.arange(290, 320, dtype=np.uint32))
    near = others = 0
    for b in range(30):
        rows = slice(*batch["context_row_ptr"][b : b + 2])
        number, part = batch["row_number"][rows], batch["row_part"][rows]
        user = store.row(int(number[0]))["parents"]
        mine = [store.row(row)["parents"] == user for row in number[part == OTHER].tolist()]
        # what walks do not reach comes at random afterwards
        assert mine == sorted(mine, reverse=True)
        near, others = near + sum(mine), others + len(mine)
    assert others > 100
    assert near > 0.8 * others


def test_the_published_recipe_has_no_part_of_labels(tmp_path: Path) -> None:
    """Labels that its search meets stand in the neighbourhood like other rows."""
    sampler = make([timed_shop(tmp_path)], tasks=[forecast()])
    batch = sampler.batch(0)
    for first, last in pairwise(batch["context_row_ptr"].tolist()):
        parts = batch["row_part"][first:last].tolist()
        assert parts[0] == TARGET
        assert set(parts[1:]) <= {ANCESTOR, NEIGHBOUR}


def test_ancestors_leave_room_for_labels(tmp_path: Path) -> None:
    """A chain of ancestors that would fill the context alone."""
    chain: list[dict[str, Any]] = [{"cells": {"a": 1.0, "b": 2.0}} for _ in range(30)]
    for place in range(1, 30):
        chain[place]["parents"] = [("chain", place - 1)]
    rows = [{"time": t, "parents": [("chain", 29)], "cells": {"y": 1.0}} for t in range(40)]
    tables = [
        {"name": "chain", "columns": {"a": "number", "b": "number"}, "rows": chain},
        {"name": "events", "columns": {"y": "number"}, "rows": rows},
    ]
    store = write_store(tmp_path / "chain", {"name": "chain", "tables": tables})
    task = rustler.Task(0, 1, 2, [(30, 70), (70, 70), (70, 70)])
    counts = []
    for share in (1.0, 0.25):
        recipe = rustler.Recipe("r", ancestors=share, own_labels=0.5)
        sampler = make([store], tasks=[task], recipes=[recipe], context_length=32)
        part = sampler.contexts(0, np.array([69], np.uint32))["row_part"]
        counts.append(((part == ANCESTOR).sum().item(), (part == OWN).sum().item()))
    # 31 cells for the chain; or 3 rows of it, 15 label rows of one cell, 5 more of the chain
    assert counts == [(16, 0), (8, 15)]


@pytest.mark.parametrize("order", ["recency", "walks", "random"])
def test_labels_not_known_yet_hide_no_known_ones(tmp_path: Path, order: str) -> None:
    """Very many label rows of the latest time, whose window has not ended; few that are known."""
    users: list[dict[str, Any]] = [{} for _ in range(6000)]
    times = [0] * 20 + [100] * 6000
    rows = [
        {"time": time, "parents": [("users", place % 6000)], "cells": {"y": 1.0}}
        for place, time in enumerate(times)
    ]
    tables = [
        {"name": "users", "columns": {}, "rows": users},
        {"name": "labels", "kind": "task", "columns": {"y": "number"}, "rows": rows},
    ]
    store = write_store(tmp_path / "many", {"name": "many", "tables": tables})
    task = rustler.Task(0, 1, 0, [(6000, 12020), (12020, 12020), (12020, 12020)], horizon=50)
    recipe = rustler.Recipe("r", other_labels=0.9, other_order=order, own_labels=0.1)
    sampler = make([store], tasks=[task], recipes=[recipe], context_length=16)
    part = sampler.contexts(0, np.array([12000], np.uint32))["row_part"]
    # 16 rows in all, a user with every label row
    assert (part == OTHER).sum() == 7
