"""Folders of made-up finished runs, as `rt.runs` writes them, with losses of a known law."""

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from plurel.rng import stream
from rt.real_scores import with_mean

LAW = {"A": 0.5, "a": 0.6, "B": 0.02, "b": 0.46, "C": 0.36}
"""S in billions of tokens."""


def loss_of(databases: int, tokens: int, noise: float = 0.0, seed: int = 0) -> float:
    """The law's loss, times (1 + noise times a normal number of its own)."""
    excess = LAW["A"] * databases ** -LAW["a"] + LAW["B"] * (tokens / 1e9) ** -LAW["b"]
    draw = stream(seed, "noise", databases, tokens).normal()
    return float((excess + LAW["C"]) * (1 + noise * draw))


def write_run(
    folder: Path,
    databases: int,
    tokens: int,
    seed: int = 0,
    *,
    loss: float | None = None,
    finished: bool = True,
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run's folder. result: further keys of training.json; changes: of the config by dotted name,
    dots written as two underscores."""
    config: dict[str, Any] = {
        "model": {"num_blocks": 1, "d_model": 16},
        "data": {"root": "pre", "num_dbs": databases, "num_workers": 0, "context_length": [64]},
        "trainer": {
            "run_dir": str(folder),
            "steps": None,
            "token_budget": tokens,
            "eval_every": 10,
            "patience": None,
            "min_delta": 0.0,
        },
        "optim": {"lr": 0.01},
        "logger": {"every": 1},
        "seed": seed,
    }
    for name, value in changes.items():
        group, _, key = name.partition("__")
        config[group][key] = value
    facts = {
        "seed": seed,
        "databases": {"train": [f"db-{n}" for n in range(databases)], "heldout": ["db-999"]},
        "git_revision": "0" * 40,
    }
    end = loss_of(databases, tokens) if loss is None else loss
    losses = {"start": 0.9, "best": end - 0.01, "end": end, "constant": 0.8}
    content = {"tokens": tokens + 7, "stopped_early": False, "heldout": {"loss": losses}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "metrics.jsonl").write_text("")
    if finished:
        (folder / "training.json").write_text(json.dumps(content | (result or {})))
    return folder


def write_sweep(
    root: Path,
    databases: Iterable[int] = (8, 16, 32, 64),
    tokens: Iterable[int] = (1_000_000, 4_000_000, 16_000_000, 64_000_000),
    seeds: Iterable[int] = (0, 1),
    noise: float = 0.003,
    scores: bool = True,
) -> Path:
    """Runs of each pair and seed below `root`, with scores that follow the loss."""
    for n, s, seed in product(databases, tokens, seeds):
        loss = loss_of(n, s, noise, seed)
        tasks = {
            "rel-f1/driver-dnf": {"auroc": 0.95 - 0.5 * loss},
            "rel-f1/driver-position": {"mae": 3.0, "nmae": loss + 0.1, "r2": 0.1},
        }
        parts = {split: {"best": with_mean(tasks)} for split in ("val", "test")}
        result = {"scores": parts} if scores else {}
        write_run(root / f"n{n}_s{s}_{seed}", n, s, seed, loss=loss, result=result)
    return root
