"""What a corpus has to teach: answers planted in the row, in a parent, in children or nowhere are
found there, nothing tells the answer away, and the figures are means over databases."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from relbench.manifest import TableSpec

from plurel import Config, SyntheticDataset
from plurel.errors import InputError
from plurel.rng import stream
from rt.boosted import BoostedSettings
from rt.bootstrap import interval_of_mean
from rt.defining.drawn import draw_tasks
from rt.joined.features import joined_features
from rt.joined.queries import joined, make_queries
from rt.joined.tables import read_tables
from rt.meta import open_meta
from rt.probe.corpus import ProbeSettings, probe_corpora
from rt.probe.questions import Target, column_question, targets
from rt.probe.report import format_report, summary
from rt.probe.skills import TaskSkill, task_skill
from rt.raw import read_database
from rt.relbench_folder import open_dataset
from rt.tasks import column_tasks
from scripts.probe_corpus import main
from tests.raw_folders import write_folder
from tests.shops import shop_folders

ORDERS, CUSTOMERS = 500, 60
SETTINGS = BoostedSettings(max_rows=400, max_features=150)
BINARY = {"of_row", "of_parent", "of_future"}


@pytest.fixture(scope="module", autouse=True)
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rt.boosting.MAX_ROUNDS", 40)
        patch.setattr("rt.boosting.NUM_MODELS", 1)
        yield


def planted(folder, *, timed, change=None):
    """Customers have orders, which have lines on its day and, 40 days later, complaints. What an
    order's column says stands where its name says; change: {column: new cells} of orders."""
    draws = stream(0, "planted")
    order = np.arange(ORDERS)
    customer = draws.integers(CUSTOMERS, size=ORDERS)
    level, x = draws.normal(size=CUSTOMERS), draws.normal(size=ORDERS)
    lines = np.repeat(order, 3)
    amount, late = draws.normal(size=len(lines)), draws.normal(size=ORDERS)
    day = np.datetime64("2018-01-01", "us") + order.astype("timedelta64[D]")
    orders = {
        "order": order,
        "customer": customer,
        "x": x,
        "of_row": x > 0,
        "of_parent": level[customer] > 0,
        "of_children": np.bincount(lines, amount),
        "of_future": late > 0,
        "noise": draws.normal(size=ORDERS),
    }
    orders |= ({"day": day} if timed else {}) | (change or {})
    later = np.timedelta64(40, "D")
    everything = {
        "customers": ({"customer": np.arange(CUSTOMERS), "level": level}, TableSpec("customer")),
        "orders": (orders, TableSpec("order", "day" if timed else None, {"customer": "customers"})),
        "lines": (
            {"line": np.arange(len(lines)), "order": lines, "amount": amount, "day": day[lines]},
            TableSpec("line", "day", {"order": "orders"}),
        ),
        "complaints": (
            {"complaint": order, "order": order, "anger": late, "day": day + later},
            TableSpec("complaint", "day", {"order": "orders"}),
        ),
    }
    return write_folder(folder, everything, val="2018-09-01", test="2019-01-01")


def _question(folder, column, settings=SETTINGS):
    database = read_database(folder)
    tables = read_tables(open_dataset(folder), target=None, leaking=())
    target = Target("orders", column, column in BINARY)
    return column_question(database, tables, target, settings)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    return {timed: planted(root / f"timed-{timed}", timed=timed) for timed in (True, False)}


@pytest.mark.parametrize("timed", [True, False])
def test_an_answer_is_found_where_it_stands(folders, timed):
    names = ("of_row", "of_parent", "of_children", "of_future", "noise")
    found = {n: task_skill(_question(folders[timed], n), "planted", SETTINGS) for n in names}
    skill = {name: one.skill for name, one in found.items()}
    assert skill["of_row"]["row"] > 0.9
    assert skill["of_parent"]["row"] < 0.3 < 0.8 < skill["of_parent"]["parents"]
    assert skill["of_children"]["parents"] < 0.2 < 0.5 < skill["of_children"]["children"]
    # what comes after the row is for rows without a time alone
    assert skill["of_future"]["parents"] < 0.3
    assert skill["of_future"]["children"] < 0.3 if timed else skill["of_future"]["children"] > 0.9
    needs = {name for name, one in found.items() if one.needs_another_table}
    assert needs == {"of_parent", "of_children"} | (set() if timed else {"of_future"})
    assert {n for n, one in found.items() if one.predictable} == needs | {"of_row"}


