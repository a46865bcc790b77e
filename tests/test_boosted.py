"""Baselines of boosted trees: what they may know, what chooses, and the way from folder to
table."""

import json
import sys

import numpy as np
import pytest
import relbench
import yaml

from plurel.errors import InputError
from rt.boosted import BoostedSettings, boosted_baselines, label_rows, make_plan
from rt.boosting import Booster, Codes, Flat
from rt.evaluate import ContextSettings, Selection, evaluate_table
from rt.score_baselines import score_baselines
from rt.score_tables import format_table
from scripts.score_baselines import BaselinesConfig, run
from tests.shops import EMBEDDER, shop_folders
from tests.test_evaluate_script import ROOT

DAY = 86_400
SETTINGS = BoostedSettings(max_rows=150, max_features=60)
HORIZON = {"mean-amount": 2 * DAY, "any-returned": 2 * DAY, "returned": 36 * 3600}


@pytest.fixture(scope="module", autouse=True)
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rt.boosting.MAX_ROUNDS", 30)
        patch.setattr("rt.boosting.NUM_MODELS", 1)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    """The same database with the labels of one split turned over."""
    root = tmp_path_factory.mktemp("flipped")
    return {split: shop_folders(root / split, flip=split) for split in ("val", "test")}


def _predictions(folder, name, split="test", protocol="split", settings=SETTINGS):
    dataset = relbench.load_dataset(folder)
    found = boosted_baselines(
        dataset, dataset.load_task(name), split, horizon=HORIZON[name], protocol=protocol,
        settings=settings,
    )  # fmt: skip
    return np.stack([baseline.prediction for baseline in found.values()])


@pytest.mark.parametrize("name", ["mean-amount", "returned"])
def test_labels_of_the_scored_split_change_nothing_that_may_not_know_them(folders, flipped, name):
    before, after = (_predictions(pair[0], name) for pair in (folders, flipped["test"]))
    np.testing.assert_array_equal(before, after)
    # validation labels choose and train for test, and play no part for validation itself
    changed = _predictions(flipped["val"][0], name)
    assert np.abs(before - changed).max() > 1e-6
    before, after = (_predictions(pair[0], name, split="val") for pair in (folders, flipped["val"]))
    np.testing.assert_array_equal(before, after)


def test_under_rolling_earlier_labels_of_the_test_period_are_known(folders, flipped):
    before, after = (
        _predictions(pair[0], "mean-amount", protocol="rolling")
        for pair in (folders, flipped["test"])
    )
    dataset = relbench.load_dataset(folders[0])
    time = label_rows(dataset.load_task("mean-amount"))["test"].time
    opening = time == time.min()
    np.testing.assert_array_equal(before[:, opening], after[:, opening])
    assert np.abs(before[1] - after[1])[~opening].max() > 1e-6
    np.testing.assert_array_equal(before[0], after[0])  # the row alone knows no labels


def test_predictions_are_a_function_of_the_seed_for_any_number_of_threads(folders):
    one, two, other = (
        _predictions(folders[0], "returned", settings=settings)
        for settings in (
            SETTINGS,
            BoostedSettings(max_rows=150, max_features=60, num_threads=2),
            BoostedSettings(seed=1, max_rows=150, max_features=60),
        )
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["mean-amount", "returned"])
def test_rows_that_fit_are_known_when_held_out_rows_begin(folders, name, split):
    dataset = relbench.load_dataset(folders[0])
    task = dataset.load_task(name)
    rows = label_rows(task)
    plan = make_plan(dataset, task, split, rows, horizon=HORIZON[name], settings=BoostedSettings())
    delay = HORIZON[name] * 10**6
    assert len(plan.fit) > 50
    assert len(plan.held_out) > 5
    assert (plan.fit.time + delay <= plan.cutoff).all()
    assert (plan.held_out.time >= plan.cutoff).all()
    assert (plan.held_out.time + delay <= plan.scored_cutoff).all()
    assert plan.scored is rows[split]


