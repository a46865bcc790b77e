"""Tasks: read back from a store, made from feature columns, handed to the sampler."""

from pathlib import Path

import pytest
from opened_store import make, shop
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

import rustler
from plurel.errors import InputError
from rt import store
from rt.store import open_meta
from rt.tasks import Task, column_tasks, load_tasks, narrow_stores, to_sampler


def test_load_tasks(tmp_path: Path) -> None:
    pre = store.write_store(shop(tmp_path / "shop"), tmp_path / "pre")
    (task,) = load_tasks(pre)
    assert task == Task(
        name="churn",
        kind="forecast",
        task_type="binary_classification",
        table=2,
        column=5,
        splits={"train": (7, 9), "val": (9, 10), "test": (10, 11)},
        horizon=30 * 86400,
        hidden_columns=(3,),
        entity_table="users",
        entity_column="uid",
    )
    assert load_tasks(pre, ["churn"]) == [task]
    with pytest.raises(InputError, match=r"'chrun'.*churn"):
        load_tasks(pre, ["chrun"])


def test_multiclass_tasks_are_kept_in_the_store_but_not_trained_on(tmp_path: Path) -> None:
    task = TaskManifest(
        "kind", "autocomplete", "multiclass_classification", entity_table="t", target_col="s"
    )
    found = make(tmp_path, {"s": ["a", "b"], "x": [1, 2]}, tasks={"kind": (task, {})})
    assert [entry["name"] for entry in found.meta.tasks] == ["kind"]
    assert load_tasks(tmp_path / "pre") == []


def test_column_tasks(tmp_path: Path) -> None:
    columns = {
        "k": [0, 1, 2, 3],
        "d": dates("2019-01-01", "2019-02-01", "2020-06-01", "2021-06-01"),
        "number": [1.0, 2.0, 3.0, 4.0],
        "flag": [True, False, True, True],
        "text": ["a", "b", "c", "d"],
        "constant": [5, 5, 6, 7],
        "late": [None, None, 1.0, 2.0],
        "never": [False, False, True, False],
    }
    label = TaskManifest(
        "y", "external", "regression", entity_table="t", entity_col="k", target_col="y"
    )
    splits = {split: {"k": [0, 1], "y": [1.0, 2.0]} for split in ("train", "val", "test")}
    spec = TableSpec("k", "d")
    tasks = column_tasks(make(tmp_path, columns, spec, tasks={"y": (label, splits)}).meta)
    # Constant or absent up to the validation timestamp: nothing to learn from.
    assert [task.name for task in tasks] == ["t.number", "t.flag"]
    assert [task.task_type for task in tasks] == ["regression", "binary_classification"]
    assert tasks[0].splits == {"train": (0, 2), "val": (2, 3), "test": (3, 4)}
    assert (tasks[0].column, tasks[0].horizon, tasks[0].hidden_columns) == (1, None, ())


def test_narrow_stores(tmp_path: Path) -> None:
    stores = []
    for count in (5, 6):
        keys = {f"f{i}": "p" for i in range(count)}
        tables = {
            "p": ({"k": [1, 2], "x": [1, 2]}, TableSpec("k")),
            "c": ({name: [1, 2] for name in keys}, TableSpec(fkeys=keys)),
        }
        raw = write_folder(tmp_path / f"raw{count}", tables)
        stores.append(store.write_store(raw, tmp_path / f"pre{count}"))
    assert narrow_stores(stores) == stores[:1]
    assert narrow_stores(stores, max_foreign_keys=6) == stores


def test_to_sampler(tmp_path: Path) -> None:
    pre = store.write_store(shop(tmp_path / "shop"), tmp_path / "pre")
    task = column_tasks(open_meta(pre))[0]
    assert isinstance(to_sampler(task, 0), rustler.Task)
    assert isinstance(to_sampler(load_tasks(pre)[0], 3, weight=0.5), rustler.Task)
