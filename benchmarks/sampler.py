"""How fast contexts are sampled: breadth-first, on a made-up shop of users, items, orders, reviews.

    python benchmarks/sampler.py [--orders 150000] [--context_length 1024] [--max_bfs_width 128]

Prints one line a number of threads, then one JSON object. Cells are cells, not slots; times are
those of the processor for one thread, of the wall for several.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

import rustler

KINDS = ["number"] * 7 + ["datetime"] * 2 + ["boolean"] * 2 + ["text"] * 2
TARGET = 9
NUM_TEXTS, TEXT_DIM = 20_000, 384
NUM_BATCHES, REPETITIONS = 8, 5


def skewed(rng: np.random.Generator, size: int, parents: int) -> np.ndarray:
    """int64[size]: parents drawn with heavy-tailed popularity."""
    popularity = rng.pareto(1.2, parents) + 1
    return rng.choice(parents, size, p=popularity / popularity.sum())


def write_shop(folder: Path, num_orders: int, rng: np.random.Generator) -> tuple[int, int]:
    """Writes the store; gives the range of the orders' rows. 13 cells a row, 5 % of them null."""
    sizes = [num_orders // 30, num_orders // 150, num_orders, num_orders // 3]
    start = np.cumsum([0, *sizes])
    num_rows = int(start[-1])
    row_time = np.full(num_rows, rustler.NO_TIME, np.int64)
    for table in (2, 3):
        times = np.sort(rng.integers(0, 10**8, sizes[table]))
        row_time[start[table] : start[table + 1]] = times
    order_keys = [skewed(rng, sizes[2], sizes[0]), start[1] + skewed(rng, sizes[2], sizes[1])]
    review_orders = start[2] + rng.integers(0, sizes[2], sizes[3])
    review_keys = [skewed(rng, sizes[3], sizes[0]), review_orders]
    parent = np.concatenate([np.stack(keys, 1).ravel() for keys in (order_keys, review_keys)])
    child = np.repeat(np.arange(start[2], num_rows), 2)
    order = np.lexsort((child, row_time[child], parent))
    keep = rng.random((num_rows, len(KINDS))) > 0.05
    arrays = {
        "row_time": row_time,
        "row_source": np.arange(num_rows, dtype=np.uint32),
        "cell_ptr": pointers(keep.sum(1)),
        "cell_column": columns_of(sizes)[keep],
        "cell_value": values(rng, num_rows)[keep],
        "parent_ptr": pointers(np.repeat([0, 2], [start[2], num_rows - start[2]])),
        "parent_row": parent.astype(np.uint32),
        "child_ptr": pointers(np.bincount(parent, minlength=num_rows)),
        "child_row": child[order].astype(np.uint32),
        "child_time": row_time[child[order]],
    }
    version = str(rustler.FORMAT_VERSION)
    save_file(arrays, folder / "store.safetensors", metadata={"format_version": version})
    (folder / "meta.json").write_text(json.dumps(describe(start.tolist(), arrays)))
    embedding = rng.standard_normal((NUM_TEXTS, TEXT_DIM)).astype(np.float16)
    save_file({"embedding": embedding}, folder / "text.hash.safetensors")
    return int(start[2]), int(start[3])


def pointers(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)


def columns_of(sizes: list[int]) -> np.ndarray:
    table = np.repeat(np.arange(4), sizes)[:, None]
    return (table * len(KINDS) + np.arange(len(KINDS))).astype(np.uint32)


def values(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    bits = rng.standard_normal((num_rows, len(KINDS))).astype(np.float32).view(np.uint32)
    for column, kind in enumerate(KINDS):
        if kind == "text":
            bits[:, column] = rng.integers(0, NUM_TEXTS, num_rows)
    return bits


def describe(start: list[int], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """meta.json."""
    width = len(KINDS)
    tables = [
        {
            "name": name,
            "kind": "database",
            "rows": start[t : t + 2],
            "columns": [t * width, (t + 1) * width],
        }
        for t, name in enumerate(("users", "items", "orders", "reviews"))
    ]
    columns = [
        {"name": f"c{c}", "table": c // width, "type": KINDS[c % width], "name_text": c}
        for c in range(4 * width)
    ]
    return {
        "format_version": rustler.FORMAT_VERSION,
        "name": "shop",
        "num_rows": start[-1],
        "num_cells": len(arrays["cell_column"]),
        "num_edges": len(arrays["parent_row"]),
        "num_texts": NUM_TEXTS,
        "tables": tables,
        "columns": columns,
    }


def measure(sampler: rustler.Sampler, threads: int) -> dict[str, float]:
    """The best of some repetitions of NUM_BATCHES batches."""
    clock = time.process_time if threads == 1 else time.perf_counter
    best = 0.0
    for repetition in tqdm(range(REPETITIONS), desc=f"{threads} threads", leave=False):
        first, cells = repetition * NUM_BATCHES, 0
        begin = clock()
        for step in range(first, first + NUM_BATCHES):
            batch = sampler.batch(step)
            cells += int(batch["is_padding"].size - batch["is_padding"].sum())
        best = max(best, cells / (clock() - begin))
    size = sum(array.nbytes for name, array in batch.items() if name != "text_embedding")
    return {
        "cells_per_s": best,
        "ms_per_context": 1e3 * cells / NUM_BATCHES / len(batch["row"]) / best,
        "bytes_per_cell": size / int((~batch["is_padding"]).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=150_000)
    parser.add_argument("--context_length", type=int, default=1024)
    parser.add_argument("--max_bfs_width", type=int, default=128)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        start, end = write_shop(Path(folder), options.orders, np.random.default_rng(0))
        begin = time.perf_counter()
        rows = rustler.Store(folder).num_rows
        open_s = time.perf_counter() - begin
        task = rustler.Task(0, 2, 2 * len(KINDS) + TARGET, [(start, end), (end, end), (end, end)])
        for threads in (1, 2):
            sampler = rustler.Sampler(
                [folder],
                [task],
                embedder="hash",
                context_length=options.context_length,
                max_bfs_width=options.max_bfs_width,
                num_threads=threads,
            )
            found = results[threads] = measure(sampler, threads)
            print(
                f"{threads} threads: {found['cells_per_s'] / 1e6:.2f} million cells/s,"
                f" {found['ms_per_context']:.3f} ms a context,"
                f" {found['bytes_per_cell']:.1f} bytes a cell"
            )
    figures = {
        "bfs_cells_per_s": round(results[1]["cells_per_s"]),
        "bfs_cells_per_s_2_threads": round(results[2]["cells_per_s"]),
        "bytes_per_cell": round(results[1]["bytes_per_cell"], 1),
        "open_s": round(open_s, 3),
        "rows": rows,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
