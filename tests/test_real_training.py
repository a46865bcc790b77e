"""Training on real databases: which tasks are trained on, what is left out, scored and chosen."""

import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score
from small_stores import records, small_config, write_database
from test_continue import stopped_in

from plurel.errors import InputError
from rt import checkpoint, real_scores
from rt.corpus import open_corpus
from rt.evaluate import Selection, label
from rt.logs import read_metrics
from rt.predictions import ContextSettings, predict
from rt.ranks import Ranks
from rt.real_scores import EvaluationConfig, RealTasks, mean_scores
from rt.relbench_folder import open_dataset
from rt.scores import all_metrics
from rt.tasks import load_tasks
from rt.train import read_config, run
from rt.train_config import TrainConfig
from tests.shops import shop_folders

DECLARED = ["mean-amount", "any-returned", "returned"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two databases in RelBench's format: shops-db with tasks, and one without any."""
    root = tmp_path_factory.mktemp("real")
    shop_folders(root)
    write_database(0, root / "raw")
    return root


def values(home: Path, run_dir: Path, **changes: Any) -> dict[str, Any]:
    """A small run on the tasks that databases declare, as plain values."""
    config = small_config(home / "raw", run_dir)
    config["data"] |= {"pattern": "*", "pre_dir": str(home / "pre"), "tasks": "declared"}
    config["data"] |= {"heldout": "rows", "heldout_rows": 8, "extra_target_share": [0.0, 0.0]}
    for name, value in changes.items():
        group, _, key = name.partition("__")
        if key:
            config.setdefault(group, {})[key] = value
        else:
            config[group] = value
    return config


def config(home: Path, run_dir: Path, **changes: Any) -> TrainConfig:
    return read_config(values(home, run_dir, **changes))


def evaluation(home: Path, **changes: Any) -> dict[str, Any]:
    """What is scored: some rows of the shops' tasks."""
    base = {"root": [str(home / "raw")], "pre_dir": str(home / "pre"), "databases": ["shops-db"]}
    return {**base, "max_rows": 20, "test_rows": 15, **changes}


@pytest.fixture(scope="module")
def baseline(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the shops' tasks that also scores them."""
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    return run(config(home, folder, evaluation=evaluation(home)))


def test_the_tasks_that_a_database_declares_are_trained_on(home: Path, tmp_path: Path) -> None:
    corpus = open_corpus(config(home, tmp_path).data)
    assert corpus.names() == {"train": ["shops-db"], "heldout": ["shops-db"]}
    assert sorted(task.name for task in corpus.train[0].tasks) == sorted(DECLARED)


@pytest.mark.parametrize(("tasks", "databases"), [("columns", 2), ("both", 2), ("declared", 1)])
def test_columns_may_be_tasks_too(home: Path, tmp_path: Path, tasks: str, databases: int) -> None:
    corpus = open_corpus(config(home, tmp_path, data__tasks=tasks).data)
    names = {task.name for database in corpus.train for task in database.tasks}
    assert len(corpus.train) == databases
    assert ("sales.amount" in names) == (tasks != "declared")
    assert ("mean-amount" in names) == (tasks != "columns")


def test_a_database_that_is_left_out_takes_no_part(home: Path, tmp_path: Path) -> None:
    data = config(home, tmp_path, data__tasks="both", data__leave_out="shops-db").data
    assert open_corpus(data).names() == {
        "train": ["rel-synthetic-0"],
        "heldout": ["rel-synthetic-0"],
    }
    with pytest.raises(InputError, match="leave_out: no database 'shop-db'; did you mean shops-db"):
        open_corpus(config(home, tmp_path, data__leave_out=["shop-db"]).data)


def test_one_task_can_be_the_only_one(home: Path, tmp_path: Path) -> None:
    for task in ("shops-db/any-returned", "shops-db/sales.amount"):
        (database,) = open_corpus(config(home, tmp_path, data__task=task).data).train
        assert [task.name for task in database.tasks] == [task.partition("/")[2]]
    with pytest.raises(InputError, match="no task 'x'; it has: "):
        open_corpus(config(home, tmp_path, data__task="shops-db/x").data)
    with pytest.raises(InputError, match=r"data.task must be <database>/<task>, not 'shops-db'"):
        config(home, tmp_path, data__task="shops-db")
    left_out = config(home, tmp_path, data__task="shops-db/x", data__leave_out="shops-db")
    with pytest.raises(InputError, match=r"shops-db is left out by data.leave_out"):
        open_corpus(left_out.data)


def test_no_row_that_measures_the_loss_is_trained_on(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows of train are trained on, give val"):
        config(home, tmp_path, data__heldout_split="train")
    corpus = open_corpus(config(home, tmp_path).data)
    for task in corpus.train[0].tasks:
        train, val = (set(range(*task.splits[split])) for split in ("train", "val"))
        assert train
        assert not train & val


@pytest.mark.parametrize(
    "apart", [{}, {"heldout": "databases"}, {"tasks": "columns"}, {"tasks": "both"}]
)
def test_no_label_of_test_measures_the_loss_that_chooses(
    home: Path, tmp_path: Path, apart: dict[str, str]
) -> None:
    changes = {f"data__{key}": value for key, value in apart.items()}
    with pytest.raises(InputError, match=r"heldout_split: .* which rows of test must not: give v"):
        config(home, tmp_path, data__heldout_split="test", **changes)
    synthetic = {"data__heldout": "databases", "data__tasks": "columns"}
    config(home, tmp_path, data__heldout_split="test", **synthetic)


def test_every_evaluation_scores_the_real_tasks(baseline: Path) -> None:
    records = [record for record in read_metrics(baseline) if "heldout_loss" in record]
    assert [record["step"] for record in records] == [0, 3, 6]
    for record in records:
        assert 0 <= record["shops-db/any-returned/auroc"] <= 1
        parts = ("shops-db/any-returned/auroc", "shops-db/returned/auroc")
        assert record["auroc"] == pytest.approx(np.mean([record[part] for part in parts]))
        regression = 1 - record["shops-db/mean-amount/nmae"]
        assert record["score"] == pytest.approx((2 * record["auroc"] + regression) / 3)
        assert "shops-db/mean-amount/r2" in record


def test_the_best_checkpoint_is_scored_on_test_rows_at_the_end(baseline: Path) -> None:
    scores = json.loads((baseline / "training.json").read_text())["scores"]
    assert set(scores) == {"val", "test"}
    best = checkpoint.find_checkpoint(baseline, "best").name
    (record,) = [r for r in read_metrics(baseline) if "score" in r and f"step_{r['step']}" == best]
    of_val = scores["val"]["best"]
    assert of_val["mean"]["score"] == record["score"]
    assert of_val["tasks"]["shops-db/mean-amount"]["mae"] == record["shops-db/mean-amount/mae"]
    for split in scores.values():
        assert set(split) == {
            "best", "global_mean", "entity_mean", "context_own", "context_all",
        }  # fmt: skip
        assert set(split["best"]["tasks"]) == {f"shops-db/{name}" for name in DECLARED}
    assert matplotlib.image.imread(baseline / "scores.png").std() > 0.05


def test_no_rank_scores_the_best_checkpoint_before_it_is_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first rank writes; the others must not read the one that was the best before."""
    done: list[str] = []
    for owner, name in ((checkpoint, "point"), (Ranks, "barrier"), (checkpoint, "load_model")):
        true = getattr(owner, name)

        def noted(*arguments: Any, name: str = name, true: Any = true) -> Any:
            done.append(name)
            return true(*arguments)

        monkeypatch.setattr(owner, name, noted)
    only = {"data__pattern": "shops-db", "trainer__steps": 1}
    run(config(home, tmp_path / "run", evaluation=evaluation(home, test_rows=0), **only))
    assert done == ["barrier", "point", "point", "barrier", "load_model"]


def test_labels_of_test_rows_decide_nothing(home: Path, tmp_path: Path) -> None:
    """Turned over, they change the scores of test and nothing else."""
    shop_folders(tmp_path / "flipped", flip="test")
    only = {"data__pattern": "shops-db", "trainer__select": "score"}
    results, recorded = [], []
    for name, place in (("one", home), ("other", tmp_path / "flipped")):
        folder = run(config(place, tmp_path / name, evaluation=evaluation(place), **only))
        results.append(json.loads((folder / "training.json").read_text()))
        recorded.append(records(folder))
    assert recorded[0] == recorded[1]
    one, other = (result["scores"] for result in results)
    assert one["val"]["best"] == other["val"]["best"]
    assert one["test"]["best"]["tasks"] != other["test"]["best"]["tasks"]
    assert results[0]["best_step"] == results[1]["best_step"]


def test_scores_do_not_depend_on_the_number_of_ranks(home: Path, baseline: Path) -> None:
    model = checkpoint.load_model(baseline / "best")
    settings = ContextSettings("hash", 24, batch_size=4)
    real = RealTasks(EvaluationConfig(**tuples(evaluation(home))), settings)
    whole = real.scores(model, Ranks())
    (task,) = [task for task in real.tasks if task.name == "shops-db/mean-amount"]
    rows = label(
        open_dataset(home / "raw/shops-db"), task.source.store, task.task, Selection("val")
    )

    class Alone(Ranks):
        def total(self, values: torch.Tensor) -> torch.Tensor:
            return values

    arguments = (model, task.source.store, task.task, rows.rows)
    keywords: dict[str, Any] = {"settings": settings, "protocol": "rolling", "progress": None}
    together = predict(*arguments, **keywords)
    parts = [predict(*arguments, **keywords, ranks=Alone(rank, 3)) for rank in range(3)]
    np.testing.assert_array_equal(sum(parts), together)
    assert all((part == 0).any() for part in parts)
    assert set(whole) == {f"shops-db/{name}" for name in DECLARED}


def test_the_contexts_of_a_store_are_opened_once(
    home: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, make = [], real_scores.Contexts
    monkeypatch.setattr(
        real_scores, "Contexts", lambda *given: opened.append(given) or make(*given)
    )
    settings = ContextSettings("hash", 24, batch_size=4)
    real = RealTasks(EvaluationConfig(**tuples(evaluation(home))), settings)
    model = checkpoint.load_model(baseline / "best")
    first = real.scores(model, Ranks())
    real.baselines(Ranks())
    assert real.scores(model, Ranks()) == first
    assert len(real.tasks) > len({task.source for task in real.tasks}) == len(opened)


def tuples(group: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in group.items()}


def test_metrics_are_those_of_scikit_learn(home: Path) -> None:
    (task,) = load_tasks(home / "pre/shops-db", ["mean-amount"])
    labelled = label(open_dataset(home / "raw/shops-db"), home / "pre/shops-db", task, Selection())
    truth = labelled.table.df["mean_amount"].to_numpy()
    prediction = truth + np.linspace(-3, 5, len(truth))
    found = all_metrics(labelled.relbench_task, labelled.table, prediction)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, prediction))
    assert found["r2"] == pytest.approx(r2_score(truth, prediction))
    assert found["nmae"] == pytest.approx(found["mae"] / labelled.relbench_task.nmae_std)


def test_the_mean_leaves_out_errors_on_scales_of_their_own() -> None:
    scores = {
        "a/x": {"auroc": 0.7},
        "a/y": {"mae": 100.0, "nmae": 0.5, "r2": 0.1},
        "b/z": {"mae": 1.0, "nmae": 0.9},
    }
    assert mean_scores(scores) == pytest.approx(
        {"auroc": 0.7, "nmae": 0.7, "r2": 0.1, "score": (0.7 + 0.5 + 0.1) / 3}
    )


def test_the_best_checkpoint_can_be_chosen_by_score(home: Path, tmp_path: Path) -> None:
    chosen = config(
        home, tmp_path / "run", evaluation=evaluation(home), trainer__select="score",
        trainer__eval_every=1, optim__lr=0.2,
    )  # fmt: skip
    folder = run(chosen)
    scores = {r["step"]: r["score"] for r in read_metrics(folder) if "score" in r and r["step"]}
    best = int(checkpoint.find_checkpoint(folder, "best").name[5:])
    assert scores[best] == max(scores.values())
    losses = {r["step"]: r["heldout_loss"] for r in read_metrics(folder) if "score" in r}
    result = json.loads((folder / "training.json").read_text())
    assert result["best_step"] == best
    # at this rate an earlier one than the last, whose scores are others
    assert result["scores"]["val"]["best"]["mean"]["score"] == scores[best] != scores[max(scores)]
    assert len(set(losses.values())) > 3


def test_score_needs_something_to_score(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer.select=score needs real tasks"):
        config(home, tmp_path, trainer__select="score")
    nothing = evaluation(home, databases=[])
    with pytest.raises(InputError, match=r"trainer.select=score needs real tasks"):
        config(home, tmp_path, trainer__select="score", evaluation=nothing)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"databases": ["shop"]}, "evaluation.databases: no database 'shop'; did you mean shops-"),
        ({"tasks": ["shops-db/x"]}, "no task 'x'; it has"),
        ({"tasks": ["other/x"]}, "evaluation.tasks: no database 'other'"),
        (
            {"databases": ["rel-synthetic-0"]},
            "no task of the databases can be scored: they declare",
        ),
        ({"root": ["PRE/shops-db"], "databases": None}, "is a store, which holds no label tables"),
    ],
)
def test_what_cannot_be_scored_is_named_before_training(
    home: Path, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    if "root" in changes:
        changes = changes | {"root": [str(home / "pre/shops-db")]}
    chosen = config(home, tmp_path / "run", evaluation=evaluation(home, **changes))
    with pytest.raises(InputError, match=line):
        run(chosen)
    assert not (tmp_path / "run").exists()


def test_a_task_whose_validation_labels_are_all_one_class_is_left_out(home: Path) -> None:
    settings = ContextSettings("hash", 24)
    one_row = EvaluationConfig(**tuples(evaluation(home, max_rows=1)))
    real = RealTasks(one_row, settings)
    assert [task.name for task in real.tasks] == ["shops-db/mean-amount"]
    assert set(real.left_out) == {"shops-db/any-returned", "shops-db/returned"}


def null_model() -> dict[str, Any]:
    return dict.fromkeys(("num_blocks", "d_model", "num_heads", "d_ff", "log_keys"))


def test_a_run_goes_on_from_a_checkpoint(home: Path, baseline: Path, tmp_path: Path) -> None:
    start = {"load_ckpt_path": str(baseline / "best"), "model": null_model()}
    start |= {"data__embedder": None, "data__context_length": None, "data__recipes": None}
    chosen = config(home, tmp_path / "run", **start)
    assert chosen.model.d_model == 16
    assert chosen.data.context_length == (24,)
    assert chosen.data.recipes["published"].width == (8,)
    folder = run(chosen)
    first = read_metrics(folder)[0]["heldout_loss"]
    by_step = {r["step"]: r["heldout_loss"] for r in read_metrics(baseline) if "score" in r}
    best = int(checkpoint.find_checkpoint(baseline, "best").name[5:])
    assert first == pytest.approx(by_step[best], rel=1e-6)
    facts = json.loads((folder / "run.json").read_text())["start"]
    assert facts["checkpoint"] == f"step_{best}"
    assert len(facts["sha256"]) == 64


def test_a_run_goes_on_when_the_checkpoint_that_it_began_from_has_gone(
    home: Path, baseline: Path, tmp_path: Path
) -> None:
    began = shutil.copytree(baseline, tmp_path / "began")
    start: dict[str, Any] = {"load_ckpt_path": str(began / "best"), "model": null_model()}
    start |= {"data__embedder": None, "data__context_length": None, "data__recipes": None}
    chosen = config(home, tmp_path / "run", **start)
    with stopped_in(step=3):
        folder = run(chosen)
    shutil.rmtree(began)
    with pytest.raises(InputError, match="began/best is no checkpoint"):
        config(home, tmp_path / "other", **start)
    again = config(home, folder, **start)
    assert again == chosen
    run(again)
    assert checkpoint.find_checkpoint(folder).name == "step_6"
    with pytest.raises(InputError, match=r"holds a run with model.d_ff = 32, not 64: give"):
        run(config(home, folder, **start | {"model__d_ff": 64}))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model__d_ff": 64}, "the model has d_ff 32, not 64: give model=checkpoint"),
        ({"model__log_keys": True}, "the model has log_keys False, not True"),
        ({"data__embedder": "all-MiniLM-L6-v2"}, "trained with the text embedder hash, not all-Mi"),
        ({"load_ckpt_path": None}, "model.num_blocks is null, as the checkpoint says: give load_c"),
    ],
)
def test_a_model_that_is_not_the_checkpoints_is_refused(
    home: Path, baseline: Path, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    start = {"load_ckpt_path": str(baseline / "best"), "model": null_model()}
    with pytest.raises(InputError, match=line):
        config(home, tmp_path / "run", **(start | changes))


def test_a_run_that_was_killed_while_it_scored_ends_the_same(
    home: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = config(home, tmp_path / "run", evaluation=evaluation(home))

    def killed(*arguments: Any, **settings: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RealTasks, "baselines", killed)
        with pytest.raises(KeyboardInterrupt):
            run(chosen)
    assert not (tmp_path / "run/training.json").exists()
    folder = run(chosen)
    one, other = (json.loads((f / "training.json").read_text()) for f in (folder, baseline))
    assert one["scores"] == other["scores"]
    assert {r["step"] for r in read_metrics(folder)} == {r["step"] for r in read_metrics(baseline)}


def test_whether_test_rows_are_scored_may_be_decided_on_the_way(
    home: Path, baseline: Path, tmp_path: Path
) -> None:
    with stopped_in(step=3):
        folder = run(config(home, tmp_path / "run", evaluation=evaluation(home)))
    with pytest.raises(InputError, match=r"holds a run with evaluation.max_rows = 20, not 19"):
        run(config(home, folder, evaluation=evaluation(home, max_rows=19)))
    run(config(home, folder, evaluation=evaluation(home, test_rows=0)))
    one, other = (json.loads((f / "training.json").read_text()) for f in (folder, baseline))
    assert one["scores"] == {"val": other["scores"]["val"]}
    assert one["best_step"] == other["best_step"]
