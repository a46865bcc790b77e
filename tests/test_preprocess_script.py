"""scripts/preprocess.py, started as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opened_store import shop

from rt.store import open_meta

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "preprocess.py"


def run(*arguments: str | Path | int, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | environment,
    )


def test_stores_of_two_databases_in_two_processes(tmp_path: Path) -> None:
    raw = [shop(tmp_path / name) for name in ("a", "b")]
    done = run(*raw, "--out", tmp_path / "pre", "--embedder", "hash", "--num_proc", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "a: 11 rows, 20 cells, 9 edges, 1 dangling keys, 1 tasks"
    assert any(line.startswith("22 rows tokenised in ") for line in lines)
    for name in ("a", "b"):
        assert open_meta(tmp_path / "pre" / name).num_rows == 11
        assert (tmp_path / "pre" / name / "text.hash.safetensors").is_file()


def test_bad_input_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", "--out", tmp_path / "pre", "--embedder", "hash")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "nowhere" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "pre").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_which_of_the_databases_is_bad(tmp_path: Path, processes: int) -> None:
    good, bad = shop(tmp_path / "a"), shop(tmp_path / "b")
    users = pq.read_table(bad / "db" / "users.parquet")
    pq.write_table(users.set_column(0, "uid", pa.array([1, 2, 1])), bad / "db" / "users.parquet")
    options = ("--out", tmp_path / "pre", "--embedder", "hash", "--num_proc", processes)
    done = run(good, bad, *options)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"error: {bad}: users.uid: the primary key 1 occurs twice; make keys unique"


def test_an_embedder_that_cannot_be_fetched_ends_it_before_any_work(tmp_path: Path) -> None:
    raw = shop(tmp_path / "a")
    options = (raw, "--out", tmp_path / "pre", "--embedder", "all-MiniLM-L12-v2")
    place = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = run(*options, **place)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: embedder all-MiniLM-L12-v2: ")
    assert not (tmp_path / "pre").exists()