@pytest.mark.parametrize("timed", [True, False])
def test_no_feature_tells_the_answer_and_a_copy_of_it_would(folders, tmp_path, timed):
    cells = stream(1, "other").random(ORDERS) < 0.5
    changed = planted(tmp_path / folders[timed].name, timed=timed, change={"of_row": cells})
    tables = []
    for folder in (folders[timed], changed):
        question = _question(folder, "of_row")
        plan = question.plan
        parts = [make_queries(p.row, p.time, horizon=None) for p in (plan.fit, plan.scored)]
        features = joined_features(question.view, joined(parts))
        tables.append(pd.DataFrame(dict(zip(features.names, features.columns, strict=True))))
    assert not [name for name in tables[0].columns if "of_row" in name or "label" in name]
    pd.testing.assert_frame_equal(*tables)
    copied = planted(tmp_path / "copied", timed=timed, change={"noise": cells, "of_row": cells})
    assert task_skill(_question(copied, "of_row"), "copied", SETTINGS).skill["row"] > 0.99


def test_test_rows_come_after_those_that_fit_and_choose(folders):
    plan = _question(folders[True], "noise", replace(SETTINGS, max_rows=120)).plan
    assert plan.fit.time.max() < plan.held_out.time.min()
    assert plan.held_out.time.max() < plan.scored.time.min()
    assert [len(part) for part in (plan.fit, plan.held_out, plan.scored)] == [120, 100, 120]
    plan = _question(folders[False], "noise").plan
    rows = np.concatenate([plan.fit.row, plan.held_out.row, plan.scored.row])
    assert sorted(rows) == list(range(ORDERS))
    assert (plan.fit.row[:-1] < plan.fit.row[1:]).all()
    assert plan.fit.row.max() > plan.scored.row.min()


def test_columns_are_those_that_would_be_trained_on(tmp_path):
    raw, store = shop_folders(tmp_path)
    tables = read_tables(open_dataset(raw), target=None, leaking=())
    found = targets(read_database(raw), tables, seed=0)
    assert sorted(t.name for t in found) == sorted(t.name for t in column_tasks(open_meta(store)))
    assert {t.name for t in found if t.binary} == {"sales.returned"}


def test_a_probe_is_a_function_of_its_seed(folders):
    def probe(corpora):
        settings = ProbeSettings(2, boosted=replace(SETTINGS, max_rows=100, max_features=60))
        return probe_corpora(corpora, settings, show_progress=False)["corpora"]

    places = {name: [str(folders[timed])] for name, timed in (("a", True), ("b", False))}
    found = probe(places)
    assert probe(dict(reversed(places.items()))) == found
    database = read_database(folders[True])
    tables = read_tables(open_dataset(folders[True]), target=None, leaking=())
    names = [[target.name for target in targets(database, tables, s)][:2] for s in range(4)]
    assert names[0] == [task["task"] for task in found["a"]["tasks"]["columns"]]
    assert len({tuple(each) for each in names}) > 1


def test_declared_tasks_stand_apart_and_those_of_generated_databases_are_its_columns(tmp_path):
    raw, _ = shop_folders(tmp_path / "shops")
    drawn = tmp_path / "drawn"
    config = Config.preset("demo").overridden(["database_params.num_tables_choices=2"])
    SyntheticDataset(0, config).save(drawn)
    corpora = {"shops": [str(raw)], "drawn": [str(drawn)]}
    settings = ProbeSettings(1, boosted=replace(SETTINGS, max_rows=100))
    found = probe_corpora(corpora, settings, show_progress=False)["corpora"]
    declared = {task["task"]: task for task in found["shops"]["tasks"]["declared"]}
    assert set(declared) | {n.split("/")[1] for n in found["shops"]["left_out"]} >= {
        "returned", "mean-amount", "any-returned"
    }  # fmt: skip
    assert all(set(task["skill"]) > {"children", "labels"} for task in declared.values())
    assert found["drawn"]["declared"] is None
    assert set(found["drawn"]["tasks"]["columns"][0]["skill"]) == {"row", "parents", "children"}
    assert len(draw_tasks(drawn, 1)) == 1
    again = probe_corpora({"drawn": [str(drawn)]}, settings, show_progress=False)["corpora"]
    assert [task["task"] for task in again["drawn"]["tasks"]["declared"]] == ["drawn-0"]
    assert again["drawn"]["columns"] == found["drawn"]["columns"]


