"""The store of a hand-made folder against values computed by hand; what is kept and refused."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opened_store import DAY, Opened, make, shop
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest
from safetensors.numpy import load_file, save_file

import rustler
from plurel.errors import InputError
from plurel.rng import stream
from rt import store
from rt.embedding import STRINGS
from rt.files import map_arrays
from rt.store import NO_TIME, open_meta, preprocess, read_arrays, read_texts
from rt.tasks import load_tasks, to_sampler
from rt.text import HashEmbedder


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
    assert column.fitted_on == "train split"
    assert opened.cells("churn", "churn", "task") == [1, -1, 1, -1]


def test_datetimes_share_one_fit_over_the_database(opened: Opened) -> None:
    # Orders up to 2020-01-01 and the labels of the train split.
    days = ("2019-01-01", "2019-06-01", "2019-12-01", "2019-11-01")
    days = [pd.Timestamp(day).timestamp() for day in days]
    for table, name, kind in (("orders", "date", "database"), ("churn", "day", "task")):
        column = opened.column(table, name, kind)
        assert column.mean == pytest.approx(np.mean(days))
        assert column.std == pytest.approx(np.std(days))
    assert opened.values("orders", "date")[:2] == pytest.approx(days[:2], abs=60)


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
    path.write_text(path.read_text() + "timedelta: 7199500 ms\n")
    found = Opened(store.write_store(folder, tmp_path / "pre"))
    first, second = found.meta.tasks
    assert first["splits"] == {"train": [0, 1], "val": [1, 3], "test": [3, 4]}
    assert second["splits"] == {"train": [5, 21], "val": [21, 23], "test": [23, 25]}
    assert (first["horizon"], second["horizon"]) == (7200, None)
    assert first["hidden_columns"] == [found.meta.column(0, "x")]
    assert {found.column(table, "y").type for table in ("timed", "untimed")} == {"boolean"}
    assert [z and z > 0 for z in found.cells("timed", "y")] == [False, False, True, True, None]


def test_recommendation_tasks_are_skipped_with_a_reason(tmp_path: Path) -> None:
    task = TaskManifest("link", "external", "recommendation", evaluator="tgb")
    found = make(tmp_path, {"x": [1]}, tasks={"link": (task, {})})
    assert found.meta.tasks == ()
    assert "recommendation" in found.meta.report["skipped_tasks"]["link"]


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
    mapped = map_arrays(tmp_path / "pre" / "store.safetensors")
    assert official.keys() == mapped.keys()
    for name, array in official.items():
        assert array.dtype == mapped[name].dtype
        assert (array == mapped[name]).all()
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


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("records", lambda array: array[:5]),
        ("parent_row", lambda array: array + np.uint32(100)),
        ("row_rank", lambda array: array + np.uint32(100)),
        ("child_rank", None),
        ("time_value", lambda array: array[::-1].copy()),
    ],
)
def test_damaged_stores_are_not_kept(name: str, change: Any, tmp_path: Path) -> None:
    raw, pre = shop(tmp_path / "shop"), tmp_path / "pre"
    store.write_store(raw, pre)
    file = pre / "store.safetensors"
    whole = file.read_bytes()
    arrays = load_file(file)
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = change(array)
    save_file(arrays, file, metadata={"format_version": str(rustler.FORMAT_VERSION)})
    with pytest.raises(InputError, match=r"holds no complete store .*overwrite"):
        store.write_store(raw, pre)
    store.write_store(raw, pre, overwrite=True)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "name", ["store.safetensors", "text.hash.safetensors", "meta.json", STRINGS]
)
def test_a_bit_that_has_changed_is_found(name: str, tmp_path: Path) -> None:
    pre = preprocess(shop(tmp_path / "shop"), tmp_path / "pre", embedder="hash")
    task = to_sampler(load_tasks(pre)[0], 0)
    file = pre / name
    whole = file.read_bytes()
    # a checksum whose own name has changed is not read; the data are right then
    start = 8 + int.from_bytes(whole[:8], "little") if "safetensors" in name else 0

    def read() -> None:
        open_meta(pre)
        read_texts(pre)
        rustler.Sampler([pre], [task], embedder="hash")

    draws = stream(0, "flips", name)
    for place in draws.choice(np.arange(start, len(whole)), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(draws.integers(8))
        file.write_bytes(damaged)
        with pytest.raises((rustler.RustlerError, InputError)) as error:
            read()
        assert str(pre) in str(error.value)
        assert "\n" not in str(error.value)
    file.write_bytes(whole)
    read()


def test_one_row_is_read_as_in_all(tmp_path: Path) -> None:
    whole = read_arrays(store.write_store(shop(tmp_path / "shop"), tmp_path / "pre"))
    one = read_arrays(tmp_path / "pre")
    for row in range(whole.meta.num_rows):
        cells = slice(*map(int, whole["cell_ptr"][row : row + 2]))
        columns, values = whole["cell_column"][cells].tolist(), whole["cell_value"][cells].tolist()
        assert one.cells_of(row) == dict(zip(columns, values, strict=True))
        parents = slice(*map(int, whole["parent_ptr"][row : row + 2]))
        there = [parent for parent in one.parents_of(row) if parent is not None]
        assert there == whole["parent_row"][parents].tolist()
        children = slice(*map(int, whole["child_ptr"][row : row + 2]))
        rows, times = one.children_of(row)
        assert rows.tolist() == whole["child_row"][children].tolist()
        assert times.tolist() == whole["child_time"][children].tolist()
    with pytest.raises(InputError, match="row 99 is not below"):
        one.cells_of(99)


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


def test_an_unknown_embedder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="word2vec"):
        preprocess(shop(tmp_path / "shop"), tmp_path / "pre", embedder="word2vec")
    assert not (tmp_path / "pre").exists()


def test_many_databases_share_one_embedding_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = [shop(tmp_path / name) for name in ("a", "b")]
    embedded: list[str] = []
    embed = HashEmbedder.embed
    monkeypatch.setattr(
        HashEmbedder, "embed", lambda self, texts: (embedded.extend(texts), embed(self, texts))[1]
    )
    stores = store.preprocess_many(raw, tmp_path / "pre", embedder="hash", show_progress=False)
    assert stores == [tmp_path / "pre" / "a", tmp_path / "pre" / "b"]
    assert sorted(embedded) == sorted(set(read_texts(stores[0]).to_pylist()))
    contents = [(folder / "text.hash.safetensors").read_bytes() for folder in stores]
    assert contents[0] == contents[1]
    with pytest.raises(InputError, match="'a'"):
        store.preprocess_many([raw[0], tmp_path / "x" / "a"], tmp_path / "pre", embedder="hash")


def test_the_sampler_reads_the_same_rows(opened: Opened, tmp_path: Path) -> None:
    mapped = rustler.Store(tmp_path / "pre")
    assert (mapped.num_rows, mapped.num_cells) == (opened.meta.num_rows, opened.meta.num_cells)
    children = opened.edges("child", "users")
    for row in range(*opened.meta.tables[0].rows):
        assert mapped.row(row)["children"] == children[row]
    order = mapped.row(3)
    assert (order["table"], order["time"], order["parents"]) == (1, 1546300800, [0])
    assert [column for column, _, _ in order["cells"]] == [2, 3]
    assert order["cells"][1][1] == pytest.approx(opened.cells("orders", "amount")[0])
