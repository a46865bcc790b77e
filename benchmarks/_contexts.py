"""Batches of contexts from generated databases, for benchmarks of the model."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from _runs import write_stores

import rustler
from rt.data import Batch
from rt.meta import open_meta
from rt.recipes import named
from rt.tasks import column_tasks, to_sampler

NUM_DBS = 4


def batches(lengths: Sequence[int], cells: int, recipe: str = "labels") -> dict[int, Batch]:
    """For each length of contexts, one batch of about `cells` cells, longer if a
    single context is. From databases of the default config, with 20 % more targets a context."""
    with tempfile.TemporaryDirectory() as folder:
        stores = sorted(write_stores(Path(folder), NUM_DBS).iterdir())
        tasks = [
            to_sampler(task, number)
            for number, store in enumerate(stores)
            for task in column_tasks(open_meta(store))
        ]
        return {length: _batch(stores, tasks, length, cells, recipe) for length in lengths}


def _batch(
    stores: list[Path], tasks: list[rustler.Task], length: int, cells: int, recipe: str
) -> Batch:
    sampler = rustler.Sampler(
        stores,
        tasks,
        embedder="hash",
        context_length=length,
        recipes=[named(recipe).to_sampler(recipe)],
        batch_size=max(1, cells // length),
        extra_target_share=(0.0, 0.4),
    )
    return Batch.from_arrays(sampler.batch(0))