def _skill(database, row, children, binary=True):
    skill = {"row": row, "parents": row, "children": children}
    return TaskSkill(database, "t", binary, 100, skill, children > 0.05, children - row > 0.02)


def test_figures_are_means_over_databases_of_the_means_of_their_tasks():
    skills = [_skill("a", 0.0, 0.4), _skill("a", 0.0, 0.0), _skill("b", 0.5, 0.5)]
    found = summary(skills, seed=0)
    assert found["skill"]["row"]["value"] == 0.25
    assert found["skill"]["children"]["value"] == pytest.approx(0.35)
    assert found["lift"]["children"]["value"] == pytest.approx(0.1)
    assert found["lift"]["parents"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["needs_another_table"]["value"] == 0.25
    assert found["predictable"]["value"] == 0.75
    assert (found["databases"], found["tasks"]) == (2, 3)
    assert found["skill"]["row"]["low"] == 0.0
    alone = summary(skills[:2], seed=0)
    assert alone["skill"]["children"] == {"value": 0.2, "low": None, "high": None}


def test_an_interval_of_a_mean_narrows_with_the_values():
    draws = stream(0, "values")
    few, many = (interval_of_mean(draws.normal(size=n), "databases") for n in (10, 1000))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.2 < few.high - few.low


def test_from_the_command_line_to_table_figures_and_picture(folders, tmp_path, capsys):
    out, picture = tmp_path / "value.json", tmp_path / "value.png"
    corpora = [f"timed={folders[True]}", f"both={folders[True]}", f"both={folders[False]}"]
    options = ["--columns", "1", "--rows", "100", "--out", str(out), "--picture", str(picture)]
    main([*corpora, *options])
    result = json.loads(out.read_text())
    assert capsys.readouterr().out.strip() == format_report(result)
    assert {name: one["databases"] for name, one in result["corpora"].items()} == {
        "timed": 1, "both": 2
    }  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bad_requests_end_in_one_line(folders, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="corpus 'data/raw' must be NAME=FOLDER"):
        main(["data/raw"])
    with pytest.raises(InputError, match=r"--picture value\.txt: the name must end in .png or"):
        main([f"a={folders[True]}", "--picture", "value.txt"])
    with pytest.raises(InputError, match="columns must be 1 or more, not 0"):
        main([f"a={folders[True]}", "--columns", "0"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"corpus a: .*empty holds no store and no folder"):
        probe_corpora({"a": [str(tmp_path / "empty")]})
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "meta.json").write_text("{}")
    with pytest.raises(InputError, match=r"corpus a: .*store is a store; give the RelBench folder"):
        probe_corpora({"a": [str(tmp_path / "store")]})
    few = {"few": ({"key": [0, 1, 2], "x": [1.0, 2.0, 3.0]}, TableSpec("key"))}
    small = write_folder(tmp_path / "small", few)
    with pytest.raises(InputError, match=r"corpus a: no task .*small/few.x: 1 rows to fit, of 30"):
        probe_corpora({"a": [str(small)]}, show_progress=False)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match="pip install lightgbm"):
        probe_corpora({"a": [str(folders[True])]}, show_progress=False)


@pytest.mark.parametrize(
    ("column", "cells", "reason"),
    [
        ("of_row", [True] * 3 + [False] * (ORDERS - 3), "3 rows to fit of one class"),
        ("noise", [float(n % 7) for n in range(300)] + [2.0] * 200, "all rows to test on have one"),
        ("noise", [1.0, 2.0] * 45 + [None] * 410, "28 rows to test on, of 30"),
    ],
)
def test_a_column_that_makes_no_task_says_why(tmp_path, column, cells, reason):
    folder = planted(tmp_path / "odd", timed=True, change={column: cells})
    with pytest.raises(InputError, match=reason):
        _question(folder, column)
