"""Predictions and scores: the right rows in the right order, on the right scale, without labels
that may not be known."""

import shutil

import numpy as np
import pandas as pd
import pytest
import relbench
import torch

import rustler
from plurel.errors import InputError
from rt import evaluate
from rt.data import Batch
from rt.evaluate import (
    ContextSettings,
    Selection,
    evaluate_table,
    label,
    predict,
    store_rows,
    untrained_like,
)
from rt.meta import open_meta
from rt.model import RelationalTransformer
from rt.opened import open_task
from rt.recipes import Recipe
from rt.score_baselines import score_baselines
from rt.score_tables import format_differences, format_table
from rt.store import preprocess
from rt.submission import write_submission
from rt.tasks import load_tasks, to_sampler
from tests.shops import EMBEDDER, shop_folders, varied_model

TASKS = ["mean-amount", "any-returned", "returned"]
SETTINGS = ContextSettings(EMBEDDER, context_length=96, recipe=Recipe(width=(16,)), batch_size=7)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    """The same database with the labels of one split turned over."""
    root = tmp_path_factory.mktemp("flipped")
    return {split: shop_folders(root / split, flip=split) for split in ("val", "test")}


@pytest.fixture(scope="module")
def model() -> RelationalTransformer:
    return varied_model()


def _labelled(folders, name, **selection):
    raw, store = folders
    (task,) = load_tasks(store, [name])
    return label(relbench.load_dataset(raw), store, task, Selection(**selection))


def _predict(model, folders, name, split="test", protocol="split", rows=None, **settings):
    labelled = _labelled(folders, name, split=split)
    rows = labelled.rows if rows is None else rows
    chosen = ContextSettings(**{**SETTINGS.__dict__, **settings})
    return predict(
        model, folders[1], labelled.task, rows, settings=chosen, protocol=protocol, progress=None
    )


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_label_rows_are_found_in_the_store(folders, name, split):
    labelled = _labelled(folders, name, split=split)
    store, meta = rustler.Store(folders[1]), open_meta(folders[1])
    task = labelled.relbench_task
    column = meta.columns[labelled.task.column]
    frame = labelled.table.df
    assert len(frame) == len(labelled.rows) > 20
    for number, time, value in zip(
        labelled.rows, frame[task.time_col], frame[task.target_col], strict=True
    ):
        row = store.row(int(number))
        assert row["time"] == time.timestamp()
        ((stored,),) = [[v for c, v, _ in row["cells"] if c == labelled.task.column]]
        assert stored * column.std + column.mean == pytest.approx(float(value), abs=1e-4)
    if task.kind == "forecast":
        first = meta.tables[meta.table("shops")].rows[0]
        parents = [store.row(int(number))["parents"] for number in labelled.rows]
        assert parents == [[first + shop] for shop in frame["shop"]]


@pytest.mark.parametrize("name", TASKS)
def test_predictions_do_not_depend_on_order_or_batch(model, folders, name):
    labelled = _labelled(folders, name)
    together = _predict(model, folders, name)
    order = np.random.default_rng(0).permutation(len(labelled.rows))
    shuffled = _predict(model, folders, name, rows=labelled.rows[order], batch_size=5)
    single = _predict(model, folders, name, batch_size=1, num_threads=2)
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5 * np.abs(together).max())
    np.testing.assert_allclose(single, together, atol=1e-5 * np.abs(together).max())
    assert np.std(together) > 1e-3
    assert len(np.unique(together)) > len(together) // 2


def _raw_outputs(model, folders, labelled, cutoff):
    sampler = rustler.Sampler(
        [folders[1]], [to_sampler(labelled.task, 0)], embedder=EMBEDDER, context_length=96,
        recipes=[Recipe(width=(16,)).to_sampler("published")],
    )  # fmt: skip
    batch = Batch.from_arrays(sampler.contexts(0, labelled.rows, cutoff=cutoff, seed=0))
    with torch.inference_mode():
        outputs = model.eval()(batch)
    return [float(outputs.of_type(int(kind))[i, slot]) for i, (kind, slot) in
            enumerate(zip(batch.target_type, batch.target_slot, strict=True))]  # fmt: skip


