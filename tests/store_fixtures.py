"""A small writer of stores from plain Python values, for tests.

It shares no code with `rt.store`, so that reader and writer can be tested apart. A database is

    {"name": "toy", "tables": [
        {"name": "users", "columns": {"age": "number", "bio": "text"}, "rows": [
            {"time": 5, "parents": [("users", 0)], "cells": {"age": 0.5, "bio": "hello"}}]},
        {"name": "labels", "kind": "task", "columns": {...}, "rows": [...]}]}

Rows stand as given; a row is named by its table and its position there. `time` and `parents` may be
left out (no time, no parents), absent cells are null, values are normalised already. Tables of kind
"task" come last.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import rustler

Database = Mapping[str, Any]
EMBEDDER = "hash"
TEXT_DIM = 4


def write_store(folder: Path, database: Database, *, embedder: str = EMBEDDER) -> Path:
    """Writes `database` as a store with text embeddings of width TEXT_DIM; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, int] = {}
    meta = make_meta(database, texts)
    arrays = make_arrays(database, meta, texts)
    meta["num_texts"] = len(texts)
    meta["num_cells"] = len(arrays["cell_column"])
    meta["num_edges"] = len(arrays["parent_row"])
    (folder / "meta.json").write_text(json.dumps(meta))
    save_arrays(folder, arrays)
    save_file({"embedding": text_embeddings(len(texts))}, folder / f"text.{embedder}.safetensors")
    return folder


def save_arrays(
    folder: Path, arrays: dict[str, Any], version: str = str(rustler.FORMAT_VERSION)
) -> None:
    """Writes store.safetensors."""
    save_file(arrays, folder / "store.safetensors", metadata={"format_version": version})


def text_embeddings(count: int) -> np.ndarray:
    """f16[count, TEXT_DIM]: text t has the embedding (t, t + 0.25, t + 0.5, t + 0.75)."""
    steps = np.arange(TEXT_DIM) / TEXT_DIM
    return (np.arange(count)[:, None] + steps).astype(np.float16)


def make_meta(database: Database, texts: dict[str, int]) -> dict[str, Any]:
    """meta.json but for the counts that the arrays give; numbers the columns' names in `texts`."""
    tables: list[dict[str, Any]] = []
    columns: list[dict[str, Any]] = []
    row = 0
    for number, table in enumerate(database["tables"]):
        first = len(columns)
        for name, kind in table["columns"].items():
            text = texts.setdefault(f"{name} of {table['name']}", len(texts))
            columns.append({"name": name, "table": number, "type": kind, "name_text": text})
        tables.append(
            {
                "name": table["name"],
                "kind": table.get("kind", "database"),
                "time_column": table.get("time_column"),
                "rows": [row, row + len(table["rows"])],
                "columns": [first, len(columns)],
            }
        )
        row += len(table["rows"])
    return {
        "format_version": rustler.FORMAT_VERSION,
        "name": database["name"],
        "num_rows": row,
        "tables": tables,
        "columns": columns,
    }


def make_arrays(
    database: Database, meta: dict[str, Any], texts: dict[str, int]
) -> dict[str, np.ndarray]:
    """The arrays of store.safetensors."""
    start = {table["name"]: table["rows"][0] for table in meta["tables"]}
    rows = [row for table in database["tables"] for row in table["rows"]]
    times = [rustler.NO_TIME if row.get("time") is None else row["time"] for row in rows]
    parents = [[start[t] + i for t, i in row.get("parents", ())] for row in rows]
    children: list[list[int]] = [[] for _ in rows]
    for row, of_row in enumerate(parents):
        for parent in of_row:
            children[parent].append(row)
    for of_row in children:
        of_row.sort(key=lambda child: (times[child], child))
    cells = [
        _cells(row, table, description["columns"], texts)
        for table, description in zip(database["tables"], _columns(meta), strict=True)
        for row in table["rows"]
    ]
    return {
        "row_time": np.array(times, np.int64),
        "row_source": np.array(
            [i for table in database["tables"] for i in range(len(table["rows"]))], np.uint32
        ),
        "cell_ptr": _pointers(cells),
        "cell_column": np.array([c for row in cells for c, _ in row], np.uint32),
        "cell_value": np.array([v for row in cells for _, v in row], np.uint32),
        "parent_ptr": _pointers(parents),
        "parent_row": np.array([p for row in parents for p in row], np.uint32),
        "child_ptr": _pointers(children),
        "child_row": np.array([c for row in children for c in row], np.uint32),
        "child_time": np.array([times[c] for row in children for c in row], np.int64),
    }


def _columns(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """Per table: its columns as (number, name, type)."""
    return [
        {
            "columns": [
                (number, meta["columns"][number]["name"], meta["columns"][number]["type"])
                for number in range(*table["columns"])
            ]
        }
        for table in meta["tables"]
    ]


def _cells(
    row: dict[str, Any],
    table: dict[str, Any],
    columns: list[tuple[int, str, str]],
    texts: dict[str, int],
) -> list[tuple[int, int]]:
    values = row.get("cells", {})
    unknown = set(values) - set(table["columns"])
    if unknown:
        raise KeyError(f"table {table['name']} has no column {unknown}")
    cells = []
    for number, name, kind in columns:
        value = values.get(name)
        if value is None:
            continue
        if kind == "text":
            bits = texts.setdefault(value, len(texts))
        else:
            bits = int(np.float32(value).view(np.uint32))
        cells.append((number, bits))
    return cells


def _pointers(lists: list[Any]) -> np.ndarray:
    return np.cumsum([0, *map(len, lists)]).astype(np.uint64)
