"""A small shop with two tasks, and a sampler for it."""

from pathlib import Path
from typing import Any

import numpy as np
from store_fixtures import EMBEDDER

import rustler

SEASON, NUM_LABELS = 1000, 120


def shop(name: str = "shop", num_orders: int = 400) -> dict[str, Any]:
    """Users and their orders over a season, and a forecast task's label rows for each user."""
    rng = np.random.default_rng(5)
    users = [{"cells": {"age": float(i), "bio": f"{name} user {i % 7}"}} for i in range(20)]
    orders = [
        {
            "time": int(t),
            "parents": [("users", int(rng.integers(20)))],
            "cells": {"price": float(t), "paid": float(rng.integers(2)), "note": f"note {t % 30}"},
        }
        for t in np.sort(rng.integers(0, SEASON, num_orders))
    ]
    for order in orders[::3]:
        del order["cells"]["paid"]
    labels = [
        {
            "time": i * SEASON // NUM_LABELS,
            "parents": [("users", int(rng.integers(20)))],
            "cells": {"when": 0.0, "churn": float(rng.integers(2))},
        }
        for i in range(NUM_LABELS)
    ]
    return {
        "name": name,
        "tables": [
            {"name": "users", "columns": {"age": "number", "bio": "text"}, "rows": users},
            {
                "name": "orders",
                "columns": {"price": "number", "paid": "boolean", "note": "text"},
                "rows": orders,
            },
            {
                "name": "churn",
                "kind": "task",
                "time_column": "when",
                "columns": {"when": "datetime", "churn": "boolean"},
                "rows": labels,
            },
        ],
    }


PAID, CHURN = 3, 6
ORDERS = (20, 420)
LABELS = (420, 540)


def forecast(store: int = 0, weight: float = 1.0) -> rustler.Task:
    return rustler.Task(
        store, 2, CHURN, [(420, 500), (500, 520), (520, 540)], horizon=50, weight=weight
    )


def autocomplete(store: int = 0, weight: float = 1.0) -> rustler.Task:
    return rustler.Task(store, 1, PAID, [(20, 320), (320, 370), (370, 420)], weight=weight)


def published(width: int) -> rustler.Recipe:
    return rustler.Recipe("published", width=width)


def make(stores: list[Path], **settings: Any) -> rustler.Sampler:
    tasks = settings.pop("tasks", [forecast(0), autocomplete(1, weight=2.0)])
    defaults = {"context_length": 64, "batch_size": 12, "seed": 3}
    if "recipes" not in settings:
        settings["recipes"] = [published(settings.pop("width", 4))]
    return rustler.Sampler(stores, tasks, embedder=EMBEDDER, **(defaults | settings))
