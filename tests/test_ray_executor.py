"""The same corpus through Ray, on a small cluster of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from raw_folders import listing

from plurel.config import Config
from plurel.corpus import generate_corpus
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError

SCRIPT = Path(__file__).parents[1] / "scripts" / "synthetic_gen.py"
OVERRIDES = [
    "database_params.num_tables_choices={kind: range, value: [2, 4]}",
    "database_params.num_rows_entity_table_choices={kind: range, value: [20, 40]}",
    "database_params.num_rows_activity_table_choices={kind: range, value: [100, 200]}",
    "database_params.num_cols_choices={kind: range, value: [2, 5]}",
]
CONFIG = Config().overridden(OVERRIDES)


def test_the_same_bytes_and_one_failing_seed(tmp_path: Path) -> None:
    """By the script, in a process of its own, so that nothing of Ray stays in this one."""
    pytest.importorskip("ray", reason="Ray (extra ray) is not installed")
    out = tmp_path / "out"
    (out / "rel-synthetic-3").mkdir(parents=True)
    (out / "rel-synthetic-3" / "notes.txt").write_text("mine")
    sets = [word for override in OVERRIDES for word in ("--set", override)]
    command = [sys.executable, str(SCRIPT), "--seed_offset", "2", "--num_dbs", "3", *sets]
    command += ["--executor", "ray", "--num_proc", "2", "--out", "out"]  # a relative path
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if "timed out during startup" in done.stderr:
        pytest.skip("Ray gives itself 30 s to start, and this machine is too busy for that")
    assert done.returncode == 1, done.stderr
    assert "2 databases generated" in done.stdout
    assert "1 failed" in done.stdout
    assert "generate: 100%" in done.stderr
    assert "Warning" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: these seeds failed: 3 (seed 3: ")
    assert "holds no manifest.yaml" in last
    for seed in (2, 4):
        here = tmp_path / "here" / f"rel-synthetic-{seed}"
        SyntheticDataset(seed, CONFIG).save(here)
        assert listing(out / here.name) == listing(here)
    assert sorted(path.name for path in out.iterdir()) == [f"rel-synthetic-{s}" for s in (2, 3, 4)]


def test_an_address_without_a_cluster_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray (extra ray) is not installed")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=f"RAY_ADDRESS={address}: no Ray cluster there"):
            generate_corpus([2], CONFIG, tmp_path, executor="ray")


def test_nothing_to_do_starts_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    SyntheticDataset(2, CONFIG).save(tmp_path / "rel-synthetic-2")
    assert generate_corpus([2], CONFIG, tmp_path, executor="ray").skipped == [2]


def test_ray_that_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray, which is missing; run: pip install ray"):
        generate_corpus([2], CONFIG, tmp_path, executor="ray")
    assert list(tmp_path.iterdir()) == []
