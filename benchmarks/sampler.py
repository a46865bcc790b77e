"""How fast contexts are sampled, by recipe: on made-up shops of users, items, orders and reviews,
on generated databases of 8 tables, and on given stores (of the flights).

    python benchmarks/sampler.py [--rows 10000 1000000] [--generated 10000 1000000 20000000]
        [--store FOLDER ...] [--context_length 1024]

Generated databases are those of preprocess.py, made once and kept in --cache.

Prints a line for each store, recipe and number of threads, then one JSON object, whose first three
figures are those of the largest shop. Cells are cells, not slots; times are those of the processor
for one thread, of the wall for several.
"""

import argparse
import json
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _report import finish, print_table
from preprocess import generated
from safetensors.numpy import save_file
from tqdm import tqdm

import rustler
from plurel.paths import raw_dir
from rt.embedding import embed_stores
from rt.meta import open_meta
from rt.recipes import named
from rt.store import write_store
from rt.tasks import column_tasks, load_tasks, to_sampler

KINDS = ["number"] * 7 + ["datetime"] * 2 + ["boolean"] * 2 + ["text"] * 2
TARGET = 9
NUM_TEXTS, TEXT_DIM = 20_000, 384
BATCHES, REPETITIONS = 4, 5
RECIPES = ("published", "labels", "walks", "nearest")
ROWS_AN_ORDER = 1 + 1 / 3 + 1 / 30 + 1 / 150


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
    time_value, rank = np.unique(row_time, return_inverse=True)
    # the time of rows without one is the lowest and no time
    time_value, rank = time_value[1:], rank.astype(np.uint32)
    order = np.lexsort((child, rank[child], parent))
    degree = np.bincount(parent, minlength=num_rows)
    referenced = [degree[first:last] for first, last in pairwise(start) if degree[first:last].any()]
    arrays = {
        "time_value": time_value,
        "record_ptr": np.zeros(0, np.uint64),
        "row_rank": rank,
        "row_source": np.concatenate([np.arange(size) for size in sizes]).astype(np.uint32),
        "parent_row": parent.astype(np.uint32),
        "child_ptr": np.concatenate([[0, *np.cumsum(of_table)] for of_table in referenced]).astype(
            np.uint32
        ),
        "child_row": child[order].astype(np.uint32),
        "child_rank": rank[child[order]],
        "dictionary": np.zeros(0, np.uint32),
        "records": np.append(records(rng, num_rows), np.zeros(rustler.RECORD_PADDING, np.uint8)),
    }
    children = [int(degree[first:last].sum()) for first, last in pairwise(start)]
    version = str(rustler.FORMAT_VERSION)
    save_file(arrays, folder / "store.safetensors", metadata={"format_version": version})
    (folder / "meta.json").write_text(json.dumps(describe(start.tolist(), children, arrays)))
    embedding = rng.standard_normal((NUM_TEXTS, TEXT_DIM)).astype(np.float16)
    save_file({"embedding": embedding}, folder / "text.hash.safetensors")
    return int(start[2]), int(start[3])


