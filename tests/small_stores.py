"""Small synthetic stores for the tests of training: customers and their orders, some of which say
something about each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from relbench.base import Database, Table

from plurel.folder import write_folder
from plurel.rng import stream
from rt.config import from_dict
from rt.logs import read_metrics
from rt.store import preprocess_many
from rt.train_config import TrainConfig

NUM_CUSTOMERS, NUM_ORDERS = 30, 150


def write_database(seed: int, root: Path) -> Path:
    """A relbench folder rel-synthetic-<seed> of two tables."""
    draws = stream(seed, "small store")
    group = draws.normal(size=NUM_CUSTOMERS)
    customers = pd.DataFrame(
        {
            "row_idx": np.arange(NUM_CUSTOMERS),
            "income": group + 0.1 * draws.normal(size=NUM_CUSTOMERS),
            "member": group > 0,
        }
    )
    buyer = draws.integers(NUM_CUSTOMERS, size=NUM_ORDERS)
    price = np.where(draws.random(NUM_ORDERS) < 0.1, np.nan, group[buyer] + 1)
    orders = pd.DataFrame(
        {
            "row_idx": np.arange(NUM_ORDERS),
            "date": pd.date_range("2020-01-01", periods=NUM_ORDERS, freq="D"),
            "foreign_row_0": buyer,
            "price": price,
            "returned": draws.random(NUM_ORDERS) < 0.3,
        }
    )
    tables = {
        "customers": Table(customers, {}, "row_idx", None),
        "orders": Table(orders, {"foreign_row_0": "customers"}, "row_idx", "date"),
    }
    return write_folder(
        root / f"rel-synthetic-{seed}",
        database=Database(tables),
        name=f"rel-synthetic-{seed}",
        val_timestamp="2020-04-30",
        test_timestamp="2020-05-15",
    )


def write_stores(root: Path, count: int) -> Path:
    """`count` stores in root/pre."""
    raw = [write_database(seed, root / "raw") for seed in range(count)]
    preprocess_many(raw, root / "pre", embedder="hash", show_progress=False)
    return root / "pre"


def small_config(pre: Path, run_dir: Path) -> dict[str, Any]:
    """A run of 6 steps that takes a second."""
    return {
        "model": {"num_blocks": 1, "d_model": 16, "num_heads": 2, "d_ff": 32},
        "data": {
            "root": str(pre),
            "pattern": "rel-synthetic-*",
            "heldout_dbs": 1,
            "heldout_tasks": 3,
            "heldout_rows": 5,
            "embedder": "hash",
            "context_length": 24,
            "recipes": {"published": {"width": 8}},
            "batch_size": 8,
            "extra_target_share": [0.0, 0.4],
            "num_workers": 0,
        },
        "optim": {"lr": 0.01},
        "trainer": {
            "run_dir": str(run_dir),
            "steps": 6,
            "precision": "fp32",
            "threads": 1,
            "eval_every": 3,
            "save_every": 2,
        },
        "logger": {"every": 1, "progress": False},
    }


def small_run(pre: Path, run_dir: Path, **changes: Any) -> TrainConfig:
    """`small_config` with changes by dotted name, dots written as two underscores."""
    values = small_config(pre, run_dir)
    for name, value in changes.items():
        group, _, key = name.partition("__")
        if key:
            values[group][key] = value
        else:
            values[group] = value
    return from_dict(TrainConfig, values)


CLOCK = ("tokens_per_s", "wait_share", "seconds")


def records(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run without what a clock decides."""
    return [{k: v for k, v in r.items() if k not in CLOCK} for r in read_metrics(folder)]


def overrides(config: dict[str, Any]) -> list[str]:
    """The config as overrides of the command line."""
    return [
        f"{group}.{key}={str(value).translate(str.maketrans('', '', chr(39) + ' '))}"
        for group, values in config.items()
        for key, value in values.items()
    ]
