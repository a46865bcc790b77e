"""Wrong tasks, settings and arguments end in one line that names them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sampler_fixtures import PAID, make, shop
from store_fixtures import EMBEDDER, write_store

import rustler


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    return [write_store(folder / name, shop(name)) for name in ("first", "second")]


def broken(**changes: Any) -> rustler.Task:
    arguments: dict[str, Any] = {
        "store": 0,
        "table": 1,
        "column": PAID,
        "splits": [(20, 320), (320, 370), (370, 420)],
    }
    return rustler.Task(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store": 5}, "no store 5"),
        ({"store": -1}, "store must be a whole number"),
        ({"table": 9}, "no table 9"),
        ({"column": 99}, "no column 99"),
        ({"column": 0}, "column 0 is not of table 'orders'"),
        ({"hidden_columns": [77]}, "no column 77"),
        ({"hidden_columns": [PAID]}, "hidden"),
        ({"hidden_keys": [(77, 0)]}, "table 77 has no foreign key 0"),
        ({"hidden_keys": [(1, 9)]}, "table 1 has no foreign key 9"),
        ({"hidden_keys": [(1, -1)]}, "a hidden key must be a whole number"),
        ({"horizon": -1}, "horizon is negative"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"splits": [(20, 320)]}, "three ranges"),
        ({"splits": [(20, 320), (300, 370), (370, 420)]}, "overlap"),
        ({"splits": [(0, 320), (320, 370), (370, 420)]}, "no range of the table's rows"),
        ({"splits": [(320, 20), (320, 370), (370, 420)]}, "no range of the table's rows"),
        ({"splits": [(-4, 20), (320, 370), (370, 420)]}, "start of a split"),
    ],
)
def test_wrong_tasks_are_named(stores: list[Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(rustler.RustlerError, match=message):
        make(stores, tasks=[broken(**changes)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context_length": 0}, "at least 1"),
        ({"context_length": -5}, "context_length must be a number in range"),
        ({"context_length": 2**60}, "more than a batch can hold"),
        ({"batch_size": 0}, "at least 1"),
        ({"num_threads": 0}, "at least 1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"context_length": "long"}, "context_length must be a number in range or a list"),
        ({"context_length": [64, 24]}, "lengths of at least 1 that divide the longest"),
        ({"context_length": []}, "context_length"),
        ({"recipes": []}, "recipes: none has a weight"),
        ({"extra_target_share": (0.5, 0.1)}, "extra_target_share"),
        ({"extra_target_share": (0.0, 1.5)}, "extra_target_share"),
        ({"extra_target_share": (float("nan"), 0.5)}, "extra_target_share"),
    ],
)
def test_wrong_settings_are_named(
    stores: list[Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(rustler.RustlerError, match=message):
        make(stores, **settings)


def test_wrong_arguments_are_named(stores: list[Path]) -> None:
    sampler = make(stores)
    rows = np.array([430], np.uint32)
    calls = {
        "rank 2 is not below world_size 2": lambda: sampler.batch(0, rank=2, world_size=2),
        "not below world_size 0": lambda: sampler.batch(0, world_size=0),
        "rank must be a whole number": lambda: sampler.batch(0, rank=-1),
        "step must be a whole number": lambda: sampler.batch(-1),
        "unknown split 'dev'": lambda: sampler.batch(0, split="dev"),
        "no task 2": lambda: sampler.contexts(2, rows),
        "row 5 is not of the table of task 0": lambda: sampler.contexts(0, rows * 0 + 5),
        "type uint32": lambda: sampler.contexts(0, rows.astype(np.int64)),
        "one-dimensional": lambda: sampler.contexts(0, rows[None]),
        "cutoff must be a whole number": lambda: sampler.contexts(0, rows, cutoff=2**70),
        "no store is given": lambda: make([], tasks=[]),
        "no task has rows": lambda: make(stores, tasks=[]).batch(0),
        "row 540 is not below": lambda: rustler.Store(stores[0]).row(540),
        "there: hash": lambda: rustler.Sampler(stores, [], embedder="glove"),
    }
    for message, wrong in calls.items():
        with pytest.raises(rustler.RustlerError, match=message):
            wrong()


def test_stores_with_embeddings_of_other_widths_are_refused(tmp_path: Path) -> None:
    paths = [write_store(tmp_path / name, shop(name)) for name in ("a", "b")]
    file = paths[1] / f"text.{EMBEDDER}.safetensors"
    wide = np.repeat(load_file(file)["embedding"], 2, axis=1)
    save_file({"embedding": wide}, file)
    with pytest.raises(rustler.RustlerError, match="'b' have 8 numbers, those of 'a' have 4"):
        make(paths)