PRESENCE = -(-len(KINDS) // 8)


def records(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """Records of all rows: bits that say which cells are there, and all cells in four bytes."""
    keep = rng.random((num_rows, len(KINDS))) > 0.05
    values = rng.standard_normal((num_rows, len(KINDS))).astype(np.float32).view(np.uint32)
    for column, kind in enumerate(KINDS):
        if kind == "text":
            values[:, column] = rng.integers(0, NUM_TEXTS, num_rows)
    cells = np.where(keep, values, 0).astype("<u4").view(np.uint8).reshape(num_rows, -1)
    return np.hstack([np.packbits(keep, axis=1, bitorder="little"), cells]).reshape(-1)


def describe(
    start: list[int], children: list[int], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """meta.json."""
    width = len(KINDS)
    tables = [
        {
            "name": name,
            "kind": "database",
            "rows": start[t : t + 2],
            "columns": [t * width, (t + 1) * width],
            "num_parents": 2 if t >= 2 else 0,
            "num_children": children[t],
            "record_bytes": (start[t + 1] - start[t]) * (PRESENCE + 4 * width),
            "packed": False,
        }
        for t, name in enumerate(("users", "items", "orders", "reviews"))
    ]
    columns = [
        {"name": f"c{c}", "table": c // width, "type": KINDS[c % width], "name_text": c}
        | {"width": 4, "optional": True, "dictionary": None}
        for c in range(4 * width)
    ]
    rows = arrays["records"][: -rustler.RECORD_PADDING].reshape(start[-1], -1)
    num_cells = int(np.unpackbits(rows[:, :PRESENCE]).sum())
    return {
        "format_version": rustler.FORMAT_VERSION,
        "name": "shop",
        "num_rows": start[-1],
        "num_cells": num_cells,
        "num_edges": len(arrays["child_row"]),
        "num_texts": NUM_TEXTS,
        "tables": tables,
        "columns": columns,
    }


def tasks_of(store: Path) -> list[rustler.Task]:
    """The tasks of a real database, or every number and boolean column."""
    tasks = load_tasks(store) or column_tasks(open_meta(store))
    return [to_sampler(task, 0, weight=1.0) for task in tasks]


def measure(sampler: rustler.Sampler, threads: int) -> dict[str, float]:
    """The best of some repetitions of BATCHES batches."""
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds, cells = float("inf"), 0
    for repetition in range(REPETITIONS):
        begin = clock()
        batches = [sampler.batch(repetition * BATCHES + step) for step in range(BATCHES)]
        taken = (clock() - begin) / sum(len(batch["row"]) for batch in batches)
        if taken < seconds:
            seconds = taken
            cells = np.mean([(~batch["is_padding"]).sum(1).mean() for batch in batches])
    size = sum(array.nbytes for name, array in batches[0].items() if name != "text_embedding")
    return {
        "cells_per_s": cells / seconds,
        "ms_per_context": 1e3 * seconds,
        "bytes_per_cell": size / int((~batches[0]["is_padding"]).sum()),
    }


def measure_store(
    store: Path, tasks: list[rustler.Task], length: int
) -> dict[tuple[str, int], dict[str, float]]:
    """Figures by recipe and number of threads."""
    found = {}
    for recipe in tqdm(RECIPES, desc=store.name, leave=False):
        for threads in (1, 2):
            sampler = rustler.Sampler(
                [store],
                tasks,
                embedder="hash",
                context_length=length,
                recipes=[named(recipe).to_sampler(recipe)],
                num_threads=threads,
            )
            found[recipe, threads] = measure(sampler, threads)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--generated", type=int, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=raw_dir(), help="of generated databases")
    parser.add_argument("--store", type=Path, nargs="*", default=[])
    parser.add_argument("--context_length", type=int, default=1024)
    options = parser.parse_args()
    results, opened = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(options.rows):
            path = Path(folder) / f"shop of {rows} rows"
            path.mkdir()
            start, end = write_shop(path, round(rows / ROWS_AN_ORDER), np.random.default_rng(0))
            begin = time.perf_counter()
            rustler.Store(path)
            opened[path.name] = time.perf_counter() - begin
            splits = [(start, end), (end, end), (end, end)]
            task = rustler.Task(0, 2, 2 * len(KINDS) + TARGET, splits)
            results[path.name] = measure_store(path, [task], options.context_length)
            shutil.rmtree(path)
        for rows in sorted(options.generated):
            raw = generated(options.cache, "numeric", rows)
            store = write_store(raw, Path(folder) / raw.name)
            embed_stores([store], "hash", show_progress=False)
            results[raw.name] = measure_store(store, tasks_of(store), options.context_length)
            shutil.rmtree(store)
        for store in options.store:
            results[store.name] = measure_store(store, tasks_of(store), options.context_length)
    lines = [
        (name, *key, *figures.values())
        for name, found in results.items()
        for key, figures in found.items()
    ]
    heads = ("store", "recipe", "threads", "cells/s", "ms a context", "bytes a cell")
    print_table(heads, lines)
    if not options.rows:
        return
    largest = results[list(opened)[-1]]
    finish(
        bfs_cells_per_s=largest["published", 1]["cells_per_s"],
        walk_ms_per_context=largest["walks", 1]["ms_per_context"],
        bytes_per_cell=largest["published", 1]["bytes_per_cell"],
        bfs_cells_per_s_2_threads=largest["published", 2]["cells_per_s"],
        labels_ms_per_context=largest["labels", 1]["ms_per_context"],
        open_s=list(opened.values())[-1],
        rows=max(options.rows),
    )


if __name__ == "__main__":
    main()
