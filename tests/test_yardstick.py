"""Runs compared on real databases: what is a run's figure, which runs belong together."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from plurel.errors import InputError
from rt.yardstick import compare, format_arms, read_arms

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("a/one", "a/two", "b/one", "c/one")
BASE = {"a/one": 0.6, "a/two": 0.5, "b/one": 0.7, "c/one": 0.4}


def _write(folder: Path, seed: int, lift: dict[str, float], **changes) -> Path:
    """A finished run whose tasks have these lifts; c/one is a regression."""
    folder.mkdir(parents=True)
    config = {
        "seed": seed, "optim": {"lr": 1e-3}, "trainer": {"run_dir": str(folder)},
        "evaluation": {"protocol": "rolling", "max_rows": 100, "root": ["x"]},
    }  # fmt: skip
    for key, value in changes.items():
        group, name = key.split("__")
        config[group][name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text(json.dumps({"seed": seed}))

    def metrics(skills):
        return {
            task: {"nmae": 1 - skill, "mae": 3.0} if task == "c/one" else {"auroc": skill}
            for task, skill in skills.items()
        }

    scores = {
        "best": {"tasks": metrics({task: BASE[task] + lift[task] for task in lift})},
        "context_own": {"tasks": metrics({task: BASE[task] for task in lift})},
    }
    result = {"tokens": 2_000_000, "heldout": {"loss": {"end": 0.5}}, "scores": {"val": scores}}
    (folder / "training.json").write_text(json.dumps(result))
    return folder


def _lift(*values: float) -> dict[str, float]:
    return dict(zip(TASKS, values, strict=True))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    _write(tmp_path / "r0", 0, _lift(0.10, 0.00, 0.02, -0.01))
    _write(tmp_path / "r1", 1, _lift(0.00, 0.02, 0.04, -0.03))
    _write(tmp_path / "s0", 0, _lift(0.15, 0.05, 0.13, 0.08), optim__lr=3e-3)
    _write(tmp_path / "s1", 1, _lift(0.05, 0.07, 0.13, 0.08), optim__lr=3e-3)
    return tmp_path


def test_lifts_are_means_over_databases_of_means_over_tasks(runs):
    first, second = compare(read_arms([runs]))
    assert (first["arm"], second["arm"]) == ("optim.lr=0.001", "optim.lr=0.003")
    # by database: a (0.05 + 0.01) / 2, b 0.03, c -0.02
    assert first["lift"]["value"] == pytest.approx((0.03 + 0.03 - 0.02) / 3)
    assert first["spread"] == pytest.approx([(0.05 + 0.02 - 0.01) / 3, (0.01 + 0.04 - 0.03) / 3])
    assert second["lift"]["value"] == pytest.approx((0.08 + 0.13 + 0.08) / 3)
    assert second["by_task"]["c/one"] == pytest.approx(0.08)
    assert first["by_task"]["a/one"] == pytest.approx(0.05)
    assert (first["better"], first["tasks"], first["tokens"]) == (3, 4, 2e6)
    assert first["skill"] == pytest.approx((0.55 + 0.7 + 0.4) / 3 + first["lift"]["value"])
    assert "of 4" in format_arms([first, second])


def test_a_gain_is_paired_by_database(runs):
    """Gains of 0.05, 0.1 and 0.1 are certain, although the lifts themselves differ much."""
    first, second = compare(read_arms([runs]))
    assert first["gain"] is None
    gain = second["gain"]
    assert gain["value"] == pytest.approx((0.05 + 0.10 + 0.10) / 3)
    assert (gain["low"], gain["high"]) == pytest.approx((0.05, 0.10))
    assert first["lift"]["low"] == pytest.approx(-0.02)
    values = np.array([0.03, 0.03, -0.02])
    share = np.mean(np.random.default_rng(0).choice(values, (9999, 3)).mean(1) <= -0.02)
    assert share > 0.025  # so that the interval begins at the lowest


def test_seeds_and_places_make_no_arms(tmp_path):
    _write(tmp_path / "a" / "x", 0, _lift(0, 0, 0, 0))
    _write(tmp_path / "b" / "y", 1, _lift(0, 0, 0, 0))
    (arm,) = read_arms([tmp_path])
    assert (arm.name, len(arm.folders)) == ("all alike", 2)


def test_an_unfinished_run_is_left_out(runs):
    (runs / "s1" / "training.json").unlink()
    assert [len(arm.folders) for arm in read_arms([runs])] == [2, 1]


def test_what_cannot_be_compared_is_refused(tmp_path):
    first = _write(tmp_path / "one", 0, _lift(0, 0, 0, 0))
    other = _write(tmp_path / "two", 0, {"a/one": 0.1})
    with pytest.raises(InputError, match=r"one and .*two scored different real tasks"):
        read_arms([first, other])
    rows = _write(tmp_path / "three", 0, _lift(0, 0, 0, 0), evaluation__max_rows=5)
    with pytest.raises(InputError, match=r"evaluation.max_rows = 100 but .*three has 5"):
        read_arms([first, rows])
    with pytest.raises(InputError, match=r"no scores on real tasks \(test\)"):
        read_arms([first], "test")
    content = json.loads((first / "training.json").read_text())
    del content["scores"]["val"]["context_own"]
    (first / "training.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="has no scores of context_own"):
        read_arms([first])
    (rows / "training.json").unlink()
    with pytest.raises(InputError, match="no finished run in"):
        read_arms([rows])


def test_the_command_prints_arms_and_tasks(runs):
    out = runs / "result.json"
    done = subprocess.run(
        [sys.executable, "scripts/compare_runs.py", runs, "--by_task", "--out", out],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert "optim.lr=0.003" in done.stdout
    assert "c/one  -0.0200         +0.0800" in done.stdout
    assert [entry["arm"] for entry in json.loads(out.read_text())] == [
        "optim.lr=0.001", "optim.lr=0.003",
    ]  # fmt: skip
