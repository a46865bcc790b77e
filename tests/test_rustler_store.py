"""The store's reader: what it gives back, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from store_fixtures import EMBEDDER, save_arrays, write_store

import rustler

TOY: dict[str, Any] = {
    "name": "toy",
    "tables": [
        {
            "name": "people",
            "columns": {"name": "text", "born": "datetime", "tall": "boolean"},
            "rows": [
                {"time": -5, "cells": {"name": "Ada", "born": -1.5, "tall": 1.0}},
                {"time": 7, "parents": [("people", 0)], "cells": {"born": 0.25}},
                {"parents": [("people", 0), ("people", 2)], "cells": {"name": "Alan"}},
            ],
        },
        {"name": "nothing", "columns": {"x": "number"}, "rows": []},
        {
            "name": "visits",
            "columns": {"cost": "number"},
            "rows": [
                {"time": 3, "parents": [("people", 1), ("people", 0)], "cells": {"cost": 2.0}},
                {"time": 3, "parents": [("people", 0)]},
                {"time": 1, "parents": [("people", 0)]},
            ],
        },
    ],
}

Change = Callable[[dict[str, np.ndarray]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_store(tmp_path / "toy", TOY)


def refused(folder: Path, message: str) -> None:
    """Opening names the folder or file and says `message`, in one line."""
    with pytest.raises(rustler.RustlerError, match=message) as error:
        rustler.Store(folder)
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)


def change_arrays(folder: Path, change: Change) -> None:
    arrays = load_file(folder / "store.safetensors")
    change(arrays)
    save_arrays(folder, arrays)


def change_meta(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta))


def test_rows_come_back_as_written(folder: Path) -> None:
    store = rustler.Store(folder)
    assert (store.name, store.num_rows, store.num_cells, store.num_edges) == ("toy", 6, 6, 7)
    # Texts: five names of columns, then "Ada" and "Alan".
    assert store.row(0) == {
        "table": 0,
        "time": -5,
        "cells": [(0, None, 5), (1, -1.5, None), (2, 1.0, None)],
        "parents": [],
        "children": [2, 5, 3, 4, 1],
    }
    assert store.row(2) == {
        "table": 0,
        "time": None,
        "cells": [(0, None, 6)],
        "parents": [0, 2],
        "children": [2],
    }
    assert store.row(3)["table"] == 2
    assert store.row(3)["parents"] == [1, 0]
    assert [store.row(row)["cells"] for row in (3, 4)] == [[(4, 2.0, None)], []]


def test_an_empty_store_opens(tmp_path: Path) -> None:
    store = rustler.Store(write_store(tmp_path / "none", {"name": "none", "tables": []}))
    assert (store.num_rows, store.num_cells, store.num_edges) == (0, 0, 0)


def test_a_path_may_be_a_string(folder: Path) -> None:
    assert rustler.Store(str(folder)).num_rows == 6


# ---------------------------------------------------------------- missing, other, cut short


def test_missing_folders_and_files_are_named(folder: Path) -> None:
    refused(folder / "absent", "no store here, store.safetensors is missing")
    (folder / "meta.json").unlink()
    refused(folder, "meta.json is missing")


def test_other_versions_are_refused(folder: Path) -> None:
    arrays = load_file(folder / "store.safetensors")
    save_arrays(folder, arrays, version="1")
    refused(folder, "format version '1', but this build reads version 3; preprocess")
    save_file(arrays, folder / "store.safetensors")
    refused(folder, "format version none")
    change_meta(folder, lambda meta: meta.update(format_version=7, tables="of another shape"))
    refused(folder, "format version 7, but this build reads version 3")


def test_every_cut_is_noticed(folder: Path) -> None:
    file = folder / "store.safetensors"
    whole = file.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, *range(200, len(whole), 97), len(whole) - 1]:
        file.write_bytes(whole[:size])
        refused(folder, "cut short")
    file.write_bytes(whole + b"\0")
    refused(folder, "cut short or not safetensors")
    file.write_bytes(whole)
    assert rustler.Store(folder).num_rows == 6


def test_flipped_bits_give_errors_or_a_store_that_can_be_read(folder: Path) -> None:
    file = folder / "store.safetensors"
    whole = file.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        file.write_bytes(changed)
        try:
            store = rustler.Store(folder)
            assert all(store.row(row) for row in range(store.num_rows))
        except rustler.RustlerError:
            noticed += 1
    # What passes are low bits of values, and of times that change no order.
    assert noticed > 0.7 * len(whole)


def test_broken_meta_is_named(folder: Path) -> None:
    text = (folder / "meta.json").read_text()
    for broken in (text[:-20], "[]", "{}", text.replace('"rows"', '"lines"')):
        (folder / "meta.json").write_text(broken)
        refused(folder, "meta.json: not readable")


# ---------------------------------------------------------------- arrays that do not fit


def put(name: str, place: int, value: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][place] = value

    return change


def put_float(place: int, value: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["records"][place : place + 4] = np.array([value], np.float32).view(np.uint8)

    return change


def as_type(name: str, kind: str) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].astype(kind)

    return change


def cut(name: str) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name][:-1].copy()

    return change


def swap_children(arrays: dict[str, np.ndarray]) -> None:
    for name in ("child_row", "child_rank"):
        arrays[name][[0, 1]] = arrays[name][[1, 0]]


NAN = int(np.float32(np.nan).view(np.uint32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("child_rank"), "array 'child_rank' is missing"),
        (lambda arrays: arrays.pop("row_source"), "array 'row_source' is missing"),
        (as_type("record_ptr", "int64"), "array 'record_ptr' has type I64, expected U64"),
        (as_type("records", "int8"), "array 'records' has type I8, expected U8"),
        (cut("row_rank"), r"array 'row_rank' has shape \[5\]"),
        (cut("record_ptr"), r"array 'record_ptr' has shape \[3\]"),
        (cut("records"), r"array 'records' has shape \[40\], expected \[41\]"),
        (cut("dictionary"), r"array 'dictionary' has shape \[0\]"),
        (cut("child_row"), r"array 'child_row' has shape \[6\]"),
        (cut("parent_row"), r"array 'parent_row' has shape \[11\]"),
        (put("time_value", 1, -5), "time_value does not rise"),
        (put("time_value", 0, rustler.NO_TIME), "time_value does not rise, or holds the time of"),
        (put("row_rank", 0, 5), r"row_rank\[0\] names no time"),
        (put("child_ptr", 0, 1), "child_ptr of table 0 does not rise from 0 to 7"),
        (put("child_ptr", -1, 6), "child_ptr of table 0 does not rise from 0 to 7"),
        (put("child_ptr", 1, 7), "child_ptr of table 0 does not rise"),
        (put("record_ptr", 0, 1), "record_ptr of table 2 does not rise from 0 to 7"),
        (put("record_ptr", 1, 6), "record_ptr of table 2 .* a record is too short"),
        (put("record_ptr", 1, 4), "row 3 of table 'visits' has a record of 4 bytes, expected 5"),
        (put("parent_row", 2, 6), r"parent_row\[2\] names no row"),
        (put("parent_row", 0, 1), "parent_row has 8 references, expected 7"),
        (put("child_row", 2, 2**32 - 1), r"child_row\[2\] names no row"),
        (put("records", 0, 0b1111), "row 0 of table 'people' has a cell of a column that is not"),
        (put("records", 0, 0b011), "5 cells, expected 6"),
        (put("records", 1, 7), "row 0 of table 'people', column 0: .* no text's number"),
        (put_float(5, np.nan), "row 0 of table 'people', column 1.*not finite"),
        (put_float(31, -np.inf), "row 3 of table 'visits', column 4.*not finite"),
        (put("records", 9, 1), "row 0 of table 'people', column 2: the value is in no dictionary"),
        (put("dictionary", 0, NAN), "the dictionary of column 2 of table 'people'.*not finite"),
        (put("child_rank", 1, 1), "child 5 of row 0 has another time"),
        (put("row_rank", 5, 1), "child 5 of row 0 has another time"),
        (put("child_row", 0, 2), None),
        (put("parent_row", 2, 1), "child 1 of row 0 does not reference it"),
        (swap_children, "children of row 0 are not sorted"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    folder: Path, change: Change, message: str | None
) -> None:
    change_arrays(folder, change)
    if message is None:  # The same value: nothing has changed.
        assert rustler.Store(folder).num_rows == 6
    else:
        refused(folder, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["tables"][0].update(rows=[0, 2]), "table 'nothing' has rows"),
        (lambda m: m["tables"][2].update(rows=[3, 5]), "the tables cover 5 rows"),
        (lambda m: m["tables"][2].update(rows=[3, 1]), "table 'visits' has rows"),
        (lambda m: m["tables"][1].update(columns=[4, 4]), "columns"),
        (lambda m: m["tables"][0].update(kind="task"), "'nothing' stands after a task's"),
        (lambda m: m["tables"][0].update(kind="view"), "unknown variant `view`"),
        (lambda m: m["columns"][0].update(type="image"), "unknown variant `image`"),
        (lambda m: m["columns"][4].update(table=0), "column 4 .'cost'. is not among"),
        (lambda m: m["columns"][4].update(table=9), "column 4 .'cost'. is not among"),
        (lambda m: m["columns"][4].update(name_text=7), "column 'cost' names text 7 of 7"),
        (lambda m: m["columns"].pop(), "the tables cover 6 rows and 5 columns"),
        (lambda m: m.update(num_rows=7), "but there are 7"),
        (lambda m: m.update(num_cells=9), "6 cells, expected 9"),
        (lambda m: m.update(num_texts=6), "no text's number"),
        (lambda m: m.update(num_edges=2**63), "the tables have 7 references, expected 922337"),
        (lambda m: m["tables"][0].update(num_parents=2**32 - 1), "'parent_row' has shape"),
        (lambda m: m["tables"][1].update(num_children=1), "have 8 references, expected 7"),
        (lambda m: m["tables"][0].update(record_bytes=31), "3 records of 10 bytes are not 31 b"),
        (lambda m: m["tables"][2].update(record_bytes=2**64 - 1), "larger than any file"),
        (lambda m: m["tables"][2].update(packed=False), "3 records of 5 bytes are not 7 bytes"),
        (lambda m: m["tables"][0].update(packed=True), "'record_ptr' has shape"),
        (lambda m: m["columns"][0].update(width=5), "column 'name' has cells of 5 bytes"),
        (lambda m: m["columns"][0].update(width=-1), "not readable"),
        (lambda m: m["columns"][2].update(dictionary=2**32 - 1), "'dictionary' has shape"),
        (lambda m: m["columns"][2].pop("dictionary"), "missing field `dictionary`"),
        (lambda m: m["tables"][0].pop("packed"), "missing field `packed`"),
    ],
)
def test_meta_that_does_not_fit_is_named(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change_meta(folder, change)
    refused(folder, message)


# ---------------------------------------------------------------- embeddings


def sampler(folder: Path, embedder: str = EMBEDDER) -> rustler.Sampler:
    return rustler.Sampler([folder], [], embedder=embedder)


def test_missing_embedders_are_named_with_those_that_are_there(folder: Path) -> None:
    save_file({"embedding": np.zeros((7, 2), np.float16)}, folder / "text.other.safetensors")
    with pytest.raises(rustler.RustlerError, match=r"'mini' \(there: hash, other\); preprocess"):
        sampler(folder, "mini")
    sampler(folder, "other")
    for file in folder.glob("text.*"):
        file.unlink()
    with pytest.raises(rustler.RustlerError, match=r"\(there: none\); preprocess"):
        sampler(folder)


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (np.zeros((6, 4), np.float16), "[6, 4]"),
        (np.zeros((7, 4), np.float32), "has type F32, expected F16"),
        (np.zeros(28, np.float16), "[28]"),
        (np.zeros((7, 0), np.float16), "width 0"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(
    folder: Path, embedding: np.ndarray, message: str
) -> None:
    file = folder / f"text.{EMBEDDER}.safetensors"
    save_file({"embedding": embedding}, file)
    with pytest.raises(rustler.RustlerError, match=re.escape(message)) as error:
        sampler(folder)
    assert str(error.value).startswith(str(file))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(rustler.RustlerError, match="cut short"):
        sampler(folder)
