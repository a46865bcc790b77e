"""Bad input: one line that names the thing, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opened_store import shop

from plurel.errors import InputError
from rt.store import preprocess


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
