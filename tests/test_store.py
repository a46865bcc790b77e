"""The store of hand-made folders against values computed by hand, and of real databases against
their parquet files."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from raw_folders import dates, shared_folder, write_folder
from relbench.manifest import TableSpec, TaskManifest
from safetensors.numpy import load_file

from plurel.errors import InputError
from rt import store
from rt.store import NO_TIME, Z_CLIP, StoreMeta, open_meta, preprocess, read_arrays, read_texts

DAY = 86400


class Opened:
    """A store with its cells looked up by names."""

    def __init__(self, folder: Path) -> None:
        self.meta: StoreMeta = open_meta(folder)
        self.arrays = read_arrays(folder)
        self.texts = read_texts(folder).to_pylist()

    def column(self, table: str, name: str, kind: str = "database") -> Any:
        return self.meta.columns[self.meta.column(self.meta.table(table, kind), name)]

    def cells(self, table: str, name: str, kind: str = "database") -> list[Any]:
        """Values of one column in the store's order of rows, None where there is no cell."""
        number = self.meta.table(table, kind)
        column = self.meta.column(number, name)
        found = []
        for row in range(*self.meta.tables[number].rows):
            start, end = self.arrays["cell_ptr"][row : row + 2]
            here = np.flatnonzero(self.arrays["cell_column"][start:end] == column)
            value = self.arrays["cell_value"][start:end][here]
            if len(here) == 0:
                found.append(None)
            elif self.meta.columns[column].type == "text":
                found.append(self.texts[value[0]])
            else:
                found.append(float(value.view(np.float32)[0]))
        return found

    def values(self, table: str, name: str, kind: str = "database") -> list[Any]:
        """Like cells, but numbers as they were before they were normalised."""
        entry = self.column(table, name, kind)
        return [
            None if z is None else z * entry.std + entry.mean for z in self.cells(table, name, kind)
        ]

    def edges(self, direction: str, table: str, kind: str = "database") -> list[list[int]]:
        pointer, rows = self.arrays[f"{direction}_ptr"], self.arrays[f"{direction}_row"]
        span = range(*self.meta.tables[self.meta.table(table, kind)].rows)
        return [rows[pointer[row] : pointer[row + 1]].tolist() for row in span]


def make(
    folder: Path, columns: dict[str, Any], spec: TableSpec | None = None, **more: Any
) -> Opened:
    """The store of a database of one table `t`."""
    write_folder(folder / "raw", {"t": (columns, spec or TableSpec())}, **more)
    return Opened(store.write_store(folder / "raw", folder / "pre"))


def shop(folder: Path) -> Path:
    """Users, and orders that stand out of order in their file, one of them without a date."""
    users = {"uid": [10, 20, 30], "age": [20.0, 40.0, None], "vip": [True, False, True]}
    orders = {
        "oid": ["c", "a", "d", "b"],
        "user": pa.array([20, 10, 99, None], pa.int32()),
        "friend": pa.array([10.0, float("nan"), 10.0, 30.0]),
        "date": dates("2020-06-01", "2019-01-01", None, "2019-06-01"),
        "amount": [5.0, 1.0, 100.0, 3.0],
    }
    task = TaskManifest(
        "churn",
        "forecast",
        "binary_classification",
        entity_table="users",
        entity_col="uid",
        target_col="churn",
        time_col="day",
        timedelta="30 days",
        sql="SELECT 1",
        remove_columns=[["orders", "amount"], ["users", "nothing"]],
    )
    labels = {
        "train": {"day": dates("2019-12-01", "2019-11-01"), "uid": [30, 10], "churn": [1, 0]},
        "val": {"day": dates("2020-01-01"), "uid": [10], "churn": [1]},
        "test": {"day": dates("2021-01-01"), "uid": [20], "churn": [0]},
    }
    return write_folder(
        folder,
        {
            "users": (users, TableSpec("uid")),
            "orders": (orders, TableSpec("oid", "date", {"user": "users", "friend": "users"})),
        },
        {"churn": (task, labels)},
    )


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(
        preprocess(shop(tmp_path / "shop"), tmp_path / "pre", embedder="hash", show_progress=False)
    )


