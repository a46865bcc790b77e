"""Preprocessing holds a few columns at a time, and what a killed run leaves is no store."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_folders import listing, write_folder
from relbench.manifest import TableSpec

from plurel import spill
from plurel.errors import InputError
from rt import edges, keys, records, work
from rt import raw as raw_files
from rt.store import open_meta, write_store

PEAK = """
import sys
from pathlib import Path
from rt.store import write_store

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

small, large, out = map(Path, sys.argv[1:])
write_store(small, out / "small")
before = peak()
write_store(large, out / "large", threads=2)
print(peak() - before)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
import plurel.spill
from rt import files
from rt.store import write_store

plurel.spill.LARGE_BYTES = 1
append = files.ArrayFile.append

def die(self, name, piece):
    append(self, name, piece)
    if name == "records":
        os.kill(os.getpid(), signal.SIGKILL)

files.ArrayFile.append = die
write_store(Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
"""


def events(folder: Path, rows: int, columns: int = 12) -> Path:
    """A table of numbers with times out of order and nulls, which references another."""
    generator = np.random.default_rng(5)
    numbers = generator.normal(size=(columns, rows))
    numbers[:, ::10] = np.nan
    users = max(1, rows // 10)
    table = {
        "user": generator.integers(0, users, rows),
        "day": pa.array(generator.integers(0, 10**9, rows), pa.timestamp("s")),
        **{f"x{i}": column for i, column in enumerate(numbers)},
    }
    tables = {
        "users": ({"id": np.arange(users)}, TableSpec("id")),
        "events": (table, TableSpec(time_col="day", fkeys={"user": "users"})),
    }
    return write_folder(folder, tables)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_below_the_size_of_the_input(tmp_path: Path) -> None:
    small, large = events(tmp_path / "s", 1000), events(tmp_path / "l", 1_200_000)
    size = sum(pq.read_table(file).nbytes for file in large.glob("db/*.parquet"))
    command = [sys.executable, "-c", PEAK, small, large, tmp_path]
    peak = int(subprocess.check_output(command, text=True))
    # 1.1 when this was written; 2.1 with all cells in memory
    assert peak < 1.5 * size


def test_a_run_killed_while_it_writes_leaves_no_store(tmp_path: Path) -> None:
    raw, pre = events(tmp_path / "raw", 1000), tmp_path / "out" / "pre"
    killed = subprocess.run([sys.executable, "-c", KILLED, raw, pre], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in pre.parent.iterdir()] == [".pre.partial"]
    assert (pre.parent / ".pre.partial" / "store.safetensors").stat().st_size > 0
    with pytest.raises(InputError, match="not a store"):
        open_meta(pre)
    write_store(raw, pre)
    assert list(pre.parent.iterdir()) == [pre]
    assert listing(pre) == listing(write_store(raw, tmp_path / "whole"))


def test_a_run_killed_while_it_replaces_a_store_leaves_the_old_one(tmp_path: Path) -> None:
    pre = write_store(events(tmp_path / "old", 500), tmp_path / "pre")
    before = listing(pre)
    raw = events(tmp_path / "new", 1000)
    assert subprocess.run([sys.executable, "-c", KILLED, raw, pre], check=False).returncode < 0
    assert listing(pre) == before
    write_store(raw, pre, overwrite=True)
    assert open_meta(pre).name == "new"


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_files_change_nothing(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = events(tmp_path / "raw", 3000)
    whole = listing(write_store(raw, tmp_path / "a", threads=2))
    for module, name, value in (
        (spill, "LARGE_BYTES", 1),
        (edges, "_RANGE_EDGES", 7),
        (edges, "_BLOCK_ROWS", 64),
        (records, "_BLOCK_CELLS", 100),
        (keys, "_BLOCK", 50),
        (raw_files, "_BLOCK_ROWS", 70),
    ):
        monkeypatch.setattr(module, name, value)
    assert listing(write_store(raw, tmp_path / "b", threads=threads)) == whole


def test_the_bar_ends_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves: list[int] = []
    totals: list[int] = []
    monkeypatch.setattr(work.Progress, "half", lambda self, cells: halves.append(cells))
    monkeypatch.setattr(work.Progress, "expect", lambda self, cells: totals.append(cells))
    store = write_store(events(tmp_path / "raw", 1000, columns=3), tmp_path / "pre")
    # 1,000 rows of a date and three numbers, of which every tenth row has none
    assert totals == [4000, 3850]
    assert sum(halves) // 2 == totals[-1]
    assert open_meta(store).num_cells == 3700
