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

from plurel.errors import InputError
from rt import store
from rt.joined_source import JoinedSource
from rt.raw import MemorySource
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


def joined(*parts: pa.Array) -> pa.ChunkedArray:
    """The column `c` of splits that are written so."""
    sources = [MemorySource("part", pa.table({"c": part})) for part in parts]
    return JoinedSource("tasks/churn", sources).read("c")


def times(kind: pa.DataType, *numbers: int) -> pa.Array:
    return pa.array(numbers, pa.int64()).cast(kind)


SPLITS = {
    "signs": ([pa.array([2**64 - 1], pa.uint64()), pa.array([-1])],
              pa.array([2**64 - 1, -1], pa.decimal128(20, 0))),
    "unsigned": ([pa.array([2**64 - 1], pa.uint64()), pa.array([1])],
                 pa.array([2**64 - 1, 1], pa.uint64())),
    "integers": ([pa.array([7], pa.uint64()), pa.array([-1], pa.int8()), pa.array([True])],
                 pa.array([7, -1, 1])),
    "fractions": ([pa.array([2**53]), pa.array([1.5, None])], pa.array([2.0**53, 1.5, None])),
    "large integers": ([pa.array([2**53 + 1]), pa.array([1.0])], pa.array([2**53 + 1, 1])),
    "decimals": ([pa.array([Decimal("0.123456789012345678")]), pa.array([2]), pa.array([True])],
                 pa.array([Decimal("0.123456789012345678"), Decimal(2), Decimal(1)],
                          pa.decimal256(76, 18))),
    "decimals and floats": ([pa.array([Decimal("0.10")]), pa.array([1 / 3])],
                            pa.array([0.1, 1 / 3])),
    "long decimals and floats": ([pa.array([Decimal("0.123456789012345678")]), pa.array([0.5])],
                                 pa.array([Decimal("0.123456789012345678"), Decimal("0.5")],
                                          pa.decimal256(76, 18))),
    "nanoseconds": ([times(pa.timestamp("ns"), 10**9 + 1), times(pa.timestamp("us"), 1)],
                    times(pa.timestamp("ns"), 10**9 + 1, 1000)),
    "far times": ([times(pa.timestamp("ns"), 2000), times(pa.timestamp("us"), 2**60)],
                  times(pa.timestamp("us"), 2, 2**60)),
    "zones": ([times(pa.timestamp("s", "Asia/Kolkata"), 1), times(pa.timestamp("ms"), 1)],
              times(pa.timestamp("ms"), 1000, 1)),
    "days": ([pa.array([1], pa.date32()), times(pa.timestamp("s"), 1)],
             times(pa.timestamp("s"), 86400, 1)),
    "durations": ([times(pa.duration("s"), 1), times(pa.duration("us"), 1)],
                  times(pa.duration("us"), 10**6, 1)),
    "clocks": ([pa.array([1], pa.time32("s")), pa.array([1], pa.time64("us"))],
               times(pa.time64("ns"), 10**9, 1000)),
    "texts": ([pa.array(["a"], pa.string_view()), pa.array(["b"]).dictionary_encode()],
              pa.array(["a", "b"], pa.large_string())),
    "nulls": ([pa.nulls(1, pa.list_(pa.int8())), pa.array([1])], pa.array([None, 1])),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_splits_of_several_types_keep_their_values(name: str) -> None:
    parts, wanted = SPLITS[name]
    found = joined(*parts)
    assert found.type == wanted.type
    assert found.combine_chunks().equals(wanted)


NONE = [
    (pa.array([2**53 + 1]), pa.array([1.5])),
    (pa.array([Decimal("0.123456789012345678")]), pa.array([1e100])),
    (times(pa.timestamp("ns"), 1), times(pa.timestamp("us"), 2**60)),
    (times(pa.duration("s"), 1), pa.array([1])),
    (pa.array([1]), pa.array(["a"])),
    (pa.array([[1]]), pa.array([1])),
]


@pytest.mark.parametrize("parts", NONE)
def test_splits_of_types_that_no_type_holds_are_refused(parts: tuple[pa.Array, ...]) -> None:
    with pytest.raises(InputError, match="tasks/churn: column 'c' has several types") as caught:
        joined(*parts)
    assert all(str(part.type) in str(caught.value) for part in parts)


def test_a_label_row_is_never_early_whatever_the_other_splits_hold(tmp_path: Path) -> None:
    splits = {
        split: {"k": [1], "at": times(pa.timestamp(unit), number), "y": [1.0]}
        for split, unit, number in (("train", "ns", 10**9 + 1), ("val", "us", 1), ("test", "us", 1))
    }
    task = external("regression")
    task.time_col = "at"
    write_folder(tmp_path / "raw", {"t": ({"k": [1]}, TableSpec("k"))}, {"label": (task, splits)})
    found = Opened(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    assert found.arrays["row_time"][1:].tolist() == [2, 1, 1]