def test_rows_stand_in_order_of_time(opened: Opened) -> None:
    start, end = opened.meta.tables[1].rows
    assert (start, end) == (3, 7)
    assert opened.arrays["row_source"][start:end].tolist() == [1, 3, 0, 2]
    seconds = [
        int(pd.Timestamp(day).timestamp()) for day in ("2019-01-01", "2019-06-01", "2020-06-01")
    ]
    assert opened.arrays["row_time"].tolist()[:7] == [NO_TIME] * 3 + seconds + [NO_TIME]


def test_label_rows_keep_the_order_of_their_splits(opened: Opened) -> None:
    table = opened.meta.tables[2]
    assert (table.name, table.kind, table.rows) == ("churn", "task", (7, 11))
    assert table.splits == {"train": (7, 9), "val": (9, 10), "test": (10, 11)}
    assert opened.arrays["row_source"][7:].tolist() == [0, 1, 2, 3]
    assert opened.edges("parent", "churn", "task") == [[2], [0], [0], [1]]


def test_keys_are_joined_by_value_and_missing_ones_counted(opened: Opened) -> None:
    # Orders a, b, c, d; users 10, 20, 30 are rows 0, 1, 2; user 99 is not there.
    assert opened.edges("parent", "orders") == [[0], [2], [1, 0], [0]]
    assert opened.meta.report["dangling_keys"] == {"orders.user": 1}
    assert opened.meta.report["null_keys"] == {"orders.user": 1, "orders.friend": 1}


def test_children_are_sorted_by_time_then_row(opened: Opened) -> None:
    # User 10: order d has no time (first), then a (2019-01), label 2019-11, label 2020-01, c.
    assert opened.edges("child", "users") == [[6, 3, 8, 9, 5], [5, 10], [4, 7]]
    ptr, times = opened.arrays["child_ptr"], opened.arrays["child_time"]
    assert times[ptr[0]] == NO_TIME
    assert (times == opened.arrays["row_time"][opened.arrays["child_row"]]).all()


def test_keys_are_no_cells_and_nulls_are_absent(opened: Opened) -> None:
    assert [c.name for c in opened.meta.columns] == ["age", "vip", "date", "amount", "day", "churn"]
    assert opened.cells("users", "age")[2] is None
    assert opened.meta.num_cells == 2 + 3 + 3 + 4 + 4 + 4
    counts = np.diff(opened.arrays["cell_ptr"].astype(int)).tolist()
    assert counts == [2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 2]


def test_statistics_come_from_rows_up_to_the_validation_timestamp(opened: Opened) -> None:
    # amount up to 2020-01-01: 1 and 3, and 100 of the row without a date, which is always visible.
    amounts = np.array([1.0, 3.0, 100.0])
    column = opened.column("orders", "amount")
    assert column.mean == pytest.approx(amounts.mean())
    assert column.std == pytest.approx(amounts.std())
    assert opened.values("orders", "amount") == pytest.approx([1, 3, 5, 100])
    assert column.fitted_on == "rows up to val_timestamp"


def test_labels_are_fitted_on_the_train_split(opened: Opened) -> None:
    column = opened.column("churn", "churn", "task")
    assert (column.type, column.mean, column.std) == ("boolean", 0.5, 0.5)
    assert opened.cells("churn", "churn", "task") == [1, -1, 1, -1]


def test_datetimes_share_one_fit_over_the_database(opened: Opened) -> None:
    days = [pd.Timestamp(day).timestamp() for day in ("2019-01-01", "2019-06-01")]
    for table, name, kind in (("orders", "date", "database"), ("churn", "day", "task")):
        column = opened.column(table, name, kind)
        assert column.mean == pytest.approx(np.mean(days))
        assert column.std == pytest.approx(np.std(days))
    assert opened.values("orders", "date")[:2] == pytest.approx(days, abs=60)


def test_two_datetime_columns_are_fitted_together(tmp_path: Path) -> None:
    first, second = dates("2019-01-01", "2019-02-01"), dates("2018-01-01", "2017-05-05")
    third = pa.array([datetime.date(2010, 1, 1), None])
    found = make(tmp_path, {"a": first, "b": second, "c": third})
    every = [
        pd.Timestamp(d).timestamp()
        for d in ("2019-01-01", "2019-02-01", "2018-01-01", "2017-05-05", "2010-01-01")
    ]
    for name in "abc":
        assert found.column("t", name).mean == pytest.approx(np.mean(every))
        assert found.column("t", name).std == pytest.approx(np.std(every))


