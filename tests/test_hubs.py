"""A row with millions of children costs a context no more than one with a hundred."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from raw_folders import write_folder
from relbench.manifest import TableSpec, TaskManifest

import rustler
from rt.embedding import embed_stores
from rt.recipes import named
from rt.store import write_store
from rt.tasks import load_tasks, to_sampler

START, ASKED = 1_546_300_800, 1_577_836_800
"""2019 and 2020 begin; the latter is the validation timestamp of `write_folder`."""
FACTOR = 10
"""A hub's context takes twice as long, for its lists are in no cache; with a pass over all children
it would be 40 to 120 times as long."""


def events(count: int, end: int) -> dict[str, Any]:
    """Events of two users, nine of ten of the first one, from 2019 to `end`."""
    user = (np.arange(count) % 10 == 5).astype(np.int64)
    seconds = np.linspace(START, end, count).astype(np.int64)
    return {"user": user, "at": pa.array(seconds).cast(pa.timestamp("s"))}


def write(folder: Path, num_orders: int, num_labels: int) -> Path:
    """A store of two users, their orders over two years, each of which references its user twice,
    and their labels over the first year; one is asked for at its end."""
    orders = events(num_orders, 2 * ASKED - START)
    labels = events(num_labels, ASKED - 1)
    labels["y"] = np.random.default_rng(0).normal(size=num_labels)
    asked = {"user": [0], "at": pa.array([ASKED]).cast(pa.timestamp("s")), "y": [0.0]}
    task = TaskManifest("y", "external", "regression", entity_table="users", entity_col="user",
                        target_col="y", time_col="at")  # fmt: skip
    raw = write_folder(
        folder / "raw",
        {
            "users": ({"key": [0, 1]}, TableSpec("key")),
            "orders": (
                orders | {"friend": orders["user"]},
                TableSpec(None, "at", {"user": "users", "friend": "users"}),
            ),
        },
        {"y": (task, {"train": labels, "val": asked, "test": asked})},
    )
    pre = write_store(raw, folder / "pre")
    embed_stores([pre], "hash", show_progress=False)
    return pre


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub"), 1_000_000, 200_000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small"), 50, 20)


def cost(store: Path, name: str) -> float:
    """The seconds that a context of the first user takes at least, each with a seed of its own."""
    (task,) = load_tasks(store)
    recipe = replace(named(name), width=(8,), walks=(10,))
    sampler = rustler.Sampler(
        [store], [to_sampler(task, 0)], embedder="hash", context_length=32,
        recipes=[recipe.to_sampler(name)],
    )  # fmt: skip
    row = np.array([task.splits["test"][0]], np.uint32)
    parts = sampler.contexts(0, row)["row_part"]
    assert (parts == rustler.PARTS.index("neighbourhood")).sum() > 2
    taken = []
    for seed in range(30):
        start = time.perf_counter()
        sampler.contexts(0, row, seed=seed)
        taken.append(time.perf_counter() - start)
    return min(taken)


@pytest.mark.parametrize("name", ["published", "labels", "walks"])
def test_a_hub_costs_no_more_than_its_width(hub: Path, small: Path, name: str) -> None:
    assert cost(hub, name) < FACTOR * cost(small, name)


def test_the_hub_is_one(hub: Path, small: Path) -> None:
    children = [len(rustler.Store(store).row(0)["children"]) for store in (small, hub)]
    assert children[0] <= 120
    assert children[1] >= 1_980_000