def test_the_better_table_is_chosen_unless_the_difference_may_be_chance():
    draws = np.random.default_rng(0)
    label = (draws.random(600) < 0.5).astype(float)
    noise = draws.random((600, 1)).astype(np.float32)
    good = (noise + label[:, None]).astype(np.float32)
    no = np.zeros(1, bool)
    booster = Booster(True, "task")
    held_out = Flat(good, no, label)
    tables = {"first": Flat(noise, no, label), "second": Flat(good, no, label)}
    assert booster.choose(tables, held_out).variant == "second"
    same = {"first": Flat(good, no, label), "second": Flat(good.copy(), no, label)}
    assert booster.choose(same, held_out).variant == "first"
    one_class = Flat(good, no, np.ones(600))
    assert booster.choose(tables, one_class).variant == "first"
    choice = booster.choose({"first": one_class}, held_out)
    assert booster.fit_predict(choice, one_class, good).tolist() == [1.0] * 600


def test_categories_are_numbered_by_the_training_rows():
    matrix = np.array([[7, 1], [7, 2], [np.nan, 3], [3, 4]], dtype=np.float32)
    codes = Codes(Flat(matrix, np.array([True, False]), np.zeros(4)))
    rows = np.array([[3, 9], [7, 9], [5, 9], [np.nan, 9]], dtype=np.float32)
    np.testing.assert_array_equal(codes(rows)[:, 0], [0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(codes(rows)[:, 1], rows[:, 1])


def test_from_a_folder_to_a_table_and_the_same_beside_models(folders, tmp_path, capsys):
    raw, store = folders
    out = tmp_path / "deep" / "scores.json"
    config = BaselinesConfig(str(raw), max_rows=20, out=str(out), train_rows=150, max_features=60)
    result = run(config)
    assert json.loads(out.read_text()) == result
    assert set(result["tasks"]) == {"any-returned", "mean-amount", "returned"}
    printed = capsys.readouterr().out
    for entry in result["tasks"].values():
        assert entry["rows"] == 20
        names = {"global_mean", "entity_mean", "entity_last_10", "lightgbm_row", "lightgbm_joined"}
        assert names <= set(entry)
        assert ("global_median" in entry) == (entry["metric"] == "nmae")
        assert f"{entry['lightgbm_joined']:.4f}" in printed
    beside = evaluate_table(
        {}, raw, store, settings=ContextSettings(EMBEDDER), boosted=SETTINGS,
        selection=Selection(max_rows=20), tasks=list(result["tasks"]), show_progress=False,
    )  # fmt: skip
    assert beside["tasks"] == result["tasks"]
    assert format_table(beside) == format_table(result)


def test_every_key_of_the_config_file_is_known():
    written = yaml.safe_load((ROOT / "conf" / "score_baselines.yaml").read_text())
    defaults = vars(BaselinesConfig("???"))
    assert {key: written[key] for key in defaults} == defaults
    assert set(written) - {"defaults", "hydra"} == set(defaults)
    made = BoostedSettings(0, defaults["train_rows"], defaults["max_features"])
    assert made == BoostedSettings()


def test_bad_requests_end_in_one_line(folders, monkeypatch):
    raw = folders[0]
    with pytest.raises(InputError, match="no binary or regression task 'other'; it has: any-ret"):
        score_baselines(raw, tasks=["other"])
    with pytest.raises(InputError, match="choose val or test"):
        score_baselines(raw, tasks=["returned"], selection=Selection("train"))
    with pytest.raises(InputError, match="max_features must be 1 or more, not 0"):
        BoostedSettings(max_features=0)
    dataset = relbench.load_dataset(raw)
    task = dataset.load_task("mean-amount")
    with pytest.raises(InputError, match="unknown protocol"):
        boosted_baselines(dataset, task, "test", horizon=0, protocol="other")
    with pytest.raises(InputError, match="no train label is known in time"):
        boosted_baselines(dataset, task, "test", horizon=1000 * DAY)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match="pip install lightgbm"):
        _predictions(raw, "returned")
    task.time_col = None
    with pytest.raises(InputError, match="no time column"):
        boosted_baselines(dataset, task, "test", horizon=0)
