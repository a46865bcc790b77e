"""Several runs by one command: one after the other under torchrun, and as jobs through submitit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_stores import overrides, small_config, small_run, write_stores

from rt.logs import read_metrics
from rt.train import run

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "scripts/synthetic_pretrain.py")
TIMEOUT = 300
NAMES = ("steps=2", "steps=4", "steps=3")
"""In the order in which they run."""


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed; it must end with status 0."""
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    return out


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it has started: torchrun's have sessions of their own."""
    try:
        every = [*psutil.Process(process.pid).children(recursive=True), process]
    except psutil.NoSuchProcess:
        every = [process]
    for one in every:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("sweep"), 3)


def sweep(pre: Path, folder: Path, *more: str) -> list[str]:
    """The arguments of a sweep over numbers of steps."""
    settings = small_config(pre, folder)
    del settings["trainer"]["steps"]
    settings["trainer"] |= {"eval_every": 2, "save_every": 1}
    return ["--multirun", *overrides(settings), "trainer.steps=2,4,3", *more]


@pytest.fixture(scope="module")
def jobs(pre: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A sweep through submitit's local executor, two processes a run, started early."""
    folder = tmp_path_factory.mktemp("jobs")
    launcher = {
        "tasks_per_node": 2, "cpus_per_task": 1, "timeout_min": 5,
        "submitit_folder": folder / ".submitit",
    }  # fmt: skip
    more = [f"hydra.launcher.{key}={value}" for key, value in launcher.items()]
    words = sweep(pre, folder, "hydra/launcher=submitit_local", *more)
    words = [word.replace("steps=2,4,3", "steps=2,4") for word in words]
    process = start([sys.executable, SCRIPT, *words])
    yield process, folder
    kill(process)


def results(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "training.json").read_text())["heldout"]


def losses(folder: Path, name: str) -> list[float]:
    return [record["loss"] for record in read_metrics(folder / name) if "loss" in record]


def test_a_sweep_that_is_killed_goes_on_where_it_was(pre: Path, jobs: Any, tmp_path: Path) -> None:
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    command = [torchrun, "--standalone", "--nproc_per_node=2", SCRIPT, *sweep(pre, tmp_path)]
    process = start(command)
    first, second = (tmp_path / name for name in NAMES[:2])
    while not (second / "latest").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    assert first / "training.json" in before
    out = finish(start(command))
    assert f"{first}: this run is finished after 2 steps" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(NAMES)
    alone = run(small_run(
        pre, tmp_path / "alone", trainer__steps=4, trainer__eval_every=2, trainer__save_every=1
    ))  # fmt: skip
    assert losses(tmp_path, NAMES[1]) == pytest.approx(losses(tmp_path, alone.name), rel=1e-4)
    assert len(losses(tmp_path, NAMES[2])) == 3


def test_a_sweep_runs_as_jobs(pre: Path, jobs: Any, tmp_path: Path) -> None:
    process, folder = jobs
    finish(process)
    names = {path.name for path in folder.iterdir() if path.is_dir()} - {".submitit"}
    assert names == {"steps=2", "steps=4"}
    for name in names:
        assert json.loads((folder / name / "run.json").read_text())["ranks"] == 2
        assert results(folder, name)
    assert len(losses(folder, "steps=4")) == 4


def test_a_sweep_that_is_told_to_stop_starts_no_other_run(pre: Path, tmp_path: Path) -> None:
    words = [
        w.replace("trainer.steps=2,4,3", "trainer.steps=100000,4") for w in sweep(pre, tmp_path)
    ]
    process = start([sys.executable, SCRIPT, *words])
    first = tmp_path / "steps=100000"
    while not (first / "latest").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out = finish(process)
    assert "SIGTERM: saved after step" in out
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [first.name]
