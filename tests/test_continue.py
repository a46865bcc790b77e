"""Stopped and continued, a run is the one that was never stopped, bit by bit, for every optimiser,
schedule and weight average; so is one that validation ends early."""

import json
import math
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stores import records, small_run, write_stores

from rt import checkpoint, runs
from rt.early_stopping import EarlyStopping
from rt.loader import BatchStream
from rt.logs import read_metrics
from rt.ranks import Ranks
from rt.train import run


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    # it takes longer than the run
    monkeypatch.setattr("rt.plots.plot_losses", lambda *_, **__: None)


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("continue"), 3)


@contextmanager
def stopped_in(step: int) -> Iterator[None]:
    """Runs in here are told to stop while they prepare the batch of a step."""
    item = BatchStream.item

    def item_and_signal(self: BatchStream, position: int) -> Any:
        if position == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return item(self, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchStream, "item", item_and_signal)
        yield


def state_of(folder: Path) -> dict[str, Any]:
    """All that the last checkpoint holds, tensors as bytes, without clock and paths."""
    state = checkpoint.load_trainer(folder)
    assert state.pop("config")
    assert state.pop("window")
    return plain(state | {"model": checkpoint.load_model(folder).state_dict()})


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("optimizer", "schedule", "ema_decay"),
    [
        ("adamw", "one_cycle", 0.9),
        ("adamw", "warmup_stable_decay", None),
        ("adamw", "constant", 0.9),
        ("muon", "one_cycle", None),
        ("muon", "warmup_stable_decay", 0.9),
        ("muon", "constant", None),
    ],
)
def test_a_continued_run_has_the_same_bits(
    pre: Path, tmp_path: Path, optimizer: str, schedule: str, ema_decay: float | None
) -> None:
    changes = {
        "optim__name": optimizer,
        "optim__schedule": schedule,
        "optim__ema_decay": ema_decay,
        "trainer__eval_every": 5,
    }
    whole = run(small_run(pre, tmp_path / "whole", **changes))
    config = small_run(pre, tmp_path / "stopped", **changes)
    with stopped_in(step=3):
        folder = run(config)
    stopped = checkpoint.find_checkpoint(folder)
    assert stopped.name == "step_3"
    assert state_of(folder) != state_of(whole)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)  # another process has another state
        run(config)
    assert state_of(folder) == state_of(whole)
    assert records(folder) == records(whole)


