"""RelBench folders: what is written loads and evaluates; a folder is whole or not there."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import relbench
from raw_folders import listing
from relbench.base import Database, Table
from relbench.manifest import TaskManifest

from plurel.atomic import is_hidden, new_folder
from plurel.errors import InputError
from plurel.folder import is_complete, read_provenance, write_folder

VAL, TEST = pd.Timestamp("2020-01-09"), pd.Timestamp("2020-01-10")
TASK = TaskManifest(
    name="visits-paid",
    kind="autocomplete",
    task_type="binary_classification",
    entity_table="visits",
    target_col="paid",
)


def database() -> Database:
    people = pd.DataFrame({"row_idx": range(4), "name": ["Ann", None, "Öz", "Bo"]})
    visits = pd.DataFrame(
        {
            "row_idx": range(12),
            "date": pd.date_range("2020-01-01", periods=12, freq="D"),
            "who": [0, 1, 2, 3] * 3,
            "paid": [True, False] * 6,
            "price": [1.5, np.nan] * 6,
        }
    )
    return Database(
        {
            "people": Table(people, {}, "row_idx", None),
            "visits": Table(visits, {"who": "people"}, "row_idx", "date"),
        }
    )


def write(path: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "database": database(),
        "name": "toy",
        "val_timestamp": VAL,
        "test_timestamp": TEST,
        "tasks": [TASK],
        "provenance": {"seed": 3},
        "description": "A toy.",
    }
    return write_folder(path, **(arguments | changes))


def test_relbench_loads_what_was_written(tmp_path: Path) -> None:
    dataset = relbench.load_dataset(write(tmp_path / "toy"))
    assert (dataset.val_timestamp, dataset.test_timestamp) == (VAL, TEST)
    assert dataset.manifest.description == "A toy."
    tables = dataset.get_db(upto_test_timestamp=False).table_dict
    assert list(tables) == ["people", "visits"]
    for name, table in database().table_dict.items():
        assert tables[name].fkey_col_to_pkey_table == table.fkey_col_to_pkey_table
        assert (tables[name].pkey_col, tables[name].time_col) == (table.pkey_col, table.time_col)
        pd.testing.assert_frame_equal(tables[name].df, table.df, check_dtype=False)
    assert len(dataset.get_db().table_dict["visits"].df) == 10


def test_its_tasks_evaluate(tmp_path: Path) -> None:
    task = relbench.load_dataset(write(tmp_path / "toy")).load_task("visits-paid")
    sizes = [len(task.get_table(split).df) for split in ("train", "val", "test")]
    assert sizes == [9, 1, 2]
    assert task.evaluate(np.array([0.9, 0.1])) == {"roc_auc": 1.0}
    assert task.evaluate(np.array([0.1, 0.9])) == {"roc_auc": 0.0}


def test_given_labels_are_used(tmp_path: Path) -> None:
    task = TaskManifest(
        name="outside",
        kind="external",
        task_type="regression",
        entity_table="people",
        entity_col="row_idx",
        target_col="score",
        time_col="when",
    )
    frame = pd.DataFrame({"when": [VAL, VAL], "row_idx": [0, 2], "score": [1.0, 3.0]})
    labels = {"outside": {"train": frame, "val": frame, "test": frame}}
    folder = write(tmp_path / "toy", tasks=[task], labels=labels)
    loaded = relbench.load_dataset(folder).load_task("outside")
    pd.testing.assert_frame_equal(loaded.get_table("train").df, frame, check_dtype=False)
    # NMAE: mean absolute error 1 over the train deviation sqrt(2)
    assert loaded.evaluate(np.array([2.0, 2.0]))["nmae"] == pytest.approx(1 / np.sqrt(2))


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert listing(first) == listing(second)
    assert set(listing(first)) == {
        "manifest.yaml",
        "provenance.yaml",
        "db/people.parquet",
        "db/visits.parquet",
        "tasks/visits-paid/manifest.yaml",
    }
    assert read_provenance(first) == {"seed": 3}


def test_replaced_only_on_request(tmp_path: Path) -> None:
    before = listing(write(tmp_path / "toy"))
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "toy", provenance={"seed": 4})
    assert listing(tmp_path / "toy") == before
    write(tmp_path / "toy", provenance={"seed": 4}, overwrite=True)
    assert read_provenance(tmp_path / "toy") == {"seed": 4}
    assert [item.name for item in tmp_path.iterdir()] == ["toy"]


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds no manifest\.yaml"):
        write(tmp_path / "mine", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        write(tmp_path / "file", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    broken = database()
    broken.table_dict["visits"].df["mixed"] = ["a", 1] * 6
    with pytest.raises(InputError, match=r"table visits can't be written as parquet.*mixed"):
        write(tmp_path / "toy", database=broken)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from plurel.atomic import new_folder
with new_folder(sys.argv[1], marker="manifest.yaml") as folder:
    (folder / "manifest.yaml").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_half_way_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "toy")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not is_complete(tmp_path / "toy")
    leftovers = list(tmp_path.iterdir())
    assert len(leftovers) == 1
    assert is_hidden(leftovers[0])
    with new_folder(tmp_path / "other", marker="m") as other:
        (other / "m").touch()
    write(tmp_path / "toy")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "toy"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with new_folder(tmp_path / "toy", marker="manifest.yaml") as first:
        (first / "manifest.yaml").write_text("first")
        with pytest.raises(InputError, match="is being written by another process"):
            write(tmp_path / "toy")
        assert first.exists()
    assert (tmp_path / "toy" / "manifest.yaml").read_text() == "first"
    assert [item.name for item in tmp_path.iterdir()] == ["toy"]


def test_killed_while_replacing(tmp_path: Path) -> None:
    """Between the two renames there is only a hidden old folder; it does not look complete."""
    write(tmp_path / "toy").rename(tmp_path / ".toy.replaced")
    assert not is_complete(tmp_path / "toy")
    write(tmp_path / "toy")
    assert [item.name for item in tmp_path.iterdir()] == ["toy"]


def broken_database(what: str) -> Database:
    made = database()
    people, visits = made.table_dict["people"], made.table_dict["visits"]
    if what == "empty":
        people.df = people.df.iloc[:0]
    elif what == "no such key":
        people.pkey_col = "id"
    elif what == "duplicate key":
        people.df["row_idx"] = 0
    elif what == "text time":
        visits.df["date"] = visits.df["date"].astype(str)
    elif what == "unknown parent":
        visits.fkey_col_to_pkey_table = {"who": "persons"}
    elif what == "parent without key":
        people.pkey_col = None
    elif what == "file name":
        made.table_dict["../up"] = people
    return made


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("empty", "table people is empty"),
        ("no such key", "table people has no column 'id'"),
        ("duplicate key", "table people: primary key row_idx has duplicates"),
        ("text time", "table visits: time column date holds no timestamps"),
        ("unknown parent", "table visits: who references an unknown table 'persons'"),
        ("parent without key", "who references people, which has no primary key"),
        ("file name", "can't be a file name"),
    ],
)
def test_bad_databases_are_refused(what: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "toy", database=broken_database(what))
    assert list(tmp_path.iterdir()) == []


def test_bad_tasks_are_refused(tmp_path: Path) -> None:
    unfinished = TaskManifest(name="t", kind="autocomplete", task_type="regression")
    with pytest.raises(InputError, match=r"task 't'.*missing"):
        write(tmp_path / "toy", tasks=[unfinished])
    with pytest.raises(InputError, match="distinct"):
        write(tmp_path / "toy", tasks=[TASK, TASK])
    with pytest.raises(InputError, match="not among the tasks"):
        write(tmp_path / "toy", labels={"other": {}})
    with pytest.raises(InputError, match="split 'tests'"):
        write(tmp_path / "toy", labels={"visits-paid": {"tests": pd.DataFrame()}})