def test_numbers_come_on_the_original_scale_and_booleans_as_probabilities(model, folders):
    meta = open_meta(folders[1])
    labelled = _labelled(folders, "mean-amount")
    column = meta.columns[labelled.task.column]
    assert column.mean > 50
    raw = _raw_outputs(model, folders, labelled, meta.test_timestamp)
    expected = [column.mean + column.std * value for value in raw]
    np.testing.assert_allclose(_predict(model, folders, "mean-amount"), expected, rtol=1e-5)
    labelled = _labelled(folders, "any-returned")
    raw = _raw_outputs(model, folders, labelled, meta.test_timestamp)
    expected = [1 / (1 + np.exp(-value)) for value in raw]
    np.testing.assert_allclose(_predict(model, folders, "any-returned"), expected, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_test_labels_never_reach_a_prediction_under_split(model, folders, flipped, name):
    both = (folders, flipped["test"])
    before, after = (_predict(model, where, name) for where in both)
    np.testing.assert_array_equal(before, after)
    # the fixture bites: under `rolling` earlier labels of the test period are visible
    before, after = (_predict(model, where, name, protocol="rolling") for where in both)
    assert np.abs(before - after).max() > 1e-6
    if name != "returned":  # at the first seed time of the split, none of its labels is known
        first = _labelled(folders, name).table.df["timestamp"]
        opening = (first == first.min()).to_numpy()
        np.testing.assert_array_equal(before[opening], after[opening])


def test_labels_of_the_validation_period_reach_test_predictions_under_split(
    model, folders, flipped
):
    both = (folders, flipped["val"])
    for name in TASKS:
        before, after = (_predict(model, where, name) for where in both)
        assert np.abs(before - after).max() > 1e-6
        before, after = (_predict(model, where, name, split="val") for where in both)
        np.testing.assert_array_equal(before, after)


def test_the_table_holds_relbenchs_own_scores_on_the_same_rows(model, folders):
    raw, store = folders
    selection = Selection(max_rows=12, seed=5)
    models = {"pretrained": model, "untrained": untrained_like(model, seed=1)}
    result = evaluate_table(
        models, raw, store, settings=SETTINGS, tasks=TASKS, selection=selection,
        show_progress=False,
    )  # fmt: skip
    assert list(result["tasks"]) == TASKS
    assert (result["database"], result["split"], result["protocol"]) == (
        "shops-db", "test", "split",
    )  # fmt: skip
    for name, metric in zip(TASKS, ("nmae", "roc_auc", "roc_auc"), strict=True):
        entry = result["tasks"][name]
        task = relbench.load_dataset(raw).load_task(name)
        labelled = _labelled(folders, name, max_rows=12, seed=5)
        whole = task.get_table("test", mask_input_cols=False)
        assert entry["metric"] == metric
        assert (entry["rows"], entry["of_rows"]) == (12, len(whole.df))
        whole.df = whole.df.iloc[labelled.positions]
        whole.df[task.target_col] = whole.df[task.target_col].astype(float)
        predicted = []
        for key, made in models.items():
            # seed of the contexts as well as of the choice of rows
            found = predict(
                made, store, labelled.task, labelled.rows, settings=SETTINGS, seed=5, progress=None
            )
            assert entry[key] == pytest.approx(task.evaluate(found, whole)[metric], abs=1e-6)
            predicted.append(found)
        assert not np.allclose(*predicted)
        assert entry["entity_column"] == "shop"
    text = format_table(result)
    assert "mean-amount" in text
    assert "12 of " in text
    assert f"{result['tasks']['returned']['entity_mean']:.4f}" in text


def test_contexts_are_opened_once_for_all_models(model, folders, monkeypatch):
    opened, make = [], evaluate.Contexts
    monkeypatch.setattr(evaluate, "Contexts", lambda *given: opened.append(given) or make(*given))
    other = ContextSettings(EMBEDDER, context_length=64)
    evaluate_table(
        {"a": model, "b": model, "c": model}, *folders, settings=SETTINGS, tasks=TASKS,
        own_settings={"c": other}, show_progress=False,
    )  # fmt: skip
    assert len(opened) == 2 * len(TASKS)


def test_the_choice_of_rows_is_fixed_and_without_repeats():
    chosen = Selection(max_rows=10, seed=1).positions("db", "task", 50)
    assert len(set(chosen)) == 10
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(
        chosen, Selection(max_rows=10, seed=1).positions("db", "task", 50)
    )
    assert set(chosen) < set(Selection(max_rows=20, seed=1).positions("db", "task", 50))
    assert (chosen != Selection(max_rows=10, seed=2).positions("db", "task", 50)).any()
    np.testing.assert_array_equal(Selection(max_rows=99).positions("db", "task", 3), [0, 1, 2])


def test_an_untrained_model_is_a_function_of_the_seed(model):
    torch_state = torch.default_generator.get_state()
    first, again, other = (untrained_like(model, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.default_generator.get_state(), torch_state)
    name = "blocks.0.attns.col.wq.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], model.state_dict()[name])


def test_bad_requests_end_in_one_line(model, folders, tmp_path):
    raw, store = folders
    with pytest.raises(InputError, match="no task 'other'"):
        evaluate_table({}, raw, store, settings=SETTINGS, tasks=["other"])
    with pytest.raises(InputError, match="no manifest"):
        evaluate_table({}, tmp_path, store, settings=SETTINGS)
    with pytest.raises(InputError, match="choose val or test"):
        evaluate_table({}, raw, store, settings=SETTINGS, selection=Selection(split="train"))
    with pytest.raises(InputError, match="max_rows must be 1 or more"):
        evaluate_table({}, raw, store, settings=SETTINGS, selection=Selection(max_rows=0))
    with pytest.raises(InputError, match="unknown protocol"):
        _predict(model, folders, "returned", protocol="other")
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        ContextSettings(EMBEDDER, batch_size=0)
    (task,) = load_tasks(store, ["returned"])
    mixed = np.array([task.splits["val"][0], task.splits["test"][0]])
    with pytest.raises(InputError, match="test and val have different cutoffs"):
        _predict(model, folders, "returned", rows=mixed)
    with pytest.raises(InputError, match="row 0 is in none"):
        _predict(model, folders, "returned", rows=np.array([0]))


def _without(folders, place, split, name="mean-amount"):
    """The folders again, where a split of a task has no labels."""
    raw = shutil.copytree(folders[0], place / "raw")
    file = raw / "tasks" / name / f"{split}.parquet"
    pd.read_parquet(file).iloc[:0].to_parquet(file, index=False)
    return raw, preprocess(raw, place / "store", embedder=EMBEDDER, show_progress=False)


def test_a_split_without_labels_is_told(folders, tmp_path):
    """Of train the task has no place in the store; of another one it has no score."""
    raw, store = _without(folders, tmp_path / "train", "train")
    line = "no task 'mean-amount': it was left out, since it has no labels for training"
    with pytest.raises(InputError, match=line):
        evaluate_table({}, raw, store, settings=SETTINGS, tasks=["mean-amount"])
    with pytest.raises(InputError, match=line):
        open_task(raw, "mean-amount", EMBEDDER, tmp_path / "pre", False)
    with pytest.raises(InputError, match="can't be scored, since it has no labels for training"):
        score_baselines(raw, tasks=["mean-amount"], show_progress=False)
    shutil.copytree(raw / "tasks/any-returned", raw / "tasks/new")
    with pytest.raises(InputError, match=r"no task 'new': .* make it again") as raised:
        evaluate_table({}, raw, store, settings=SETTINGS, tasks=["new"])
    # of another name than the folder, which the command would not keep
    assert f"by rt.store.preprocess('{raw}', '{store}', overwrite=True)" in str(raised.value)
    raw, store = _without(folders, tmp_path / "test", "test")
    line = "task mean-amount: its test split has no labels to score"
    with pytest.raises(InputError, match=line):
        evaluate_table({}, raw, store, settings=SETTINGS, tasks=["mean-amount"])
    found = evaluate_table({}, raw, store, settings=SETTINGS)
    assert found["skipped"] == {"mean-amount": line}
    assert set(found["tasks"]) == {"any-returned", "returned"}
    with pytest.raises(InputError, match=line):
        score_baselines(raw, tasks=["mean-amount"], show_progress=False)
    chosen = evaluate_table({}, raw, store, settings={"returned": SETTINGS})
    assert set(chosen["tasks"]) == {"returned"}
    assert "no contexts were chosen" in chosen["skipped"]["any-returned"]


def test_label_files_that_cannot_be_read_are_named(folders, tmp_path):
    raw, store = folders
    copy = shutil.copytree(raw, tmp_path / "copy")
    file = copy / "tasks" / "mean-amount" / "test.parquet"
    file.write_bytes(file.read_bytes()[:100])
    line = r"task mean-amount: its test labels .*test\.parquet.*; write the label files again"
    with pytest.raises(InputError, match=line) as caught:
        evaluate_table({}, copy, store, settings=SETTINGS, tasks=["mean-amount"])
    assert "\n" not in str(caught.value)


def test_a_task_that_is_not_there_is_told_before_a_store_to_be_made_anew(folders, tmp_path):
    raw = shutil.copytree(folders[0], tmp_path / "raw" / "shops-db")
    shutil.copytree(folders[1], tmp_path / "pre" / "shops-db")
    shutil.copytree(raw / "tasks/any-returned", raw / "tasks/churn")
    asked = EMBEDDER, tmp_path / "pre", False
    with pytest.raises(InputError, match=f"^{raw}: no task 'chrun'; did you mean 'churn'"):
        open_task(raw, "chrun", *asked)
    with pytest.raises(InputError, match="was made from other input"):
        open_task(raw, "churn", *asked)
    shutil.rmtree(raw / "tasks")
    with pytest.raises(InputError, match=r"no task 'churn'; it has none \(scripts/add_tasks.py\)"):
        open_task(raw, "churn", *asked)


def test_the_store_of_another_database_is_refused(folders, tmp_path):
    raw = shutil.copytree(folders[0], tmp_path / "raw")
    manifest = raw / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("shops-db", "stalls"))
    shutil.rmtree(raw / "tasks")
    with pytest.raises(InputError) as raised:
        evaluate_table({}, raw, folders[1], settings=SETTINGS)
    assert str(raised.value) == (
        f"{folders[1]}: is the store of the database shops-db, and {raw} is stalls: give the "
        "store of this one, or the folder of that one"
    )


def test_a_store_of_other_labels_is_refused(folders):
    raw, store = folders
    (task,) = load_tasks(store, ["mean-amount"])
    table = relbench.load_dataset(raw).load_task("mean-amount").get_table("test", False)
    whole, meta = table.df, open_meta(store)
    last = whole["timestamp"].where(whole.index < len(whole) - 1, whole["timestamp"].min())
    for other in (whole.iloc[:-1], whole.assign(timestamp=last)):
        table.df = other
        with pytest.raises(InputError, match="are not those of the label table"):
            store_rows(store, meta, task, "test", table)


def test_intervals_and_a_submission_that_relbench_takes(model, folders, tmp_path):
    from relbench.submit import evaluate_task

    raw, store = folders
    written = []

    def submit(database, rows, found):
        written.append(write_submission(tmp_path / "sent", database, rows, found["pretrained"]))

    result = evaluate_table(
        {"pretrained": model}, raw, store, settings=SETTINGS, tasks=["mean-amount", "returned"],
        selection=Selection(protocol="rolling"), show_progress=False, resamples=200,
        on_predictions=submit,
    )  # fmt: skip
    assert [path.name for path in written] == [
        "shops-db__mean-amount.csv",
        "shops-db__returned.csv",
    ]
    for name, path in zip(("mean-amount", "returned"), written, strict=True):
        entry = result["tasks"][name]
        assert {"pretrained", "context_own", "context_all", "entity_mean"} <= set(entry)
        assert set(entry["better_by"]) == set(entry["intervals"]) - {"pretrained"}
        for key, interval in entry["intervals"].items():
            assert interval["value"] == pytest.approx(entry[key], abs=1e-6)
            assert interval["low"] <= entry[key] <= interval["high"]
        sign = 1 if entry["better"] == "higher" else -1
        found = entry["better_by"]["context_own"]
        difference = sign * (entry["pretrained"] - entry["context_own"])
        assert found["value"] == pytest.approx(difference, abs=1e-6)
        assert found["low"] <= found["value"] <= found["high"]
        scored = evaluate_task(f"shops-db/{name}", path, dataset=str(raw))
        assert scored[entry["metric"]] == pytest.approx(entry["pretrained"], rel=1e-6)
    own = result["tasks"]["mean-amount"]["intervals"]["context_own"]
    half = (own["high"] - own["low"]) / 2
    assert f"{own['value']:.3f} ±{half:.3f}" in format_table(result)
    lines = format_differences(result, "pretrained").splitlines()
    assert lines[0].split()[:4] == ["pretrained", "better", "by", "global_mean"]
    assert lines[1].startswith("mean-amount")
    with pytest.raises(InputError, match="a submission needs every row"):
        evaluate_table(
            {"pretrained": model}, raw, store, settings=SETTINGS, tasks=["returned"],
            selection=Selection(max_rows=9), show_progress=False, on_predictions=submit,
        )  # fmt: skip