def test_task_entry(opened: Opened) -> None:
    entry = opened.meta.tasks[0]
    assert (entry["table"], entry["column"], entry["horizon"]) == (2, 5, 30 * DAY)
    assert entry["hidden_columns"] == [3]
    assert entry["splits"] == {"train": [7, 9], "val": [9, 10], "test": [10, 11]}
    assert any("users.nothing" in message for message in opened.meta.report["messages"])


def test_columns_are_named_with_their_table(opened: Opened) -> None:
    names = [opened.texts[column.name_text] for column in opened.meta.columns]
    assert names[2:5] == ["date of orders", "amount of orders", "day of churn"]


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


def test_times_before_1970_and_fractions(tmp_path: Path) -> None:
    time = pa.array([-1500, 1500, 2000, None, -86400000], pa.timestamp("ms"))
    found = make(tmp_path, {"d": time}, TableSpec(time_col="d"))
    # A fraction is rounded up: at -1 s and 2 s these rows have happened, a second earlier not yet.
    assert found.arrays["row_time"].tolist() == [-86400, -1, 2, 2, NO_TIME]
    assert found.arrays["row_source"].tolist() == [4, 0, 1, 2, 3]


def test_splits_of_autocomplete_tasks(tmp_path: Path) -> None:
    def task(name: str, table: str) -> tuple[TaskManifest, dict[str, Any]]:
        manifest = TaskManifest(
            name,
            "autocomplete",
            "binary_classification",
            entity_table=table,
            target_col="y",
            remove_columns=[["timed", "x"]],
        )
        return manifest, {}

    timed = {
        "y": pa.array([1, 0, 1, None, 0], pa.int64()),
        "d": dates("2021-01-02", "2020-01-01", "2021-01-01", None, "2020-01-02"),
        "x": [1, 2, 3, 4, 5],
    }
    untimed = {"y": [float(i % 2) for i in range(20)]}
    tables = {"timed": (timed, TableSpec(time_col="d")), "untimed": (untimed, TableSpec())}
    folder = write_folder(
        tmp_path / "raw", tables, {"a": task("a", "timed"), "b": task("b", "untimed")}
    )
    path = folder / "tasks" / "a" / "manifest.yaml"
    path.write_text(path.read_text() + "timedelta: 2 hours\n")
    found = Opened(store.write_store(folder, tmp_path / "pre"))
    first, second = found.meta.tasks
    assert first["splits"] == {"train": [0, 1], "val": [1, 3], "test": [3, 4]}
    assert second["splits"] == {"train": [5, 21], "val": [21, 23], "test": [23, 25]}
    assert (first["horizon"], second["horizon"]) == (7200, None)
    assert first["hidden_columns"] == [found.meta.column(0, "x")]
    assert {found.column(table, "y").type for table in ("timed", "untimed")} == {"boolean"}
    assert [z and z > 0 for z in found.cells("timed", "y")] == [False, False, True, True, None]


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


def test_recommendation_tasks_are_skipped_with_a_reason(tmp_path: Path) -> None:
    task = TaskManifest("link", "external", "recommendation", evaluator="tgb")
    found = make(tmp_path, {"x": [1]}, tasks={"link": (task, {})})
    assert found.meta.tasks == ()
    assert "recommendation" in found.meta.report["skipped_tasks"]["link"]


