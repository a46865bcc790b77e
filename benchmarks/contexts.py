"""What contexts are made of, by recipe and length: labels, cells of each part, time.

    python benchmarks/contexts.py [--raw FOLDER ...] [--generated 3] [--lengths 256 1024]

Databases are relbench folders given by --raw and --generated synthetic ones; both are preprocessed
into a temporary folder with the hash embedder. Contexts are those of rows of the test split, each
with what is known by its own time (protocol "rolling"). Label rows of the target's own entity share
a parent with it. The time is without what is made once a task: what its labels tell, and codes of
its rows.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import finish, print_table
from numpy.typing import NDArray

import rustler
from plurel import Config, SyntheticDataset
from rt.meta import open_meta
from rt.recipes import PRESETS, named
from rt.store import preprocess
from rt.tasks import Task, column_tasks, load_tasks, to_sampler

TASKS, ROWS = 4, 64
PARTS = ["target", "own", "others", "around"]


@dataclass
class Found:
    """Sums over the contexts of one recipe and length."""

    contexts: int = 0
    cells: int = 0
    own: int = 0
    others: int = 0
    unlabelled: int = 0
    seconds: float = 0.0
    by_part: NDArray[np.int64] | None = None

    def add(self, batch: dict[str, Any], seconds: float) -> None:
        for b in range(len(batch["row"])):
            own, others = labels_of(batch, b)
            self.own, self.others = self.own + own, self.others + others
            self.unlabelled += own + others == 0
        used = ~batch["is_padding"]
        rows = batch["row"] + batch["context_row_ptr"][:-1, None]
        counts = np.bincount(batch["row_part"][rows[used]], minlength=len(rustler.PARTS))
        self.by_part = counts if self.by_part is None else self.by_part + counts
        self.contexts += len(batch["row"])
        self.cells += int(used.sum())
        self.seconds += seconds

    def line(self) -> tuple[Any, ...]:
        """Per context: labels of its own and of others, share without any, cells, parts, time."""
        assert self.by_part is not None
        n, parts = self.contexts, self.by_part / self.cells
        target, ancestor, own, other, around_other, around = parts
        return (
            self.own / n, self.others / n, self.unlabelled / n, self.cells / n,
            target + ancestor, own, other + around_other, around, 1e3 * self.seconds / n,
        )  # fmt: skip


def labels_of(batch: dict[str, Any], b: int) -> tuple[int, int]:
    """Visible labels of the same entity, and of others, in context b."""
    slot = batch["target_slot"][b]
    cells = (batch["column"][b] == batch["column"][b, slot]) & ~batch["is_target"][b]
    rows = batch["row"][b, cells & ~batch["is_padding"][b]]
    first = batch["context_row_ptr"][b]
    mine = parents_of(batch, first)
    own = sum(bool(mine & parents_of(batch, first + row)) for row in rows)
    return own, len(rows) - own


def parents_of(batch: dict[str, Any], row: int) -> set[int]:
    start, end = batch["parent_ptr"][row : row + 2]
    return set(batch["parent"][start:end].tolist())


def tasks_of(store: Path, rng: np.random.Generator) -> list[Task]:
    """Tasks of a real database, or some columns of a synthetic one."""
    tasks = load_tasks(store) or column_tasks(open_meta(store))
    return [tasks[i] for i in sorted(rng.permutation(len(tasks))[:TASKS])]


def batches(
    store: Path, recipe: str, length: int, rng: np.random.Generator
) -> Iterator[tuple[dict[str, Any], float]]:
    """Contexts of each task's test rows and the processor's seconds that they took."""
    for task in tasks_of(store, rng):
        sampler = rustler.Sampler(
            [store],
            [to_sampler(task, 0)],
            embedder="hash",
            context_length=length,
            recipes=[named(recipe).to_sampler(recipe)],
        )
        start, end = task.splits["test"]
        rows = (start + rng.permutation(end - start)[:ROWS]).astype(np.uint32)
        sampler.contexts(0, rows)
        begin = time.process_time()
        batch = sampler.contexts(0, rows)
        if len(rows):
            yield batch, time.process_time() - begin


def stores(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Groups of stores: each real database, and the synthetic ones together."""
    for raw in options.raw:
        yield raw.name, [preprocess(raw, folder / raw.name, embedder="hash", show_progress=False)]
    config, made = Config.load("default"), []
    for seed in range(options.generated):
        raw = folder / "raw" / str(seed)
        SyntheticDataset(seed, config).save(raw)
        made.append(preprocess(raw, folder / str(seed), embedder="hash", show_progress=False))
    if made:
        yield f"{len(made)} synthetic", made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, nargs="*", default=[])
    parser.add_argument("--generated", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[256, 1024])
    options = parser.parse_args()
    labels = ("own labels", "others' labels", "without any")
    heads = ("database", "recipe", "length", *labels, "cells", *PARTS, "ms")
    figures: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in stores(options, Path(folder)):
            for recipe in PRESETS:
                for length in options.lengths:
                    found = Found()
                    for path in paths:
                        rng = np.random.default_rng(0)
                        for batch, seconds in batches(path, recipe, length, rng):
                            found.add(batch, seconds)
                    rows.append((name, recipe, length, *found.line()))
                    key = f"{name}, {recipe}, {length}"
                    line = zip(heads[3:], rows[-1][3:], strict=True)
                    figures |= {f"{key}: {head}": value for head, value in line}
    print_table(heads, rows)
    finish(**figures)


if __name__ == "__main__":
    main()
