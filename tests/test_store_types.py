"""Texts, outliers and labels of every type, and what normalises them."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opened_store import Opened, make
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

from rt import store
from rt.store import Z_CLIP

SPECIAL = ["NA", "None", "", "nan", None, "NA", "null"]


def test_texts_that_look_like_nulls_are_values(tmp_path: Path) -> None:
    found = make(tmp_path, {"s": SPECIAL, "d": pa.array(SPECIAL).dictionary_encode()})
    assert found.cells("t", "s") == found.cells("t", "d") == SPECIAL
    assert len(found.texts) == len(set(found.texts)) == 2 + 5
    strings = pq.read_table(tmp_path / "pre" / "strings.parquet").column("text")
    assert strings.to_pylist() == found.texts


def test_only_texts_that_occur_are_kept_and_long_ones_cut(tmp_path: Path) -> None:
    unused = pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int8()), ["a", "unused", "b"])
    found = make(tmp_path, {"d": unused, "long": ["é" * (store.TEXT_LIMIT + 5), "short"]})
    assert found.cells("t", "d") == ["b", "a"]
    assert "unused" not in found.texts
    assert found.cells("t", "long") == ["é" * store.TEXT_LIMIT, "short"]


def test_numbers_that_are_none_and_outliers(tmp_path: Path) -> None:
    values = [1.0, 2.0, float("inf"), float("nan"), None, 3.0, float("-inf")]
    found = make(tmp_path, {"x": values, "big": [0.0] * 6 + [1e300], "late": [1.0] * 6 + [2.0]})
    assert found.values("t", "x") == pytest.approx([1, 2, None, None, None, 3, None])
    assert found.meta.report["infinite_values"] == {"t.x": 2}
    assert all(np.isfinite(found.cells("t", "big")))


def test_normalised_values_are_cut(tmp_path: Path) -> None:
    columns = {
        "x": [0.0, 1.0, 1000.0, -1000.0],
        "d": dates("2019-01-01", "2019-01-02", "2020-02-01", "2020-02-02"),
    }
    found = make(tmp_path, columns, TableSpec(time_col="d"))
    assert found.cells("t", "x") == [-1, 1, Z_CLIP, -Z_CLIP]
    assert found.meta.z_clip == Z_CLIP


@pytest.mark.parametrize("past", [True, False])
def test_sign_of_a_boolean_is_its_value_even_if_the_past_is_constant(
    tmp_path: Path, past: bool
) -> None:
    columns = {"b": [past, past, not past], "d": dates("2019-01-01", "2019-01-02", "2020-02-01")}
    found = make(tmp_path, columns, TableSpec(time_col="d"))
    assert [z > 0 for z in found.cells("t", "b")] == [past, past, not past]
    assert not found.column("t", "b").train_varies


def external(task_type: str) -> TaskManifest:
    return TaskManifest(
        "label", "external", task_type, entity_table="t", entity_col="k", target_col="y"
    )


def labelled(folder: Path, task_type: str, labels: list[Any]) -> Opened:
    splits = {
        split: {"k": ["a"], "y": [value]}
        for split, value in zip(("train", "val", "test"), labels, strict=True)
    }
    write_folder(
        folder / "raw",
        {"t": ({"k": ["a"]}, TableSpec("k"))},
        {"label": (external(task_type), splits)},
    )
    return Opened(store.write_store(folder / "raw", folder / "pre"))


@pytest.mark.parametrize(
    ("task_type", "labels", "kind", "cells"),
    [
        ("binary_classification", [True, False, True], "boolean", [1, -1, 1]),
        ("binary_classification", [0.0, 1.0, None], "boolean", [-1, 1, None]),
        ("regression", [2, 3, 1], "number", [0, 1, -1]),
        ("regression", [True, False, True], "number", [0, -1, 0]),
        ("multiclass_classification", ["x", "y", "x"], "text", ["x", "y", "x"]),
        ("multiclass_classification", [3, 4, 3], "text", ["3", "4", "3"]),
        ("multiclass_classification", [3, 4.0, None], "text", ["3", "4", None]),
        ("multiclass_classification", [3.5, 4.0, float("nan")], "text", ["3.5", "4", None]),
        ("multiclass_classification", [True, False, True], "text", ["true", "false", "true"]),
        ("multiclass_classification", [[1], [2], [1]], "text", ["[1]", "[2]", "[1]"]),
        ("regression", [Decimal("1.50"), 2, 1.0], "number", [0, 0.5, -0.5]),
        ("regression", [datetime.timedelta(days=1), None, None], "number", [0, None, None]),
    ],
)
def test_label_types(
    tmp_path: Path, task_type: str, labels: list[Any], kind: str, cells: list[Any]
) -> None:
    found = labelled(tmp_path, task_type, labels)
    assert found.column("label", "y", "task").type == kind
    assert found.cells("label", "y", "task") == cells
    assert found.meta.tasks[0]["horizon"] is None
    assert found.edges("parent", "label", "task") == [[0], [0], [0]]
