"""Columns, labels and keys of every type, and what normalises them."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from opened_store import DAY, Opened, make
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

from rt import store
from rt.store import Z_CLIP

SPECIAL = ["NA", "None", "", "nan", None, "NA", "null"]


def test_every_type(tmp_path: Path) -> None:
    columns = {
        "int": pa.array([1, None, 3], pa.int16()),
        "decimal": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")]),
        "duration": pa.array([1500, None, 0], pa.duration("ms")),
        "clock": pa.array([datetime.time(0, 1), None, datetime.time(1)], pa.time64("us")),
        "bool": pa.array([True, None, False]),
        "day": pa.array([datetime.date(1850, 1, 2), None, datetime.date(2150, 1, 1)]),
        "zoned": pa.array([0, None, 86400], pa.timestamp("s", "Asia/Tokyo")),
        "category": pa.array(["x", None, "y"]).dictionary_encode(),
        "level": pa.array([7, None, 9], pa.int64()).dictionary_encode(),
        "raw": pa.array([b"abc", None, b"\xff\x00"]),
        "nested": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
        "nothing": pa.nulls(3),
        "empty": pa.array([None, None, None], pa.float32()),
    }
    found = make(tmp_path, columns)
    kinds = {column.name: column.type for column in found.meta.columns}
    assert kinds == dict.fromkeys(
        ("int", "decimal", "duration", "clock", "level", "empty"), "number"
    ) | {
        "bool": "boolean",
        "day": "datetime",
        "zoned": "datetime",
    } | dict.fromkeys(("category", "raw", "nested", "nothing"), "text")
    near = {"abs": 1e-5, "nan_ok": False}
    assert found.values("t", "decimal")[2] == pytest.approx(-3.5, **near)
    assert found.values("t", "duration")[0] == pytest.approx(1.5, **near)
    assert found.values("t", "clock")[2] == pytest.approx(3600, rel=1e-6)
    assert found.values("t", "level")[2] == pytest.approx(9, **near)
    assert found.values("t", "zoned")[2] == pytest.approx(DAY, abs=DAY)
    assert found.values("t", "day")[0] == pytest.approx(-43829 * DAY, abs=DAY)
    assert found.cells("t", "raw") == ["abc", None, "ff00"]
    assert found.cells("t", "nested") == ["[1, 2]", None, "[]"]
    assert found.cells("t", "category") == ["x", None, "y"]
    assert found.cells("t", "nothing") == found.cells("t", "empty") == [None] * 3
    assert [found.cells("t", name)[1] for name in columns] == [None] * len(columns)


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


def test_large_integers_and_constants_survive_float32(tmp_path: Path) -> None:
    base = 10**15
    found = make(tmp_path, {"id": [base, base + 1, base + 2], "same": [0.1, 0.1, 0.1]})
    assert found.cells("t", "id") == pytest.approx([-1.2247449, 0, 1.2247449])
    assert found.cells("t", "same") == [0, 0, 0]
    assert found.column("t", "same").std == 1


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


@pytest.mark.parametrize(
    ("keys", "references", "links"),
    [
        (
            pa.array(["b", "a", "NA"]),
            pa.array(["NA", "b", None]).dictionary_encode(),
            [[2], [0], []],
        ),
        (pa.array([5, 10**17, -3]), pa.array([-3, 10**17, 4]), [[2], [1], []]),
        (pa.array([0, 1, 2]), pa.array([None, 1, 0]), [[], [1], [0]]),
        (pa.array([0, 1, 2]), pa.array([float("nan"), 1.0, 0.0]), [[], [1], [0]]),
        (pa.array([2.0, 0.0, 1.0]), pa.array([1, 2, 7], pa.uint8()), [[2], [0], []]),
        (pa.array([1, 2, 3], pa.decimal128(20, 0)), pa.array([2.0, 2.5, None]), [[1], [], []]),
        (pa.array([b"x", b"y", b"z"]), pa.array([b"z", b"x", b"w"]), [[2], [0], []]),
        (
            dates("2020-01-01", "2020-01-02", "2020-01-03"),
            dates("2020-01-03", None, "2020-02-01").cast(pa.timestamp("s")),
            [[2], [], []],
        ),
        (
            pa.array([2**63 + 5, 1, 2], pa.uint64()),
            pa.array([2, 2**63 + 5, 3], pa.uint64()),
            [[2], [0], []],
        ),
        (pa.array([1, 2, 3]), pa.nulls(3), [[], [], []]),
    ],
)
def test_keys_of_every_type(
    tmp_path: Path, keys: pa.Array, references: pa.Array, links: list[Any]
) -> None:
    write_folder(
        tmp_path / "raw",
        {"p": ({"k": keys}, TableSpec("k")), "c": ({"r": references}, TableSpec(fkeys={"r": "p"}))},
    )
    found = Opened(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    assert found.edges("parent", "c") == links
    missing = sum(not link for link in links)
    report = found.meta.report
    assert report["dangling_keys"].get("c.r", 0) + report["null_keys"].get("c.r", 0) == missing
    nulls = pc.is_null(references, nan_is_null=True)
    assert report["null_keys"].get("c.r", 0) == pc.sum(nulls).as_py()


def test_keys_of_a_table_that_is_put_in_order_of_time(tmp_path: Path) -> None:
    tables = {
        "p": ({"k": [7, 8, 9], "d": dates("2020-03-01", "2020-01-01", None)}, TableSpec("k", "d")),
        "c": ({"r": [7, 8, 9, 7]}, TableSpec(fkeys={"r": "p"})),
    }
    write_folder(tmp_path / "raw", tables)
    found = Opened(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    # In order of time the parents are 8, 7, 9.
    assert found.edges("parent", "c") == [[1], [0], [2], [1]]
    assert found.edges("child", "p") == [[4], [3, 6], [5]]
