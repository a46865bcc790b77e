"""A foreign key that a task removes leads nowhere: what it references may say the answer."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from relbench.manifest import TableSpec, TaskManifest

import rustler
from rt.baselines import _entity_columns
from rt.embedding import embed_stores
from rt.joined.tables import read_tables
from rt.meta import open_meta
from rt.relbench_folder import label_table, open_dataset, open_task
from rt.store import write_store
from rt.tasks import load_tasks, to_sampler
from rt.viz import Asked, sample_context
from tests.raw_folders import write_folder

NUM_RESULTS = 400


def make(folder: Path, removed: list[list[str]]) -> Path:
    """Results of races whose status says whether the car crashed; the task removes columns."""
    draws = np.random.default_rng(0)
    status = draws.integers(0, 6, NUM_RESULTS)
    day = np.sort(draws.integers(17_000, 19_000, NUM_RESULTS)) * 86_400
    task = TaskManifest(
        "crashed", "autocomplete", "binary_classification", entity_table="results",
        target_col="crashed", remove_columns=removed,
    )  # fmt: skip
    tables = {
        "statuses": ({"status": range(6), "says": [f"status {i}" for i in range(6)]},
                     TableSpec("status")),
        "races": ({"race": range(40), "laps": draws.integers(40, 80, 40)}, TableSpec("race")),
        "results": (
            {"race": draws.integers(0, 40, NUM_RESULTS), "status": status,
             "at": pa.array(day).cast(pa.timestamp("s")), "crashed": status % 2 == 1},
            TableSpec(None, "at", {"race": "races", "status": "statuses"}),
        ),
    }  # fmt: skip
    return write_folder(folder, tables, {"crashed": (task, {})})


@pytest.fixture(scope="module", params=["removed", "kept"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(whether the key is removed, the raw folder, the store)."""
    folder, removed = tmp_path_factory.mktemp(request.param), request.param == "removed"
    raw = make(folder / "raw", [["results", "status"]] if removed else [])
    store = write_store(raw, folder / "pre")
    embed_stores([store], "hash", show_progress=False)
    return removed, raw, store


@pytest.mark.parametrize("order", ["recency", "walks"])
def test_no_context_shows_what_it_references(made: tuple[bool, Path, Path], order: str) -> None:
    removed, _, store = made
    (task,) = load_tasks(store)
    meta = open_meta(store)
    statuses = [table.name for table in meta.tables].index("statuses")
    recipes = [
        rustler.Recipe("published"),
        rustler.Recipe("labels", own_labels=0.2, other_labels=0.4, other_order=order, walks=50),
    ]
    sampler = rustler.Sampler(
        [store], [to_sampler(task, 0)], embedder="hash", context_length=128, recipes=recipes,
        child_counts=True,
    )  # fmt: skip
    rows = np.arange(*task.splits["test"], dtype=np.uint32)
    for recipe in range(len(recipes)):
        batch = sampler.contexts(0, rows, recipe=recipe)
        assert (statuses in batch["row_table"]) != removed
        # races have counts of results all the same
        assert len(batch["count"]) > 0
    assert bool(task.hidden_keys) == removed
    assert not [m for m in meta.report["messages"] if "remove_columns" in m]


def test_the_picture_says_so(made: tuple[bool, Path, Path]) -> None:
    removed, _, store = made
    seen = sample_context(store, Asked("crashed", embedder="hash"))
    told = [line for line in seen.absent if "results.status" in line]
    assert (told == ["results.status: leaks the label, so nothing is reached by it"]) == removed


def test_no_entity_is_told_by_it(made: tuple[bool, Path, Path]) -> None:
    removed, raw, _ = made
    task = open_task(open_dataset(raw), "crashed")
    frames = {"val": label_table(task, "val").df}
    columns = _entity_columns(open_dataset(raw), task, frames)
    assert list(columns) == (["race"] if removed else ["race", "status"])


def test_the_joined_baseline_does_not_follow_it(made: tuple[bool, Path, Path]) -> None:
    removed, raw, _ = made
    leaking = {("results", "status")} if removed else set()
    tables = read_tables(open_dataset(raw), target=("results", "crashed"), leaking=leaking)
    assert ("status" in tables["results"].keys) != removed
    # it is no number either
    assert "status" not in [column.name for column in tables["results"].columns]
