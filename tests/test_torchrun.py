"""The command itself: torchrun with one and two processes, killed and started again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from small_stores import overrides, small_config, small_run, write_stores

from rt import checkpoint
from rt.logs import read_metrics
from rt.train import run

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts/synthetic_pretrain.py"
TIMEOUT = 300


def torchrun(ranks: int, *arguments: str) -> list[str]:
    program = str(Path(sys.executable).with_name("torchrun"))
    return [program, "--standalone", f"--nproc_per_node={ranks}", str(SCRIPT), *arguments]


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed; it must end with status 0."""
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    return out


def values(folder: Path, name: str) -> list[float]:
    return [record[name] for record in read_metrics(folder) if name in record]


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("torchrun"), 3)


def config(pre: Path, run_dir: Path, **trainer: Any) -> list[str]:
    settings = small_config(pre, run_dir)
    settings["trainer"] |= trainer
    return overrides(settings)


class Started(NamedTuple):
    """A command that runs while others do, and its run's folder."""

    process: subprocess.Popen[str]
    folder: Path


@pytest.fixture(scope="module")
def started(pre: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Started]]:
    """The slow starts of all tests, side by side."""
    root = tmp_path_factory.mktemp("runs")
    commands = {
        "one": torchrun(1, *config(pre, root / "one")),
        "two": torchrun(2, *config(pre, root / "two"), "data.num_workers=1"),
        "shards": torchrun(
            2,
            *config(pre, root / "shards", micro_batches=2, sharding="full"),
            "optim.ema_decay=0.5",
            "data.heldout_rows=3",
        ),
        "wrong": torchrun(1, *config(pre, root / "wrong"), "+trainer.stpes=3"),
    }
    every = {name: Started(start(command), root / name) for name, command in commands.items()}
    yield every
    for one in every.values():
        one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="module")
def one_rank(started: dict[str, Started]) -> Path:
    out = finish(started["one"].process)
    folder = started["one"].folder
    assert "held-out loss" in out
    assert str(folder) in out
    return folder


def test_two_ranks_train_like_one(started: dict[str, Started], one_rank: Path) -> None:
    finish(started["two"].process)
    two = started["two"].folder
    for name in ("tokens", "slots", "step"):
        assert values(two, name) == values(one_rank, name)
    for name in ("loss", "grad_norm", "heldout_loss", "heldout_loss_boolean"):
        assert values(two, name) == pytest.approx(values(one_rank, name), rel=1e-4)
    one, other = (checkpoint.load_model(folder).state_dict() for folder in (one_rank, two))
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=1e-3, atol=1e-5), name


def test_shards_train_like_whole_models_and_their_checkpoints_are_whole(
    pre: Path, started: dict[str, Started], tmp_path: Path
) -> None:
    finish(started["shards"].process)
    shards = started["shards"].folder
    plain = {"optim__ema_decay": 0.5, "data__heldout_rows": 3, "trainer__micro_batches": 2}
    alone = run(small_run(pre, tmp_path / "alone", **plain))
    for name in ("loss", "grad_norm", "heldout_loss", "ema_heldout_loss", "tokens"):
        assert values(shards, name) == pytest.approx(values(alone, name), rel=1e-4)
    one, other = (checkpoint.load_model(folder).state_dict() for folder in (alone, shards))
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=1e-3, atol=1e-5), name
    # without shards, on from the middle of a run with them
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    (copy / "training.json").unlink()
    (copy / "latest").write_text("step_4\n")
    run(small_run(pre, copy, **plain))
    assert values(copy, "loss") == pytest.approx(values(alone, "loss"), rel=1e-4)


def test_a_wrong_override_ends_in_one_clear_line(started: dict[str, Started]) -> None:
    process, folder = started["wrong"]
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    line = "error: trainer.stpes is not known: did you mean trainer.steps?"
    ours, _, report = err.partition(f"{line}\n")
    assert "Error executing job" not in err
    assert "Traceback" not in ours
    # what follows is torchrun's own report: it ends with the line, above a border
    assert report.rstrip("=\n").endswith(line)
    assert not folder.exists()


def test_killed_and_started_again_a_run_has_the_same_losses(
    pre: Path, one_rank: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    process = start([sys.executable, str(SCRIPT), *config(pre, folder), "data.num_workers=1"])
    # once `latest` is there the second start continues; before, it would begin anew
    while not (folder / "latest").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=TIMEOUT)
    assert not (folder / "training.json").exists()
    run(small_run(pre, folder))
    assert (folder / "training.json").exists()
    for name in ("step", "loss", "grad_norm", "heldout_loss"):
        assert values(folder, name) == values(one_rank, name)
    one, other = (checkpoint.load_model(path).state_dict() for path in (one_rank, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)
