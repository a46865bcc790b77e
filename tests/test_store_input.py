"""Bad input: one line that names the thing, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from opened_store import shop

from plurel.errors import InputError
from rt.raw import read_database
from rt.store import preprocess, preprocess_many


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def rewrite(path: Path, column: str, values: Any) -> None:
    table = pq.read_table(path)
    place = table.schema.names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), path)


def change(path: Path, key: str, value: Any) -> None:
    manifest = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(manifest | {key: value}))


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


def without_labels(folder: Path, **entries: Any) -> None:
    for split in ("train", "val", "test"):
        (folder / "tasks" / "churn" / f"{split}.parquet").unlink()
    for key, value in entries.items():
        change(folder / "tasks" / "churn" / "manifest.yaml", key, value)


@pytest.mark.parametrize("entries", [{"sql": None}, {"sql": "nonsense"}])
def test_a_forecast_whose_labels_cannot_be_made_says_what_helps(
    tmp_path: Path, entries: dict[str, Any]
) -> None:
    folder = shop(tmp_path / "shop")
    without_labels(folder, **entries)
    with pytest.raises(InputError, match="churn") as caught:
        preprocess(folder, tmp_path / "pre", embedder="hash", show_progress=False)
    message = str(caught.value)
    assert "write the label files" in message, message
    assert "or remove the task's folder" in message
    assert "tasks=" not in message


ODD = [
    *(("task", "task_type", value) for value in (["binary_classification"], {"a": 1})),
    *(("task", "kind", value) for value in (["forecast"], 3)),
    *(("task", "entity_table", value) for value in (["users"], {"a": 1}, 7)),
    *(("task", "entity_col", value) for value in (["user"], {"a": 1}, 7)),
    *(("task", "target_col", value) for value in (["churn"], {"a": 1}, 7)),
    *(("task", "time_col", value) for value in (["date"], {"a": 1}, 7)),
    *(("task", "timedelta", value) for value in (["30 days"], {"a": 1}, 7, "NaT", "9e99 days")),
    *(("task", "remove_columns", value) for value in ("all", {"a": 1}, [[["users"], "age"]])),
    *(("database", "name", value) for value in (["shop"], {"a": 1})),
    *(
        ("database", "test_timestamp", value)
        for value in (
            *(["2021-01-01"], {"a": 1}, 7, 2021.5, True, None),
            *("9999-12-31 23:59:59-23:59", "31 Dec 9999 23:59:59 -2359", "12-2021-45"),
        )
    ),
]


@pytest.mark.parametrize(("file", "key", "value"), ODD)
def test_manifests_with_other_values_than_texts(
    tmp_path: Path, file: str, key: str, value: Any
) -> None:
    folder = shop(tmp_path / "shop")
    path = folder / ("manifest.yaml" if file == "database" else "tasks/churn/manifest.yaml")
    change(path, key, value)
    with pytest.raises(InputError) as caught:
        preprocess(folder, tmp_path / "pre", embedder="hash", show_progress=False)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert key in message
    assert "\n" not in message


def test_a_time_that_only_pandas_reads(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop")
    change(folder / "manifest.yaml", "test_timestamp", "31 Dec 2020 23:00 -0100")
    assert read_database(folder).test_timestamp == 1609459200


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
    assert message.startswith(str(folder)), message
    assert f"{folder}: {folder}" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [preprocess, preprocess_many])
def test_an_embedder_that_is_nowhere_ends_it_before_any_work(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(spec: str) -> str:
        raise InputError(spec)

    monkeypatch.setattr("rt.embedding.embedder_folder", nowhere)
    folder = shop(tmp_path / "shop")
    with pytest.raises(InputError, match="hash"):
        make([folder] if make is preprocess_many else folder, tmp_path / "out", embedder="hash")
    assert not (tmp_path / "out").exists()
