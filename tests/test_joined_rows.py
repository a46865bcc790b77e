"""Joined rows: nothing that is not known moves a feature, what is known does, and the figures are
those of a loop over rows written from DESIGN's sentences."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plurel.rng import stream
from rt.joined.features import PARTS, Part, joined_features
from rt.joined.queries import Queries, make_queries
from rt.joined.relation import Relation, Running
from rt.joined.tables import NO_TIME, make_column, microseconds
from tests.joined_cases import DAY, DECIDED_BY, KEYS, TIMED, Case, random_case, random_cells

KINDS = [pytest.param(4, id="forecast"), pytest.param(None, id="autocomplete")]


ROW: tuple[Part, ...] = ("row",)


def _table(case: Case, queries: Queries, parts: tuple[Part, ...] = PARTS) -> pd.DataFrame:
    features = joined_features(case.view(), queries).only(parts)
    return pd.DataFrame(dict(zip(features.names, features.columns, strict=True)))


def _moved(before: pd.DataFrame, after: pd.DataFrame) -> np.ndarray:
    """bool[Q]: the rows of which a feature changed; a column that is not there is all missing."""
    before, after = before.align(after, axis=1)
    same = (before == after) | (before.isna() & after.isna())
    return ~same.all(axis=1).to_numpy()


def _known(case: Case, day: int, bound: int, time: int) -> bool:
    """Is a label, or a leaking cell, of a row of `day` known?"""
    return day + (case.horizon or 0) <= bound and day < time


def _scramble(case: Case, after: int, *, at_once: bool) -> Case:
    """Everything that is not known on day `after` becomes something else; at_once: by a target of
    that very day (labels and leaking cells of the day itself are changed too)."""
    other, draws = copy.deepcopy(case), stream(case.seed, "scramble", after)
    time = after if at_once else 10**6
    for table, rows in other.rows.items():
        for row in rows:
            if row["day"] is not None and row["day"] > after:
                row |= random_cells(table, draws)
                row["day"] = int(draws.integers(after + 1, after + 90))
            if table == "orders" and not _known(case, row["day"], after, time):
                row["refund"] = float(draws.normal())
                if case.autocomplete:
                    row["amount"] = float(draws.normal())
            if table == "vendors":
                row["rating"] = float(draws.normal())
    for label in other.labels:
        if not _known(case, label["day"], after, time):
            label["value"] = float(draws.normal())
    return other


@pytest.mark.parametrize("horizon", KINDS)
@pytest.mark.parametrize("cutoff", [None, 28])
def test_what_is_not_known_moves_no_feature(horizon, cutoff):
    case = random_case(7 if cutoff else 8, horizon)
    queries = case.queries(cutoff)
    before, alone = _table(case, queries), _table(case, queries, ROW)
    for after, at_once in ((28, False), (34, False), (30, True)):
        changed = _scramble(case, after, at_once=at_once)
        held = (queries.bound <= after * DAY) & (not at_once or queries.time <= after * DAY)
        # rows of autocomplete tasks after the change have new cells of their own
        if case.autocomplete:
            held &= queries.time <= after * DAY
        assert held.sum() > 5
        moved = _moved(before, _table(changed, queries))
        assert not moved[held].any(), (after, at_once)
        assert not _moved(alone, _table(changed, queries, ROW))[held].any()
        if cutoff is None:  # the change is seen where it is known
            assert moved[~held].mean() > 0.5


def test_an_own_row_after_the_cutoff_shows_its_cells_and_nothing_else_that_is_late():
    case = random_case(3, None)
    queries = case.queries(28)
    late = queries.take(np.flatnonzero(queries.time > 28 * DAY))
    changed = copy.deepcopy(case)
    draws = stream(0, "late")
    for table, rows in changed.rows.items():
        for row in rows:
            if row["day"] is not None and row["day"] > 28:
                keys = {key: row[key] for key in KEYS.get(table, {})}
                own = {name: row[name] for name in ("size", "colour", "due") if name in row}
                row |= random_cells(table, draws) | keys | (own if table == "orders" else {})
    assert not _moved(_table(case, late), _table(changed, late)).any()
    for row in changed.rows["orders"]:
        row["size"] = 5.0 if row["day"] > 28 else row["size"]
    assert _moved(_table(case, late), _table(changed, late)).all()


@pytest.mark.parametrize("horizon", KINDS)
def test_what_is_known_moves_features(horizon):
    case = random_case(5, horizon)
    queries = case.queries(None)
    before = _table(case, queries)
    for table in case.rows:
        changed = copy.deepcopy(case)
        for row in changed.rows[table]:
            row["size"] = row["size"] * 2 + 1
        assert _moved(before, _table(changed, queries)).mean() > 0.2, table
    changed = copy.deepcopy(case)
    for row in changed.rows["orders"]:
        row["refund"] += 1
    assert _moved(before, _table(changed, queries)).mean() > 0.5
    for row in changed.labels:
        row["value"] += 1
    for row in changed.rows["orders"]:
        row["refund"] -= 1
        row["amount"] += 1
    assert _moved(before, _table(changed, queries)).mean() > 0.5


def test_rows_after_the_validation_day_decide_no_categories():
    case = random_case(4, 4)
    changed = copy.deepcopy(case)
    for table in TIMED:
        for number, row in enumerate(changed.rows[table]):
            if row["day"] > DECIDED_BY:
                row |= {"colour": f"new {number}", "size": 1.0}
    before, after = case.view(), changed.view()
    for name, table in before.tables.items():
        plans = [
            [(column.name, column.kind, column.frequent) for column in each.columns]
            for each in (table, after.tables[name])
        ]
        assert plans[0] == plans[1]
    for row in changed.rows["orders"]:
        row["colour"] = "all alike" if row["day"] <= DECIDED_BY else row["colour"]
    columns = {column.name for column in changed.view().tables["orders"].columns}
    assert "colour" not in columns


def _figures(values: list[tuple[int | None, float]], bound: int, window: int) -> dict[str, float]:
    """Of (day, number) in order of time, without null."""
    numbers = [value for _, value in values if not np.isnan(value)]
    recent = [
        v for day, v in values if not np.isnan(v) and day is not None and day > bound - window
    ]
    last = [value for _, value in values[-10:] if not np.isnan(value)]
    if not numbers:
        return {"mean": np.nan, "sum": np.nan, "last": np.nan, "max": np.nan}
    return {
        "mean": float(np.mean(numbers)),
        "sum": float(np.sum(numbers)),
        "std": float(np.std(numbers)),
        "min": min(numbers),
        "max": max(numbers),
        "last": numbers[-1],
        "mean of last 10": float(np.mean(last)) if last else np.nan,
        "recent": float(np.mean(recent)) if recent else np.nan,
    }


def _visible(case: Case, table: str, number: int | None, bound: int) -> bool:
    if number is None:
        return False
    day = case.rows[table][number]["day"]
    return day is None or day <= bound


def _expected(case: Case, row: int, bound: int, time: int) -> dict[str, dict[str, float]]:
    """{what: figures} for one query, by loops."""
    rows, found = case.rows, {}
    window = 30 if case.autocomplete else 12 * (case.horizon or 0)
    entity = rows[case.entity_table][row]
    if case.autocomplete:
        product = (
            entity["product"] if _visible(case, "products", entity["product"], bound) else None
        )
    else:
        product = row if _visible(case, "products", row, bound) else None
    name = "product." if case.autocomplete else ""

    def orders_by_time(test: Any) -> list[dict[str, Any]]:
        return sorted((o for o in rows["orders"] if test(o)), key=lambda o: o["day"])

    def of_product(order: dict[str, Any]) -> bool:
        return product is not None and order["product"] == product and order["day"] <= bound

    orders = orders_by_time(of_product)
    sizes = [(order["day"], order["size"]) for order in orders]
    found[f"{name}orders.product.size"] = _figures(sizes, bound, window)
    found[f"{name}orders.product"] = {"count": len(orders)}
    known = [(o["day"], o["refund"]) for o in orders if _known(case, o["day"], bound, time)]
    found[f"{name}orders.product.refund"] = _figures(known, bound, window)
    if not case.autocomplete:
        seller = [rows["vendors"][o["seller"]]["size"] if o["seller"] is not None else np.nan
                  for o in orders]  # fmt: skip
        days = [order["day"] for order in orders]
        found["orders.product.seller.size"] = _figures(
            list(zip(days, seller, strict=True)), bound, window
        )
        notes = [
            (max(note["day"], rows["orders"][note["order"]]["day"]), note["size"])
            for note in rows["notes"]
            if note["order"] is not None and rows["orders"][note["order"]]["product"] == product
        ]
        seen = sorted((n for n in notes if n[0] <= bound), key=lambda n: n[0])
        found["notes.order.product"] = {"count": len(seen) if product is not None else 0}
    labels = []
    for label in case.known_labels():
        owner = label["row"]
        if case.autocomplete:
            owner = rows["orders"][label["row"]]["product"]
        if owner is not None and owner == product and _known(case, label["day"], bound, time):
            # an order may stand before its product: the label is reached when both are there
            reached = label["day"]
            if case.autocomplete:
                reached = max(reached, rows["products"][owner]["day"])
            labels.append((reached + (case.horizon or 0), label["value"]))
    labels.sort(key=lambda item: item[0])
    found[f"{name}label"] = {"count": len(labels)}
    if labels:
        figures = _figures(labels, bound, window)
        found[f"{name}label"] |= {key: figures[key] for key in ("mean", "sum", "max")}
    return found


@pytest.mark.parametrize("horizon", KINDS)
@pytest.mark.parametrize("cutoff", [None, 28])
def test_figures_are_those_of_a_loop(horizon, cutoff):
    case = random_case(11, horizon)
    queries = case.queries(cutoff)
    table = _table(case, queries)
    recent = "mean in 30 days" if horizon is None else "mean in 12 horizons"
    compared = 0
    for number in range(len(queries)):
        bound, time = int(queries.bound[number] // DAY), int(queries.time[number] // DAY)
        for what, figures in _expected(case, int(queries.row[number]), bound, time).items():
            for figure, value in figures.items():
                column = f"{what}.{recent if figure == 'recent' else figure}"
                if column not in table:
                    assert figure != "mean" or np.isnan(value), column
                    continue
                tolerance = {"rel": 1e-5, "abs": 1e-4, "nan_ok": True}
                got = table[column].iloc[number]
                assert got == pytest.approx(value, **tolerance), (column, number)
                compared += 1
    assert compared > 300


def test_keys_and_targets_are_no_features_and_leaking_cells_no_cells_of_rows():
    for horizon in (4, None):
        case = random_case(2, horizon)
        names = set(_table(case, case.queries(None)))
        last = {name.split(".")[-1] for name in names}
        assert not last & {"vendor", "region", "product", "seller", "order", "rating", "refund"}
        assert not any(name.endswith("_id") for name in names)
        if case.autocomplete:
            assert not any("amount" in name for name in names)
            assert {"size", "product.size", "product.vendor.size", "seller.region.size"} <= names
    assert TIMED == ("products", "orders", "notes")


def test_running_figures_do_not_depend_on_what_comes_later_to_the_last_bit():
    draws = stream(1, "bits")
    parent, time = draws.integers(5, size=400), np.sort(draws.integers(50, size=400))
    values = draws.normal(1e9, 1, size=400)
    other = np.where(time > 30, draws.normal(-1e15, 1e14, size=400), values)
    bound, query = np.full(5, 30), np.arange(5)
    found = []
    for cells in (values, other):
        relation = Relation(parent, time)
        span = relation.span(query, bound)
        figures = Running(relation, cells).aggregates(span, {"w": 10}, lean=False)
        found.append(np.stack(list(figures.values())))
    np.testing.assert_array_equal(*found)
    inside = [values[(parent == p) & (time <= 30)] for p in query]
    np.testing.assert_allclose(found[0][0], [v.mean() for v in inside], rtol=1e-12)
    np.testing.assert_allclose(found[0][4], [v.std() for v in inside], rtol=1e-6)


def test_relations_without_rows_and_parents_without_children():
    none = Relation(np.full(3, -1), np.arange(3))
    span = none.span(np.array([0, -1]), np.array([5, 5]))
    assert span.count.tolist() == [0, 0]
    assert span.last_row().tolist() == [-1, -1]
    assert span.times({"w": 1}, np.array([9, 9]))["count"].tolist() == [0, 0]
    assert all(
        np.isnan(values).all()
        for values in Running(none, np.ones(3)).aggregates(span, {"w": 1}, lean=False).values()
    )
    some = Relation(np.array([0, 2, 0]), np.array([NO_TIME, 3, 4]))
    span = some.span(np.array([0, 1, 2, -1, 0]), np.array([3, 9, 2, 9, 4]))
    assert span.count.tolist() == [1, 0, 0, 0, 2]
    assert span.last_row().tolist() == [0, -1, -1, -1, 2]


def test_a_label_is_known_after_its_horizon_and_before_the_row():
    at_once = make_queries(np.zeros(2, int), np.array([50, 50]), horizon=None, cutoff=None)
    assert at_once.label_bound.tolist() == [49, 49]
    cut = make_queries(np.zeros(1, int), np.array([50]), horizon=0, cutoff=40)
    assert cut.label_bound.tolist() == [40]
    later = make_queries(np.zeros(1, int), np.array([50 * DAY]), horizon=86_400, cutoff=None)
    assert later.label_bound.tolist() == [50 * DAY]


def test_columns_by_type():
    everything = np.ones(8, bool)
    texts = pd.Series(["a", "b"] * 4, dtype=object)
    column = make_column("t", texts, everything)
    assert (column.kind, len(column.frequent)) == ("category", 2)
    # written by the text alone, whatever stands in other rows
    again = make_column("t", pd.Series(["z", "a"] * 4, dtype=object), everything)
    assert again.values[1] == column.values[0]
    names = make_column("n", pd.Series([*"abcdefg", "hi"], dtype=object), everything)
    assert (names.kind, names.values.tolist()) == ("number", [1.0] * 7 + [2.0])
    assert make_column("c", pd.Series([1] * 8), everything) is None
    assert make_column("late", pd.Series([1] * 7 + [2]), np.arange(8) < 7) is None
    assert make_column("o", pd.Series([[1]] * 8), everything) is None
    truth = make_column("b", pd.Series([True, None] * 3 + [False] * 2, dtype=object), everything)
    assert truth.values[:2].tolist()[0] == 1.0
    assert np.isnan(truth.values[1])
    fine = pd.Series(pd.to_datetime(["1970-01-01 00:00:00.000001001", None]))
    assert microseconds(fine).tolist() == [1, NO_TIME]
    assert microseconds(fine, upwards=True).tolist() == [2, NO_TIME]
