"""A small database with three tasks, for tests of predictions: shops and their daily sales.

`flip` turns over the labels of one split, in the label files and in the column of the
autocomplete task, and leaves everything else as it is.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from plurel.folder import write_folder
from plurel.rng import stream
from rt.databases import FrameDataset, label_tables
from rt.model import ModelConfig, RelationalTransformer
from rt.store import preprocess

NUM_SHOPS, NUM_DAYS = 6, 60
EMBEDDER = "hash"
D_TEXT = 64
_WINDOW = (
    "FROM timestamps t JOIN sales s ON s.day > t.timestamp "
    "AND s.day <= t.timestamp + INTERVAL '{timedelta}' GROUP BY t.timestamp, s.shop"
)


def shop_tables() -> dict[str, pd.DataFrame]:
    """Six shops; every day four of them sell something."""
    random = stream(0, "shops")
    days = np.repeat(np.arange(NUM_DAYS), 4)
    shops = np.concatenate([random.permutation(NUM_SHOPS)[:4] for _ in range(NUM_DAYS)])
    amount = 50 + 10 * shops + random.normal(0, 5, len(days))
    sales = pd.DataFrame(
        {
            "sale": np.arange(len(days)),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D"),
            "shop": shops,
            "amount": amount.round(2),
            "note": random.choice(["cash", "card", "cheque"], len(days)),
            "returned": random.random(len(days)) < 0.2 + 0.1 * shops,
            "refund": random.random(len(days)),
        }
    )
    names = pd.DataFrame(
        {"shop": np.arange(NUM_SHOPS), "town": ["Ayr", "Ely", "Rye", "Wem", "Bath", "Bude"]}
    )
    return {"shops": names, "sales": sales}


def shop_tasks() -> list[TaskManifest]:
    """A regression and a binary forecast, and an autocomplete task with a column that leaks."""
    forecast = {
        "kind": "forecast",
        "entity_table": "shops",
        "entity_col": "shop",
        "time_col": "timestamp",
        "timedelta": "2 days",
        "num_eval_timestamps": 4,
    }
    select = "SELECT t.timestamp AS timestamp, s.shop AS shop, "
    return [
        TaskManifest(
            name="mean-amount",
            task_type="regression",
            target_col="mean_amount",
            sql=f"{select} AVG(s.amount) AS mean_amount {_WINDOW}",
            **forecast,
        ),
        TaskManifest(
            name="any-returned",
            task_type="binary_classification",
            target_col="any_returned",
            sql=f"{select} MAX(CAST(s.returned AS INTEGER)) AS any_returned {_WINDOW}",
            **forecast,
        ),
        TaskManifest(
            name="returned",
            kind="autocomplete",
            task_type="binary_classification",
            entity_table="sales",
            target_col="returned",
            timedelta="36 hours",
            remove_columns=[["sales", "refund"]],
        ),
    ]


def varied_model() -> RelationalTransformer:
    """A small model without training, whose outputs differ clearly from row to row."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        made = RelationalTransformer(ModelConfig(2, 16, 2, 32, D_TEXT))
        for parameter in made.parameters():
            if parameter.requires_grad and parameter.dim() > 1:
                parameter.data *= 2
    return made


def shop_folders(root: Path, flip: str | None = None) -> tuple[Path, Path]:
    """(raw folder, store folder) below `root`."""
    manifest = DatasetManifest(
        "shops-db",
        "2020-02-08",
        "2020-02-18",
        tables={"shops": TableSpec("shop"), "sales": TableSpec("sale", "day", {"shop": "shops"})},
    )
    tables, tasks = shop_tables(), shop_tasks()
    dataset = FrameDataset(tables, manifest)
    labels = label_tables(dataset, tasks)
    if flip is not None:
        _flip(tables["sales"], labels, flip, dataset)
    raw = write_folder(
        root / "raw" / "shops-db",
        database=dataset.wrap(tables),
        name=manifest.name,
        val_timestamp=manifest.val_timestamp,
        test_timestamp=manifest.test_timestamp,
        tasks=tasks,
        labels=labels,
    )
    store = preprocess(raw, root / "pre" / "shops-db", embedder=EMBEDDER, show_progress=False)
    return raw, store


def _flip(
    sales: pd.DataFrame, labels: dict[str, dict[str, pd.DataFrame]], split: str,
    dataset: FrameDataset,
) -> None:  # fmt: skip
    amounts = labels["mean-amount"][split]
    amounts["mean_amount"] = 200 - amounts["mean_amount"]
    any_returned = labels["any-returned"][split]
    any_returned["any_returned"] = 1 - any_returned["any_returned"]
    returned = labels["returned"][split]
    returned["returned"] = ~returned["returned"].astype(bool)
    low = {"train": pd.Timestamp(0), "val": dataset.val_timestamp, "test": dataset.test_timestamp}
    high = {"train": dataset.val_timestamp, "val": dataset.test_timestamp, "test": pd.Timestamp.max}
    inside = (sales["day"] > low[split]) & (sales["day"] <= high[split])
    sales.loc[inside, "returned"] = ~sales.loc[inside, "returned"]
