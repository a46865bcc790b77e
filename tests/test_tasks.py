"""Tasks: read back from a store, made from feature columns, handed to the sampler."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opened_store import make, shop
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

import rustler
from plurel.errors import InputError
from rt import store
from rt.embedding import embed_stores
from rt.named_tasks import named_tasks
from rt.store import open_meta
from rt.tasks import Task, column_tasks, load_tasks, narrow_stores, to_sampler
from rt.viz import Asked, sample_context

EXTERNAL = TaskManifest(
    "y", "external", "regression", entity_table="t", entity_col="k", target_col="y"
)
ONE_LABEL: dict[str, Any] = {"k": [1], "y": [1.0]}


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
    with pytest.raises(
        InputError, match=r"'kind' is of type multiclass_.*, for which RelBench has no metric"
    ):
        load_tasks(tmp_path / "pre", ["kind"])
    embed_stores([tmp_path / "pre"], "hash", show_progress=False)
    seen = sample_context(tmp_path / "pre", Asked("kind", split="train", embedder="hash"))
    assert [cell.column for cell in seen.cells if cell.is_target] == ["s"]  # it needs no metric


def classes(task: TaskManifest, folder: Path, labels: dict[str, Any]) -> tuple[Any, list[str]]:
    """The entry of a multiclass task, and the texts that the numbers of its classes stand for."""
    days = dates("2019-01-01", "2019-01-02", "2019-01-03", "2019-01-04", "2020-02-01")
    columns = {"k": ["k1", "k2", "k3", "k4", "k5"], "d": days, "level": [7, 30, 30, None, 8]}
    found = make(folder, columns, TableSpec("k", "d"), tasks={"kind": (task, labels)})
    (entry,) = found.meta.tasks
    assert Task.from_meta(entry, folder).classes == tuple(map(tuple, entry["classes"]))
    return entry, [found.texts[number] for _, number in entry["classes"]]


def test_classes_are_the_labels_of_the_train_split_by_frequency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "multiclass_classification"
    autocomplete = TaskManifest("kind", "autocomplete", kind, entity_table="t", target_col="level")
    entry, texts = classes(autocomplete, tmp_path / "a", {})
    # 8 comes after the validation timestamp: nothing to learn from
    assert [label for label, _ in entry["classes"]] == texts == ["30", "7"]
    external = TaskManifest(
        "kind", "external", kind, entity_table="t", entity_col="k", target_col="y"
    )
    labels = {"train": ["b", "k1", "c", "c", None], "val": ["x"] * 5, "test": ["c"] * 5}
    splits = {
        split: {"k": ["k1", "k2", "k3", "k4", "k5"], "y": column}
        for split, column in labels.items()
    }
    entry, texts = classes(external, tmp_path / "b", splits)
    assert [label for label, _ in entry["classes"]] == texts == ["c", "b", "k1"]
    monkeypatch.setattr("rt.classes.CLASS_LIMIT", 2)
    entry, texts = classes(external, tmp_path / "c", splits)
    assert (entry["num_classes"], texts) == (3, ["c", "b"])


def test_other_tasks_have_no_classes(tmp_path: Path) -> None:
    (entry,) = open_meta(store.write_store(shop(tmp_path / "shop"), tmp_path / "pre")).tasks
    assert (entry["num_classes"], entry["classes"]) == (None, None)


def test_a_task_goes_by_the_name_of_its_folder_as_in_relbench(tmp_path: Path) -> None:
    task = TaskManifest("other", "autocomplete", "regression", entity_table="t", target_col="x")
    make(tmp_path, {"x": [1, 2, 3]}, tasks={"folder": (task, {})})
    assert [task.name for task in load_tasks(tmp_path / "pre")] == ["folder"]


def test_a_task_without_labels_for_training_is_skipped(tmp_path: Path) -> None:
    splits = {"train": {"k": pa.array([], pa.int64()), "y": pa.array([], pa.float64())},
              "val": ONE_LABEL, "test": ONE_LABEL}  # fmt: skip
    found = make(tmp_path, {"k": [1], "x": [1]}, TableSpec("k"), tasks={"y": (EXTERNAL, splits)})
    assert found.meta.tasks == ()
    assert found.meta.report["skipped_tasks"] == {"y": "it has no labels for training"}


def test_a_column_is_completed_as_one_type(tmp_path: Path) -> None:
    def task(kind: str) -> TaskManifest:
        return TaskManifest("", "autocomplete", kind, entity_table="t", target_col="x")

    tasks = {"a": task("binary_classification"), "b": task("regression")}
    tasks |= {"c": task("binary_classification")}
    found = make(tmp_path, {"x": [0, 1, 1]}, tasks={name: (t, {}) for name, t in tasks.items()})
    assert [entry["name"] for entry in found.meta.tasks] == ["a", "c"]
    assert found.meta.report["skipped_tasks"] == {"b": "task 'a' takes 'x' as another type"}
    with pytest.raises(InputError, match="no task 'b': it was left out, since task 'a' takes 'x'"):
        named_tasks(tmp_path / "raw", tmp_path / "pre", ["b"])


@pytest.mark.parametrize("missing", [["val"], ["test"], ["train"], ["val", "test"]])
def test_an_external_task_without_a_label_file_is_skipped(
    tmp_path: Path, missing: list[str]
) -> None:
    whole = dict.fromkeys(("train", "val", "test"), ONE_LABEL)
    part = {split: labels for split, labels in whole.items() if split not in missing}
    tasks = {"part": (EXTERNAL, part), "whole": (EXTERNAL, whole)}
    found = make(tmp_path, {"k": [1], "x": [1]}, TableSpec("k"), tasks=tasks)
    assert [task.name for task in load_tasks(tmp_path / "pre")] == ["whole"]
    names = ", ".join(f"{split}.parquet" for split in missing)
    assert found.meta.report["skipped_tasks"] == {
        "part": f"{names} missing; an external task needs its label files"
    }


def test_an_external_task_with_a_damaged_label_file_is_an_error(tmp_path: Path) -> None:
    labels = dict.fromkeys(("train", "val", "test"), ONE_LABEL)
    tables = {"t": ({"k": [1], "x": [1]}, TableSpec("k"))}
    raw = write_folder(tmp_path / "raw", tables, {"y": (EXTERNAL, labels)})
    file = raw / "tasks" / "y" / "val.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"val\.parquet: unreadable parquet file"):
        store.write_store(raw, tmp_path / "pre")
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"val\.parquet: unreadable \(No such file"):
        store.write_store(raw, tmp_path / "pre")


def test_an_external_task_with_a_wrong_manifest_is_an_error_without_labels_too(
    tmp_path: Path,
) -> None:
    wrong = TaskManifest("y", "external", "regression", entity_table="u", entity_col="k",
                         target_col="y")  # fmt: skip
    with pytest.raises(InputError, match="entity_table 'u' is not in the database"):
        make(tmp_path, {"k": [1], "x": [1]}, TableSpec("k"), tasks={"y": (wrong, {})})


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
    splits = {split: {"k": [0, 1], "y": [1.0, 2.0]} for split in ("train", "val", "test")}
    spec = TableSpec("k", "d")
    tasks = column_tasks(make(tmp_path, columns, spec, tasks={"y": (EXTERNAL, splits)}).meta)
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
