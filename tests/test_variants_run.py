"""Variants from a run's config to its checkpoint and to predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_stores import small_config, write_stores

from rt.config import from_dict
from rt.logs import read_metrics
from rt.meta import open_meta
from rt.model import RelationalTransformer
from rt.predictions import ContextSettings, predict
from rt.tasks import column_tasks
from rt.train import run
from rt.train_config import TrainConfig

ON: dict[str, Any] = {
    "attention_gate": "channel",
    "log_keys": True,
    "child_counts": True,
    "row_roles": True,
    "row_likeness": True,
    "label_attention": True,
    "zero_init": True,
}


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("variants"), 3)


@pytest.mark.parametrize("form", ["auto", "reference"])
def test_a_run_with_variants(pre: Path, tmp_path: Path, form: str) -> None:
    """In bf16 too: trained, saved, continued from the checkpoint and used."""
    values = small_config(pre, tmp_path / "run")
    values["model"] |= ON | {"attention": form}
    values["trainer"] |= {"precision": "bf16"}
    folder = run(from_dict(TrainConfig, values))
    losses = [record["loss"] for record in read_metrics(folder) if "loss" in record]
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    model = RelationalTransformer.from_pretrained(folder)
    assert {name: getattr(model.config, name) for name in ON} == ON
    store = pre / "rel-synthetic-2"
    task = next(t for t in column_tasks(open_meta(store)) if t.name == "customers.income")
    rows = np.arange(*task.splits["train"])[:8]
    settings = ContextSettings.of(model.settings)
    one = predict(model, store, task, rows, settings=settings, protocol="rolling", progress=None)
    with torch.no_grad():
        model.w_count.weight.mul_(-1)
    other = predict(model, store, task, rows, settings=settings, protocol="rolling", progress=None)
    assert np.isfinite(one).all()
    assert (one != other).any()
