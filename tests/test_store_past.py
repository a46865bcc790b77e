"""Statistics come from the past alone: what happens later changes none of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from opened_store import Opened, make
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

from rt import store

DAYS = ("2018-03-01", "2019-06-01", "2020-01-01", None, "2020-01-02", "2022-05-05")
"""The last two lie after the validation timestamp, 2020-01-01."""


def world(folder: Path, late: Any) -> Opened:
    """A database and its tasks; `late(column)` gives the two values of a column that come after
    the validation timestamp, or in the val and test labels."""
    rows = {
        "d": dates(*DAYS[:4], *late("day")),
        "x": pa.array([1.0, 2.0, None, 7.0, *late("number")]),
        "large": pa.array([2**62 + 1, 2**62 + 3, 2**62, 2**62, *late("large")]),
        "close": pa.array([1e15, 1e15 + 1, 1e15 + 2, 1e15, *late("number")]),
        "flag": pa.array([True, False, True, True, *late("flag")]),
        "due": dates("2018-03-02", None, "2025-01-01", None, *late("day")),
        "level": pa.array([1, 2, 2, None, *late("level")]),
        "word": pa.array(["a", "b", "a", "c", *late("word")]),
    }
    labels = {
        "train": {"d": dates("2019-01-01", "2019-02-01"), "k": [1, 2], "y": [3.0, 8.0]},
        **{
            split: {"d": dates(late("day")[i]), "k": [1], "y": [float(late("number")[i])]}
            for i, split in enumerate(("val", "test"))
        },
    }
    forecast = TaskManifest(
        "y",
        "forecast",
        "regression",
        entity_table="p",
        entity_col="k",
        target_col="y",
        time_col="d",
        timedelta="1 day",
        sql="SELECT 1",
    )
    kind = TaskManifest("kind", "autocomplete", "multiclass_classification", entity_table="t",
                        target_col="level")  # fmt: skip
    tables = {
        "p": ({"k": [1, 2], "size": [5.0, 9.0]}, TableSpec("k")),
        "t": ({"r": [1, 2, 1, 2, *late("key")]} | rows, TableSpec(None, "d", {"r": "p"})),
    }
    raw = write_folder(folder / "raw", tables, {"y": (forecast, labels), "kind": (kind, {})})
    return Opened(store.write_store(raw, folder / "pre"))


def one_future(column: str) -> Any:
    return {"day": DAYS[4:], "number": [3.0, 4.0], "large": [2**62, 2**62], "flag": [True, False],
            "level": [1, 2], "word": ["a", "b"], "key": [1, 2]}[column]  # fmt: skip


def another_future(column: str) -> Any:
    return {"day": ("2020-07-01", "2100-01-01"), "number": [-1e300, 1e200],
            "large": [-(2**63), 2**63 - 1], "flag": [False, False], "level": [9, 9],
            "word": ["q", "r"], "key": [2, 2]}[column]  # fmt: skip


def test_another_future_changes_no_statistic_and_no_cell_of_the_past(tmp_path: Path) -> None:
    first, second = world(tmp_path / "a", one_future), world(tmp_path / "b", another_future)
    for one, other in zip(first.meta.columns, second.meta.columns, strict=True):
        assert (one.mean, one.std, one.train_varies) == (other.mean, other.std, other.train_varies)
    assert first.cells("y", "y", "task")[:2] == second.cells("y", "y", "task")[:2]
    for column in ("d", "x", "large", "close", "flag", "due", "level", "word"):
        past = [0, 1, 2, 5]  # the row without a time stands last
        cells = [[found.cells("t", column)[row] for row in past] for found in (first, second)]
        assert cells[0] == cells[1]
    labels = [[label for label, _ in found.meta.tasks[0]["classes"]] for found in (first, second)]
    assert labels[0] == labels[1] == ["2", "1"]


def test_the_fixture_bites(tmp_path: Path) -> None:
    """Another past does change them."""
    first = world(tmp_path / "a", one_future)
    found = {column.name: column for column in first.meta.columns}
    assert found["x"].mean == pytest.approx(np.mean([1, 2, 7]))
    assert found["x"].fitted_on == "rows up to val_timestamp"
    assert (found["y"].mean, found["y"].fitted_on) == (5.5, "train split")
    assert found["due"].fitted_on == "datetimes of rows up to val_timestamp"
    assert found["size"].fitted_on == "all rows"
    assert found["large"].std == pytest.approx(np.std([1, 3, 0, 0]))


def test_a_target_without_time_is_fitted_on_its_train_split(tmp_path: Path) -> None:
    columns = {"x": [0.0, 1.0] * 4 + [1000.0] * 2, "size": [0.0, 1.0] * 4 + [1000.0] * 2}
    task = TaskManifest(
        "guess-x", "autocomplete", "regression", entity_table="t", target_col="x", remove_columns=[]
    )
    found = make(tmp_path, columns, tasks={"guess-x": (task, {})})
    x, size = found.column("t", "x"), found.column("t", "size")
    assert (x.mean, x.std, x.fitted_on) == (0.5, 0.5, "train split")
    assert (size.mean, size.fitted_on) == (200.4, "all rows")


def test_a_row_of_the_validation_timestamp_is_past_and_a_fraction_later_is_not(
    tmp_path: Path,
) -> None:
    bound = int(np.datetime64("2020-01-01", "ns").astype(int))
    time = pa.array([bound, bound + 1], pa.timestamp("ns"))
    found = make(tmp_path, {"d": time, "x": [1.0, 100.0]}, TableSpec(time_col="d"))
    assert found.column("t", "x").mean == 1