def test_a_run_says_which_sources_made_which_steps(
    pre: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(pre, tmp_path / "run")

    def goes_on(revision: str, step: int | None = None) -> list[Any]:
        monkeypatch.setattr(runs, "git_revision", lambda: revision)
        with stopped_in(step) if step else nullcontext():
            folder = run(config)
        facts = json.loads((folder / "run.json").read_text())
        return [(one["from_step"], one["git_revision"]) for one in facts["revisions"]]

    assert goes_on("aa", 2) == [(0, "aa")]
    assert goes_on("aa", 3) == [(0, "aa")]
    assert goes_on("bb", 4) == [(0, "aa"), (3, "bb")]
    file = tmp_path / "run" / "run.json"
    facts = json.loads(file.read_text())
    del facts["revisions"]  # as older versions wrote it
    file.write_text(json.dumps(facts | {"git_revision": "old"}))
    assert goes_on("cc") == [(None, "old"), (4, "cc")]


def test_a_run_says_where_it_began_when_that_has_gone(pre: Path, tmp_path: Path) -> None:
    first = run(small_run(pre, tmp_path / "first", trainer__steps=2))
    config = small_run(pre, tmp_path / "second", load_ckpt_path=str(first))
    with stopped_in(step=3):
        folder = run(config)
    began = json.loads((folder / "run.json").read_text())["start"]
    assert began["checkpoint"] == "step_2"
    shutil.rmtree(first)
    run(config)
    assert json.loads((folder / "run.json").read_text())["start"] == began


def test_a_signal_that_comes_too_late_still_ends_a_sweep_on_every_rank(
    pre: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(pre, tmp_path / "run", trainer__steps=1)
    told: list[str] = []
    run(config, told)
    assert told == []

    def of_two(self: Ranks, values: list[float]) -> torch.Tensor:
        return torch.tensor([values, [1.0]])

    monkeypatch.setattr(Ranks, "gather", of_two)
    run(config, told)
    assert told == ["a signal to another rank"]
    assert Ranks().others(["SIGTERM"]) == []


@pytest.fixture(scope="module")
def ended(pre: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose loss never falls by more than `min_delta` after its first evaluation, step 2."""
    return run(patient(pre, tmp_path_factory.mktemp("ended") / "run"))


def patient(pre: Path, folder: Path, **changes: Any) -> Any:
    values = {
        "trainer__steps": 12,
        "trainer__eval_every": 2,
        "trainer__patience": 2,
        "trainer__min_delta": 10.0,
        "logger__every": 4,
    }
    return small_run(pre, folder, **values | changes)


def test_a_run_that_ends_early_says_so(ended: Path) -> None:
    assert checkpoint.find_checkpoint(ended).name == "step_6"
    assert [r["step"] for r in read_metrics(ended) if "loss" in r] == [4, 6]
    last = read_metrics(ended)[-1]
    result = json.loads((ended / "training.json").read_text())
    assert last["stopped_early"] is result["stopped_early"] is True
    assert last["step"] == result["steps"] == 6
    # `best` is the lowest loss, whatever `min_delta` counts as progress
    heldout = {r["step"]: r["heldout_loss"] for r in read_metrics(ended) if "heldout_loss" in r}
    assert list(heldout) == [0, 2, 4, 6]
    best = min((2, 4, 6), key=heldout.__getitem__)
    assert last["best_step"] == result["best_step"] == best
    assert checkpoint.find_checkpoint(ended, "best").name == f"step_{best}"


def test_a_run_that_ended_early_stays_ended(
    pre: Path, ended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (ended / "metrics.jsonl").read_bytes()
    run(patient(pre, ended))
    assert "this run is finished after 6 steps, stopped early" in capsys.readouterr().out
    assert (ended / "metrics.jsonl").read_bytes() == before
    # as after a kill between the last checkpoint and the summary
    (ended / "training.json").unlink()
    run(patient(pre, ended))
    assert "stopped early; the best evaluation was that of step" in capsys.readouterr().out


def test_a_kill_before_the_best_checkpoint_was_named_is_mended(
    pre: Path, ended: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ended, folder)
    (folder / "training.json").unlink()
    (folder / "best").unlink()
    run(patient(pre, folder))
    assert (folder / "best").read_text() == (ended / "best").read_text()


def test_patience_goes_on_where_it_was(pre: Path, ended: Path, tmp_path: Path) -> None:
    with stopped_in(step=5):
        folder = run(patient(pre, tmp_path / "run"))
    assert checkpoint.load_trainer(folder)["early_stopping"]["waited"] == 1
    run(patient(pre, folder))
    assert state_of(folder) == state_of(ended)
    assert records(folder) == records(ended)


def test_a_run_that_gets_better_or_has_no_patience_goes_on(pre: Path, tmp_path: Path) -> None:
    for name, changes in (
        ("better", {"trainer__patience": 6}),
        ("endless", {"trainer__patience": None}),
    ):
        folder = run(patient(pre, tmp_path / name, **changes))
        assert checkpoint.find_checkpoint(folder).name == "step_12"
        assert not json.loads((folder / "training.json").read_text())["stopped_early"]
        assert not any("stopped_early" in record for record in read_metrics(folder))


def test_small_steps_add_up_to_progress() -> None:
    stopping = EarlyStopping(patience=3, min_delta=0.1)
    for loss, waited in ((1.0, 0), (0.95, 1), (0.91, 2), (0.89, 0), (0.8, 1), (math.nan, 2)):
        stopping.add(loss)
        assert stopping.waited == waited
        assert not stopping.due
    stopping.add(0.79)
    assert stopping.due
    assert EarlyStopping(3, 0.1, **stopping.state()) == stopping  # type: ignore[arg-type]