@pytest.mark.parametrize(
    ("keys", "references", "links"),
    [
        (
            pa.array(["b", "a", "NA"]),
            pa.array(["NA", "b", None]).dictionary_encode(),
            [[2], [0], []],
        ),
        (pa.array([5, 10**17, -3]), pa.array([-3, 10**17, 4]), [[2], [1], []]),
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
    assert report["null_keys"].get("c.r", 0) == references.null_count


def test_children_of_many_rows_are_sorted(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    num_parents, num_children = 70_000, 100_000
    parent = generator.integers(0, num_parents, num_children)
    days = generator.integers(0, 50, num_children)
    time = pa.array(days * DAY, pa.int64()).cast(pa.timestamp("s"))
    tables = {
        "c": ({"r": parent, "d": time}, TableSpec(time_col="d", fkeys={"r": "p"})),
        "p": ({"k": np.arange(num_parents)}, TableSpec("k")),
        "c2": ({"r": parent, "d": time}, TableSpec(time_col="d", fkeys={"r": "p"})),
    }
    write_folder(tmp_path / "raw", tables)
    arrays = read_arrays(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    row = arrays["child_row"].astype(np.int64)
    owner = np.repeat(np.arange(len(arrays["row_time"])), np.diff(arrays["child_ptr"].astype(int)))
    expected = np.lexsort((row, arrays["child_time"], owner))
    assert (expected == np.arange(len(row))).all()
    forward = np.repeat(
        np.arange(len(arrays["row_time"])), np.diff(arrays["parent_ptr"].astype(int))
    )
    pairs = np.stack([arrays["parent_row"], forward])
    assert (np.unique(pairs, axis=1) == np.unique(np.stack([owner, row]), axis=1)).all()
    assert len(row) == 2 * num_children


def test_arrays_are_safetensors_that_others_read(opened: Opened, tmp_path: Path) -> None:
    official = load_file(tmp_path / "pre" / "store.safetensors")
    assert official.keys() == opened.arrays.keys()
    for name, array in official.items():
        assert array.dtype == opened.arrays[name].dtype
        assert (array == opened.arrays[name]).all()
    embedding = load_file(tmp_path / "pre" / "text.hash.safetensors")["embedding"]
    assert embedding.shape == (opened.meta.num_texts, 64)
    assert embedding.dtype == np.float16


# What stays, what is refused, what is left behind


def test_the_same_store_is_kept_and_an_embedding_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, pre = shop(tmp_path / "shop"), tmp_path / "pre"
    store.write_store(raw, pre)
    before = {path.name: path.read_bytes() for path in pre.iterdir()}
    monkeypatch.setattr(store, "tokenise", lambda *a, **k: pytest.fail("tokenised again"))
    preprocess(raw, pre, embedder="hash", show_progress=False)
    preprocess(raw, pre, embedder="hash", show_progress=False)
    after = {path.name: path.read_bytes() for path in pre.iterdir()}
    assert after.keys() - before.keys() == {"text.hash.safetensors"}
    assert all(after[name] == content for name, content in before.items())


def test_other_input_is_refused_unless_overwritten(tmp_path: Path) -> None:
    raw, pre = shop(tmp_path / "shop"), tmp_path / "pre"
    preprocess(raw, pre, embedder="hash", show_progress=False)
    path = raw / "db" / "users.parquet"
    pq.write_table(pq.read_table(path).set_column(1, "age", [[1.0, 2.0, 3.0]]), path)
    with pytest.raises(InputError, match="other input"):
        preprocess(raw, pre, embedder="hash", show_progress=False)
    preprocess(raw, pre, embedder="hash", overwrite=True, show_progress=False)
    assert Opened(pre).values("users", "age") == pytest.approx([1, 2, 3])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_stores_of_the_same_input_are_identical(tmp_path: Path) -> None:
    raw = shop(tmp_path / "shop")
    first, second = (store.write_store(raw, tmp_path / name) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_cut_short_stores_and_other_versions_are_refused(tmp_path: Path) -> None:
    raw, pre = shop(tmp_path / "shop"), tmp_path / "pre"
    store.write_store(raw, pre)
    whole = (pre / "store.safetensors").read_bytes()
    (pre / "store.safetensors").write_bytes(whole[:-1])
    with pytest.raises(InputError, match="overwrite"):
        store.write_store(raw, pre)
    store.write_store(raw, pre, overwrite=True)
    assert (pre / "store.safetensors").read_bytes() == whole
    meta = json.loads((pre / "meta.json").read_text())
    (pre / "meta.json").write_text(json.dumps(meta | {"format_version": 999}))
    with pytest.raises(InputError, match="version 999"):
        open_meta(pre)
    (pre / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if k != "columns"}))
    with pytest.raises(InputError, match="columns"):
        open_meta(pre)


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(InputError, match="not a store"):
        preprocess(shop(tmp_path / "shop"), tmp_path / "mine", embedder="hash", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    raw = shop(tmp_path / "shop")
    monkeypatch.setattr(store.pq, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        preprocess(raw, tmp_path / "out" / "pre", embedder="hash", show_progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def rewrite(path: Path, column: str, values: Any) -> None:
    table = pq.read_table(path)
    place = table.schema.names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), path)


BAD = {
    "no folder": (lambda f: f.rename(f"{f}-gone"), ["manifest.yaml"]),
    "broken yaml": (
        lambda f: edit(f / "manifest.yaml", "tables:", "tables: ["),
        ["manifest.yaml", "YAML"],
    ),
    "no timestamp": (
        lambda f: edit(f / "manifest.yaml", "'2020-01-01'", "soon"),
        ["val_timestamp", "soon"],
    ),
    "swapped": (lambda f: edit(f / "manifest.yaml", "'2020-01-01'", "2022-01-01"), ["after"]),
    "no parquet": (lambda f: (f / "db" / "users.parquet").unlink(), ["users.parquet"]),
    "no column": (
        lambda f: edit(f / "manifest.yaml", "time_col: date", "time_col: when"),
        ["orders", "when"],
    ),
    "no parent": (
        lambda f: edit(f / "manifest.yaml", "friend: users", "friend: ghosts"),
        ["orders.friend", "ghosts"],
    ),
    "no primary key": (
        lambda f: edit(f / "manifest.yaml", "pkey: uid", "pkey: null"),
        ["orders.user", "primary key"],
    ),
    "unreadable": (
        lambda f: (f / "db" / "users.parquet").write_bytes(b"PAR1 not really"),
        ["users.parquet"],
    ),
    "empty": (
        lambda f: pq.write_table(
            pq.read_table(f / "db" / "users.parquet")[:0], f / "db" / "users.parquet"
        ),
        ["users", "empty"],
    ),
    "twice": (
        lambda f: rewrite(f / "db" / "users.parquet", "uid", [10, 20, 10]),
        ["users.uid", "10", "twice"],
    ),
    "twice text": (
        lambda f: rewrite(f / "db" / "orders.parquet", "oid", ["a", "b", "c", "b"]),
        ["orders.oid", "'b'"],
    ),
    "twice far": (
        lambda f: rewrite(f / "db" / "users.parquet", "uid", [10**12, 20, 10**12]),
        ["users.uid", str(10**12)],
    ),
    "null key": (
        lambda f: rewrite(f / "db" / "users.parquet", "uid", [10, None, 20]),
        ["users.uid", "null"],
    ),
    "key types": (
        lambda f: rewrite(f / "db" / "orders.parquet", "user", list("abcd")),
        ["orders.user", "users.uid"],
    ),
    "time type": (
        lambda f: rewrite(f / "db" / "orders.parquet", "date", [1, 2, 3, 4]),
        ["orders", "date", "int64"],
    ),
    "label": (
        lambda f: rewrite(f / "tasks" / "churn" / "train.parquet", "churn", [0, 7]),
        ["churn", "7"],
    ),
    "label text": (
        lambda f: rewrite(f / "tasks" / "churn" / "val.parquet", "churn", ["yes"]),
        ["churn"],
    ),
    "entity": (
        lambda f: edit(
            f / "tasks" / "churn" / "manifest.yaml", "entity_table: users", "entity_table: x"
        ),
        ["entity_table", "'x'"],
    ),
    "window": (
        lambda f: edit(f / "tasks" / "churn" / "manifest.yaml", "30 days", "a while"),
        ["timedelta", "a while"],
    ),
    "sql": (lambda f: (f / "tasks" / "churn" / "test.parquet").unlink(), ["churn", "RelBench"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    folder = shop(tmp_path / "shop")
    spoil, words = BAD[name]
    spoil(folder)
    with pytest.raises(InputError) as caught:
        preprocess(folder, tmp_path / "out" / "pre", embedder="hash", show_progress=False)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert not (tmp_path / "out").exists()


def test_an_unknown_embedder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="word2vec"):
        preprocess(shop(tmp_path / "shop"), tmp_path / "pre", embedder="word2vec")
    assert not (tmp_path / "pre").exists()


def test_many_databases_share_one_embedding_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = [shop(tmp_path / name) for name in ("a", "b")]
    calls: list[int] = []
    embed = store.embed_texts
    monkeypatch.setattr(
        store,
        "embed_texts",
        lambda model, texts, **k: (calls.append(len(texts)), embed(model, texts, **k))[1],
    )
    stores = store.preprocess_many(raw, tmp_path / "pre", embedder="hash", show_progress=False)
    assert stores == [tmp_path / "pre" / "a", tmp_path / "pre" / "b"]
    assert calls == [open_meta(stores[0]).num_texts]
    contents = [(folder / "text.hash.safetensors").read_bytes() for folder in stores]
    assert contents[0] == contents[1]
    with pytest.raises(InputError, match="'a'"):
        store.preprocess_many([raw[0], tmp_path / "x" / "a"], tmp_path / "pre", embedder="hash")


# Real databases


def test_f1_matches_its_files(tmp_path: Path) -> None:
    raw = shared_folder("rel-f1")
    found = Opened(preprocess(raw, tmp_path / "pre", embedder="hash", show_progress=False))
    assert sum(t.rows[1] - t.rows[0] for t in found.meta.tables if t.kind == "database") == 97_606
    results = pd.read_parquet(raw / "db" / "results.parquet")
    table = found.meta.tables[found.meta.table("results")]
    source = found.arrays["row_source"][slice(*table.rows)]
    past = results[results["date"] <= "2005-01-01"]["points"]
    column = found.column("results", "points")
    assert (column.mean, column.std) == pytest.approx((past.mean(), past.std(ddof=0)))
    bounds = column.mean - Z_CLIP * column.std, column.mean + Z_CLIP * column.std
    expected = np.clip(results["points"].to_numpy(), *bounds)[source]
    np.testing.assert_allclose(found.values("results", "points"), expected, atol=1e-3)
    keys = ["raceId", "driverId", "constructorId"]
    starts = [
        found.meta.tables[found.meta.table(t)].rows[0] for t in ("races", "drivers", "constructors")
    ]
    links = np.array(found.edges("parent", "results"))
    races = found.arrays["row_source"][links[:, 0]]
    assert (races == results["raceId"].to_numpy()[source]).all()
    assert (links[:, 1:] == (results[keys[1:]].to_numpy() + starts[1:])[source]).all()
    sizes = {t["name"]: [b - a for a, b in t["splits"].values()] for t in found.meta.tasks}
    assert sizes["driver-dnf"] == [11_411, 566, 702]
    assert sizes["driver-position"] == [7_453, 499, 760]


def test_chinook_has_its_self_references_and_labels(tmp_path: Path) -> None:
    raw = shared_folder("chinook")
    found = Opened(preprocess(raw, tmp_path / "pre", embedder="hash", show_progress=False))
    employees = pq.read_table(raw / "db" / "employee.parquet")
    bosses = employees.column("reports_to").to_pylist()
    start = found.meta.tables[found.meta.table("employee")].rows[0]
    assert found.edges("parent", "employee") == [[] if b is None else [start + b] for b in bosses]
    labels = [
        pq.read_table(raw / "tasks" / "customer-spend" / f"{s}.parquet").column("spend")
        for s in ("train", "val", "test")
    ]
    spend = pa.chunked_array([chunk for label in labels for chunk in label.chunks]).to_numpy()
    column = found.column("customer-spend", "spend", "task")
    assert column.mean == pytest.approx(labels[0].to_numpy().mean())
    clipped = np.clip(spend, column.mean - Z_CLIP * column.std, column.mean + Z_CLIP * column.std)
    np.testing.assert_allclose(found.values("customer-spend", "spend", "task"), clipped, atol=1e-4)
    phones = pq.read_table(raw / "db" / "customer.parquet").column("fax")
    assert found.cells("customer", "fax") == phones.to_pylist()
    assert pc.count(phones).as_py() < len(phones)


def test_relbench_makes_missing_labels(tmp_path: Path) -> None:
    import shutil

    raw = shared_folder("chinook")
    copy = tmp_path / "chinook"
    shutil.copytree(raw, copy)
    for path in (copy / "tasks" / "customer-buys").glob("*.parquet"):
        path.unlink()
    with_files, made = (
        Opened(store.write_store(f, tmp_path / n)) for f, n in ((raw, "a"), (copy, "b"))
    )
    for name in ("row_time", "parent_row"):
        assert (with_files.arrays[name] == made.arrays[name]).all()
    assert with_files.cells("customer-buys", "buys", "task") == made.cells(
        "customer-buys", "buys", "task"
    )
