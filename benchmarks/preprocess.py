"""Preprocessing without text embedding, each database in a process of its own, on all cores.

    python benchmarks/preprocess.py [--rows 10000 1000000] [--cache DIR] [--repeat 3] [--gib 9]

Generated databases of 8 tables, `numeric` (numbers and dates only) of each size and `mixed` (the
default config's numbers and categories) of the largest, and the flights; kept in the cache and
made once. Cells are those of the store: features and labels that are not null.

seconds: the fastest run of some; cpu: its processor seconds, which other programs disturb less.
input: the buffers of all tables as Arrow reads them, strings dictionary-encoded; pandas: the same
tables as pandas frames, deep. peak: largest resident memory; imports: before anything was read.
peak_ratio: peak, less imports, to input. size_ratio: store to Parquet files, labels included.

With --gib, instead: one made-up database of so many GiB in memory, whose events (ten numbers, a
time and a user) follow no model, so that making it takes less time than preprocessing it.

The last line is about the largest numeric database, flights_... about the flights.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _report import finish, peak_mib, print_table
from relbench.manifest import DatasetManifest, TableSpec

from plurel.paths import raw_dir
from rt.meta import open_meta

EVENT_NUMBERS, GROUP_ROWS = 10, 1 << 20
EVENT_BYTES = (3 + EVENT_NUMBERS) * 8
ENTITY, ACTIVITY = 1, 5
"""Rows of a table of each kind, as shares: the default config's are 750 and 3,500 on average."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--cache", type=Path, default=raw_dir(), help="where databases are kept")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--gib", type=float, help="preprocess one made-up database of this size")
    parser.add_argument("--single", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.single:
        print(json.dumps(preprocess(*args.single)))
        return
    if args.gib:
        large(args.cache, args.gib)
        return
    largest = max(args.rows)
    folders = [generated(args.cache, "numeric", rows) for rows in sorted(args.rows)]
    folders += [generated(args.cache, "mixed", largest), flights(args.cache)]
    found = {folder.name: measure(folder, args.cache, args.repeat) for folder in folders}
    keys = list(next(iter(found.values())))
    print_table(("database", *keys), [(name, *found[name].values()) for name in found])
    numeric, others = found[folders[len(args.rows) - 1].name], found[folders[-1].name]
    names = ("rows_per_s", "cells_per_s", "peak_ratio", "size_ratio")
    finish(
        **{name: numeric[name] for name in names},
        **{f"flights_{name}": others[name] for name in names},
        mixed_size_ratio=found[folders[-2].name]["size_ratio"],
        peak_mib=numeric["peak"],
    )


def generated(cache: Path, kind: str, rows: int) -> Path:
    """A database of 8 tables and about so many rows."""
    from plurel import Config, SyntheticDataset  # not in the processes whose memory is measured

    def config(unit: int) -> Config:
        params = "database_params.num_rows"
        kinds = "[numerical]" if kind == "numeric" else "[numerical, categorical]"
        return Config().overridden(
            [
                "database_params.num_tables_choices.value=[8, 8]",
                f"{params}_entity_table_choices.value=[{ENTITY * unit}, {ENTITY * unit}]",
                f"{params}_activity_table_choices.value=[{ACTIVITY * unit}, {ACTIVITY * unit}]",
                f"scm_params.col_stype_choices.value={kinds}",
            ]
        )

    folder = cache / f"bench-{kind}-{rows}"
    if not folder.exists():
        print(f"generating {folder}", file=sys.stderr)
        shares = sum(
            table.num_rows for table in SyntheticDataset(0, config(1)).make_schema().tables
        )
        SyntheticDataset(0, config(max(1, rows // shares))).save(folder)
    return folder


def large(cache: Path, gib: float) -> None:
    """Makes a database of this size, preprocesses it once, and removes both."""
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        raw, store = Path(temporary) / "large", Path(temporary) / "store"
        made_up(raw, int(gib * 2**30) // EVENT_BYTES)
        command = [sys.executable, __file__, "--single", str(raw), str(store)]
        run = json.loads(subprocess.check_output(command))
        meta, files = open_meta(store), list(raw.glob("db/*.parquet"))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        finish(
            rows=meta.num_rows,
            cells=meta.num_cells,
            share_of_memory=gib * 2**30 / memory,
            seconds=run["seconds"],
            rows_per_s=meta.num_rows / run["seconds"],
            cells_per_s=meta.num_cells / run["seconds"],
            peak_mib=run["peak"],
            peak_ratio=(run["peak"] - run["imports"]) / (gib * 2**10),
            size_ratio=size(store.iterdir()) / size(files),
        )


def made_up(folder: Path, num_rows: int) -> None:
    """Events of a hundredth as many users, out of order in time; every twentieth number is null."""
    rng = np.random.default_rng(0)
    users = max(1, num_rows // 100)
    (folder / "db").mkdir(parents=True)
    pq.write_table(pa.table({"user": np.arange(users)}), folder / "db" / "users.parquet")
    names = [f"x{i}" for i in range(EVENT_NUMBERS)]
    types = {"event": pa.int64(), "user": pa.int64(), "at": pa.timestamp("s")}
    schema = pa.schema(types | dict.fromkeys(names, pa.float64()))
    with pq.ParquetWriter(folder / "db" / "events.parquet", schema) as writer:
        for start in range(0, num_rows, GROUP_ROWS):
            count = min(GROUP_ROWS, num_rows - start)
            columns = [
                pa.array(np.arange(start, start + count)),
                pa.array(rng.integers(0, users, count)),
                pa.array(rng.integers(0, 10**9, count), pa.timestamp("s")),
            ]
            for _ in names:
                values = rng.standard_normal(count, np.float32).astype(np.float64)
                columns.append(pa.array(values, mask=rng.random(count, np.float32) < 0.05))
            writer.write_table(pa.table(columns, schema))
    tables = {
        "users": TableSpec("user"),
        "events": TableSpec("event", "at", {"user": "users"}),
    }
    times = {"val_timestamp": "1995-01-01", "test_timestamp": "1998-01-01"}
    DatasetManifest(name="large", tables=tables, **times).save(folder / "manifest.yaml")


def flights(cache: Path) -> Path:
    from rt.databases import make_flights  # imports relbench, which takes seconds

    return make_flights(cache / "flights")


def measure(raw: Path, cache: Path, repeat: int) -> dict[str, float]:
    """The figures of one database; speed from the fastest of the runs, memory from the worst."""
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        store = Path(temporary) / raw.name
        command = [sys.executable, __file__, "--single", str(raw), str(store)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(repeat)]
        meta, store_bytes = open_meta(store), size(store.iterdir())
    files = [*raw.glob("db/*.parquet"), *raw.glob("tasks/*/*.parquet")]
    best, peak = min(runs, key=lambda run: run["seconds"]), max(run["peak"] for run in runs)
    arrow, frames = in_memory(files)
    return {
        "rows": meta.num_rows,
        "cells": meta.num_cells,
        "seconds": best["seconds"],
        "cpu": best["cpu"],
        "rows_per_s": meta.num_rows / best["seconds"],
        "cells_per_s": meta.num_cells / best["seconds"],
        "input": arrow / 2**20,
        "pandas": frames / 2**20,
        "imports": best["imports"],
        "peak": peak,
        "peak_ratio": (peak - best["imports"]) * 2**20 / arrow,
        "parquet": size(files) / 2**20,
        "store": store_bytes / 2**20,
        "size_ratio": store_bytes / size(files),
    }


def preprocess(raw: Path, store: Path) -> dict[str, Any]:
    """Seconds and MiB of one run in this process, which has done nothing else."""
    import pandas  # noqa: F401  (used on the way; many databases share one import)

    from rt.store import write_store

    imports = peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    write_store(raw, store, overwrite=True)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "imports": imports,
        "peak": peak_mib(),
    }


def in_memory(files: list[Path]) -> tuple[int, int]:
    """Bytes of all tables in Arrow, strings dictionary-encoded, and in pandas."""
    arrow = frames = 0
    for path in files:
        texts = [field.name for field in pq.read_schema(path) if pa.types.is_string(field.type)]
        arrow += pq.ParquetFile(path, read_dictionary=texts).read().nbytes
        frames += int(pq.read_table(path).to_pandas().memory_usage(deep=True).sum())
    return arrow, frames


def size(files: Any) -> int:
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
