"""The trainer in one process: learning, continuing, stopping, failing."""

import copy
import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
import yaml
from small_disk import files_up_to
from small_stores import records, small_config, small_run, write_stores

from plurel.errors import InputError
from rt import checkpoint
from rt.config import from_dict
from rt.corpus import build_sampler, open_corpus
from rt.data import Batch
from rt.loader import BatchStream
from rt.logs import LoggerConfig, RunLog, read_metrics
from rt.plots import smooth
from rt.ranks import Ranks, join_ranks, usable_cores
from rt.recipes import Recipe, context_of
from rt.runs import Run
from rt.text import HashEmbedder
from rt.train import run
from rt.train_config import TrainConfig
from rt.trainer import Trainer, build_model, check_losses, unlike_numbers


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("train"), 3)


@pytest.fixture(scope="module")
def finished(pre: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 steps that was never stopped."""
    return run(small_run(pre, tmp_path_factory.mktemp("runs") / "whole"))


def assert_same_model(first: Path, second: Path) -> None:
    one, other = (checkpoint.load_model(folder).state_dict() for folder in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_leaves_all_its_parts(finished: Path) -> None:
    written = {path.name for path in finished.iterdir()}
    expected = {"config.yaml", "run.json", "metrics.jsonl", "latest", "best", "step_6"}
    assert expected | {"loss.png", "training.json"} <= written
    facts = json.loads((finished / "run.json").read_text())
    assert facts["databases"]["heldout"] == ["rel-synthetic-2"]
    assert torch.__version__.startswith(facts["versions"]["torch"])
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert from_dict(TrainConfig, config).optim.lr == 0.01


def test_every_step_and_heldout_loss_is_recorded(finished: Path) -> None:
    metrics = read_metrics(finished)
    steps = [record for record in metrics if "loss" in record]
    heldout = [record for record in metrics if "heldout_loss" in record]
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    assert [record["step"] for record in heldout] == [0, 3, 6]
    assert steps[-1]["slots"] == 6 * 8 * 24
    assert 0.5 * steps[-1]["slots"] < steps[-1]["tokens"] <= steps[-1]["slots"]
    assert steps[0]["lr"] == pytest.approx(0.01 / 25)
    assert all(0 <= record["wait_share"] <= 1 for record in steps)
    parts = heldout[-1]
    low, high = sorted((parts["heldout_loss_number"], parts["heldout_loss_boolean"]))
    assert low < parts["heldout_loss"] < high
    assert all(0.05 < parts[f"constant_loss{kind}"] < 1.5 for kind in ("", "_number", "_boolean"))


def test_the_summary_says_what_the_records_say(finished: Path) -> None:
    result = json.loads((finished / "training.json").read_text())
    heldout = [r for r in read_metrics(finished) if "heldout_loss" in r]
    assert result["steps"] == 6
    assert result["heldout"]["loss"]["start"] == heldout[0]["heldout_loss"]
    assert result["heldout"]["loss"]["end"] == heldout[-1]["heldout_loss"]
    assert matplotlib.image.imread(finished / "loss.png").std() > 0.05


def test_training_lowers_the_loss(pre: Path, tmp_path: Path) -> None:
    folder = run(small_run(pre, tmp_path / "run", trainer__steps=60, trainer__eval_every=60))
    result = json.loads((folder / "training.json").read_text())["heldout"]
    assert result["loss"]["end"] < 0.9 * result["loss"]["start"]
    losses = [r["loss"] for r in read_metrics(folder) if "loss" in r]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_checkpoint_holds_the_model_and_how_to_feed_it(finished: Path) -> None:
    folder = checkpoint.find_checkpoint(finished)
    assert folder.name == "step_6"
    settings = checkpoint.load_settings(folder)
    assert settings.embedder == "hash"
    assert settings.context["context_length"] == [24]
    assert context_of(settings.context) == (24, Recipe(width=(8,)))
    state = checkpoint.load_trainer(folder)
    assert state["finished"]
    assert state["step"] == 6
    best = int(checkpoint.find_checkpoint(finished, "best").name[5:])
    losses = {r["step"]: r["heldout_loss"] for r in read_metrics(finished) if "heldout_loss" in r}
    assert best == min((3, 6), key=losses.__getitem__)


def test_a_finished_run_says_so_and_stays_as_it_is(
    pre: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    run(small_run(pre, finished))
    assert "this run is finished after 6 steps" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_the_run_goes_on_as_if_never_stopped(
    pre: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    item = BatchStream.item

    def item_and_signal(self: BatchStream, position: int) -> Any:
        if position == 2:
            os.kill(os.getpid(), number)
        return item(self, position)

    config = small_run(pre, tmp_path / "run", logger__every=2)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(BatchStream, "item", item_and_signal)
        folder = run(config)
    assert f"{number.name}: saved after step 3" in capsys.readouterr().out
    assert signal.getsignal(number) is before
    assert checkpoint.find_checkpoint(folder).name == "step_3"
    assert not (folder / "loss.png").exists()
    run(config)
    assert_same_model(folder, finished)
    losses = {r["step"]: r["loss"] for r in records(finished) if "loss" in r}
    means = {r["step"]: r["loss"] for r in records(folder) if "loss" in r}
    assert means == {step: (losses[step - 1] + losses[step]) / 2 for step in (2, 4, 6)}


def test_a_crash_between_checkpoints_costs_no_record(
    pre: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = BatchStream.item

    def item_or_crash(self: BatchStream, position: int) -> Any:
        if position == 5:
            raise RuntimeError("the power is gone")
        return item(self, position)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(BatchStream, "item", item_or_crash)
        with pytest.raises(RuntimeError, match="the power is gone") as caught:
            run(small_run(pre, folder))
    assert caught.value.__notes__ == ["on rank 0, in step 5"]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert [r["step"] for r in read_metrics(folder)] == [0, 1, 2, 3, 3, 4, 5]
    run(small_run(pre, folder))
    assert records(folder) == records(finished)
    assert_same_model(folder, finished)


def test_a_worker_that_is_killed_while_the_trainer_computes_is_one_line(
    pre: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computing(self: Trainer) -> float:
        for worker in multiprocessing.active_children():
            worker.kill()
        time.sleep(60)  # ended by torch, which hears of it
        return 0.0

    monkeypatch.setattr(Trainer, "_update", computing)
    with pytest.raises(InputError, match="a process that prepares batches for rank 0 died: is th"):
        run(small_run(pre, tmp_path / "run", data__num_workers=1))
    assert not multiprocessing.active_children()


def test_workers_and_micro_batches_do_not_change_the_run(
    pre: Path, finished: Path, tmp_path: Path
) -> None:
    folder = run(small_run(pre, tmp_path / "workers", data__num_workers=2))
    assert records(folder) == records(finished)
    folder = run(small_run(pre, tmp_path / "micro", trainer__micro_batches=4))
    for one, other in zip(records(folder), records(finished), strict=True):
        assert one.keys() == other.keys()
        assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-4, nan_ok=True)


def test_a_token_budget_ends_the_run(pre: Path, finished: Path, tmp_path: Path) -> None:
    tokens = {r["step"]: r["tokens"] for r in read_metrics(finished) if "loss" in r}
    budget = tokens[4] + 1
    folder = run(
        small_run(pre, tmp_path / "run", trainer__steps=None, trainer__token_budget=budget)
    )
    steps = [r for r in read_metrics(folder) if "loss" in r]
    assert [r["tokens"] for r in steps] == [tokens[step] for step in range(1, 6)]
    # the schedule follows the budget: lr = peak at 20 %, then down linearly
    done = tokens[4] / budget
    assert steps[4]["lr"] == pytest.approx(0.01 * (1 - (done - 0.2) / 0.8), rel=0.01)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"optim__lr": 0.02}, "holds a run with optim.lr = 0.01, not 0.02: give the same value"),
        ({"trainer__steps": 7}, "holds a run with trainer.steps = 6, not 7"),
        ({"data__batch_size": 9, "trainer__micro_batches": 2}, "9 is not a multiple of 2"),
    ],
)
def test_a_run_of_another_config_is_refused(
    pre: Path, finished: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        run(small_run(pre, finished, **changes))


def test_a_run_of_an_older_version_goes_on(pre: Path, finished: Path, tmp_path: Path) -> None:
    """What it did not know of was off; what is not known now is refused."""
    state = checkpoint.load_trainer(finished)
    folder = shutil.copytree(finished, tmp_path / "run")
    file = checkpoint.find_checkpoint(folder) / checkpoint.TRAINER_FILE
    names, config = state["databases"], copy.deepcopy(state["config"])
    del state["config"]["model"]["row_likeness"]
    state["config"]["model"]["label_means"] = False
    torch.save(state, file)
    assert Run(folder, config, names).last_state() is not None
    config["model"]["row_likeness"] = True
    with pytest.raises(InputError, match=r"row_likeness = False, not True"):
        Run(folder, config, names).last_state()
    state["config"]["model"]["gone"] = 1
    torch.save(state, file)
    with pytest.raises(InputError, match=r"this version can't continue: .*gone"):
        Run(folder, config, names).last_state()


def test_other_databases_are_refused(pre: Path, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "pre").mkdir()
    for number, store in ((0, 0), (1, 1), (7, 2)):
        (tmp_path / f"pre/rel-synthetic-{number}").symlink_to(pre / f"rel-synthetic-{store}")
    config = small_run(tmp_path / "pre", finished)
    with pytest.raises(InputError, match=r"holds a run with data\.root"):
        run(config)
    state = checkpoint.load_trainer(finished)
    names = open_corpus(config.data).names()
    with pytest.raises(InputError, match="holds a run on other databases"):
        Run(finished, state["config"], names).last_state()


def test_a_run_does_not_go_on_with_another_embedder(
    pre: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = small_run(pre, finished), checkpoint.load_trainer(finished)
    assert checkpoint.load_settings(finished).fingerprint == HashEmbedder.fingerprint
    monkeypatch.setattr(
        checkpoint, "load_settings", lambda path: checkpoint.Settings("hash", {}, "another")
    )
    with pytest.raises(InputError, match="another text embedder than the one"):
        Trainer(config, open_corpus(config.data), Ranks(), Run(finished, {}, {}), state)


def test_nothing_is_written_for_data_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        run(small_run(tmp_path / "none", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_metrics_that_the_disk_cannot_hold_are_named(tmp_path: Path) -> None:
    line = r"can't write .*metrics.jsonl: File too large; check the rights and the space"
    quiet = LoggerConfig(progress=False)
    log = RunLog(tmp_path, quiet, {}, last_step=0, progress=(1, 0, "step"))
    with pytest.raises(InputError, match=line), files_up_to(10), log:
        log.heldout({"step": 0, "heldout_loss": 1.0, "constant_loss": 1.0})


def test_a_loss_that_is_not_finite_stops_the_run(pre: Path, tmp_path: Path) -> None:
    named = r"is (nan|inf) on rank 0 at step \d \(rel-synthetic-\d/\w+\.\w+ row \d+"
    with pytest.raises(InputError, match=f"{named}|not finite at step"):
        run(small_run(pre, tmp_path / "run", optim__lr=1e30, optim__warmup=0.0))
    with pytest.raises(InputError, match="the loss is inf on rank 1 at step 7, whose own line"):
        check_losses([0.5, math.inf], 7)
    # where several are wrong, each rank names its own contexts as its own
    with pytest.raises(InputError, match=r"the loss is inf on rank 1 at step 7 \(db/task row 3\)"):
        check_losses([math.nan, math.inf], 7, 1, "db/task row 3")


def test_contexts_without_a_finite_loss_are_named(pre: Path) -> None:
    config = small_run(pre, Path("unused"))
    databases = open_corpus(config.data).train
    sampler = build_sampler(databases, config.data, extra_target_share=(0, 0), seed=0)
    batch = Batch.from_arrays(sampler.batch(0))
    model = build_model(config, 64)
    outputs = model(batch)
    assert unlike_numbers(outputs, batch, databases) == ""
    bad = torch.zeros_like(outputs.number)
    bad[5] = math.nan
    heads = {"number": outputs.number + bad, "boolean": outputs.boolean + bad}
    tasks = [f"{d.path.name}/{task.name}" for d in databases for task in d.tasks]
    named = f"{tasks[int(batch.context_task[5])]} row {int(batch.target_row[5])}"
    assert unlike_numbers(replace(outputs, **heads), batch, databases) == named
    heads = {name: torch.full_like(bad, math.nan) for name in heads}
    every = unlike_numbers(replace(outputs, **heads), batch, databases)
    assert every.count(" row ") == 3
    assert every.endswith(" and 5 more")


def test_wandb_keeps_the_records_offline(
    pre: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = run(small_run(pre, tmp_path / "run", logger__wandb="offline"))
    assert records(folder) == records(finished)
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert b"heldout_loss_boolean" in file.read_bytes()


def test_the_threads_of_a_process_are_its_own_again_after_a_run() -> None:
    before = torch.get_num_threads()
    with join_ranks("cpu", before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_runs_of_all_seeds_are_measured_on_the_same_rows(
    pre: Path, finished: Path, tmp_path: Path
) -> None:
    other = run(small_run(pre, tmp_path / "other", seed=5, trainer__steps=1))
    rows = run(small_run(pre, tmp_path / "rows", data__heldout_seed=5, trainer__steps=1))
    first, same, changed = (read_metrics(folder)[0] for folder in (finished, other, rows))
    assert same["constant_loss"] == first["constant_loss"]
    assert same["heldout_loss"] != first["heldout_loss"]
    assert changed["constant_loss"] != first["constant_loss"]


def test_parameters_are_a_function_of_the_seed(pre: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    one, again, other = (
        build_model(small_run(pre, tmp_path, seed=seed), 64).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "blocks.0.ffn.w1.weight"
    assert torch.equal(one[name], again[name])
    assert not torch.equal(one[name], other[name])


def test_heldout_loss_of_ranks_adds_up_exactly(pre: Path, tmp_path: Path) -> None:
    config = small_run(pre, tmp_path, data__heldout_tasks=4)
    corpus = open_corpus(config.data)
    trainer = Trainer(config, corpus, Ranks(), Run(tmp_path, small_config(pre, tmp_path), {}), None)
    whole = trainer.heldout.evaluate(trainer.model, Ranks(), "fp32")

    class Half(Ranks):
        """One of two ranks; what it would send."""

        def total(self, values: torch.Tensor) -> torch.Tensor:
            sent.append(values)
            return values

    sent: list[torch.Tensor] = []
    for rank in (0, 1):
        trainer.heldout.evaluate(trainer.model, Half(rank, 2), "fp32")
    one = trainer.heldout.evaluate(trainer.model, Gathered(sent), "fp32")
    assert one == whole


class Gathered(Ranks):
    """A rank that receives the sum of what others sent."""

    def __init__(self, sent: list[torch.Tensor]) -> None:
        super().__init__()
        object.__setattr__(self, "sent", sent)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return self.sent[0] + self.sent[1]  # type: ignore[attr-defined]


def test_a_step_that_is_saved_is_not_saved_again(pre: Path, tmp_path: Path) -> None:
    """In between there would be no checkpoint, and `latest` would name it."""
    config = small_run(pre, tmp_path / "run")
    trainer = Trainer(config, open_corpus(config.data), Ranks(), Run(tmp_path, {}, {}), None)
    file = tmp_path / "latest"
    for step, saves in ((1, 2), (2, 1)):
        trainer.step = step
        trainer.save()
        before = checkpoint.find_checkpoint(tmp_path).stat(), file.stat()
        assert file.read_text() == f"step_{step}\n"
        for _ in range(saves):
            trainer.save()
        assert (checkpoint.find_checkpoint(tmp_path).stat(), file.stat()) == before


def test_a_quota_of_cores_is_kept(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    for text, expected in (("max 100000", cores), ("100000 100000", 1), ("50000 100000", 1)):
        quota.write_text(text + "\n")
        assert usable_cores(quota) == expected
    assert usable_cores(tmp_path / "none") == cores


def test_smoothing_keeps_a_line_and_its_ends() -> None:
    import numpy as np

    line = np.arange(10.0)
    assert smooth(line, 1).tolist() == line.tolist()
    assert smooth(line, 3)[1:-1] == pytest.approx(line[1:-1])
    assert smooth(line, 3)[0] == 0.5
