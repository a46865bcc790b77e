"""Means of the labels that a context shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plurel.errors import InputError
from rt.context_labels import context_label_means
from rt.meta import open_meta
from rt.predictions import ContextSettings, NewRows
from rt.recipes import Recipe, named
from rt.tasks import Task, load_tasks
from tests.shops import EMBEDDER, shop_folders

HORIZON = pd.Timedelta("2 days")
TASKS = {"mean-amount": "mean_amount", "any-returned": "any_returned"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return shop_folders(tmp_path_factory.mktemp("context_labels"))


def labels(raw: Path, name: str) -> pd.DataFrame:
    """All label rows, in the store's order."""
    files = [raw / "tasks" / name / f"{split}.parquet" for split in ("train", "val", "test")]
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("protocol", ["rolling", "split"])
def test_means_over_all_that_is_known(folders: tuple[Path, Path], name: str, protocol: str) -> None:
    """In a context without limits: worked out from the label files."""
    raw, store = folders
    (task,) = load_tasks(store, [name])
    settings = ContextSettings(EMBEDDER, context_length=3000, recipe=Recipe(width=(1000,)))
    start, end = task.splits["test"]
    rows = np.arange(start, end, dtype=np.uint32)
    found = context_label_means(
        store,
        task,
        rows,
        settings=settings,
        protocol=protocol,  # type: ignore[arg-type]
    )
    every, target = labels(raw, name), TASKS[name]
    first = open_meta(store).tables[task.table].rows[0]
    cutoff = pd.Timestamp("2020-02-18") if protocol == "split" else pd.Timestamp.max
    for place, row in enumerate(rows):
        own = every.iloc[int(row) - first]
        known = every[every.timestamp + HORIZON <= min(own.timestamp, cutoff)]
        mean = known[known.shop == own.shop][target].mean()
        assert found["context_own"][place] == pytest.approx(mean, rel=1e-4)
    assert np.isfinite(found["context_all"]).all()


def test_a_context_without_labels_has_the_train_mean(folders: tuple[Path, Path]) -> None:
    raw, store = folders
    (task,) = load_tasks(store, ["mean-amount"])
    rows = np.arange(*task.splits["test"], dtype=np.uint32)
    settings = ContextSettings(EMBEDDER, context_length=64, recipe=named("unlabelled"))
    found = context_label_means(store, task, rows, settings=settings, protocol="rolling")
    train = pd.read_parquet(raw / "tasks/mean-amount/train.parquet").mean_amount.mean()
    for values in found.values():
        assert values == pytest.approx(np.full(len(rows), train), rel=1e-5)


def test_labels_of_others_count_where_there_are_no_own(folders: tuple[Path, Path]) -> None:
    """A shop before its first label is known, among labels of others."""
    raw, store = folders
    (task,) = load_tasks(store, ["mean-amount"])
    table = labels(raw, "mean-amount").sort_values("timestamp")
    first = table.groupby("shop").timestamp.min()
    shop, time = int(first.idxmax()), first.max()
    known = table[table.timestamp + HORIZON <= time]
    if known.empty:
        time = time + HORIZON
        known = table[(table.timestamp + HORIZON <= time) & (table.shop != shop)]
    seconds = np.array([int(time.timestamp())], np.int64)
    entity = np.array([open_meta(store).tables[0].rows[0] + shop], np.uint32)
    asked = NewRows(entity, seconds, np.zeros(1, np.float32))
    settings = ContextSettings(EMBEDDER, context_length=500, recipe=named("labels"))
    found = context_label_means(store, task, asked, settings=settings, protocol="rolling")
    own = known[known.shop == shop].mean_amount
    assert len(known) > len(own)
    assert found["context_all"][0] == pytest.approx(known.mean_amount.mean(), rel=1e-4)
    if own.empty:
        assert found["context_own"][0] == found["context_all"][0]


def test_texts_have_no_mean(folders: tuple[Path, Path]) -> None:
    _, store = folders
    meta = open_meta(store)
    table = meta.table("sales")
    text = meta.column(table, "note")
    task = Task("note", "autocomplete", "multiclass_classification", table, text,
                dict(meta.tables[table].splits))  # fmt: skip
    settings = ContextSettings(EMBEDDER, context_length=64)
    with pytest.raises(InputError, match="labels that are texts have no mean"):
        context_label_means(store, task, np.zeros(1), settings=settings, protocol="rolling")
