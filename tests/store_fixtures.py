"""A small writer of stores from plain Python values, for tests.

It shares no code with `rt.store`, so that reader and writer can be tested apart. A database is

    {"name": "toy", "tables": [
        {"name": "users", "columns": {"age": "number", "bio": "text"}, "rows": [
            {"time": 5, "parents": [("users", 0)], "cells": {"age": 0.5, "bio": "hello"}}]},
        {"name": "labels", "kind": "task", "columns": {...}, "rows": [...]}]}

"val_timestamp" may stand beside the name. Rows stand as given; a row is named by its table and its
position there. `time` and `parents` may be left out (no time, no parents), a parent may be None,
absent cells are null, values are normalised already. Tables of kind "task" come last.
"foreign_keys" of a table, (column, table) for each place
of its parents, may be left out too: only counts of children need them.
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
    """Writes `database` as a store with text embeddings of width TEXT_DIM; gives the folder.

    Every third table is packed, boolean columns have dictionaries, and all columns are optional.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, int] = {}
    meta = make_meta(database, texts)
    arrays = make_rows(database, meta) | make_records(database, meta, texts)
    meta["num_texts"] = len(texts)
    meta["num_edges"] = len(arrays["child_row"])
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
    row, names = 0, [table["name"] for table in database["tables"]]
    for number, table in enumerate(database["tables"]):
        first = len(columns)
        for name, kind in table["columns"].items():
            text = texts.setdefault(f"{name} of {table['name']}", len(texts))
            column = {"name": name, "table": number, "type": kind, "name_text": text}
            if kind == "datetime" and "time_scale" in database:
                column |= dict(zip(("mean", "std"), database["time_scale"], strict=True))
            columns.append(column | {"width": 4, "optional": True, "dictionary": None})
        tables.append(
            {
                "name": table["name"],
                "kind": table.get("kind", "database"),
                "time_column": table.get("time_column"),
                "rows": [row, row + len(table["rows"])],
                "columns": [first, len(columns)],
                "num_parents": max(
                    (len(row.get("parents", ())) for row in table["rows"]),
                    default=len(table.get("foreign_keys", ())),
                ),
                "packed": number % 3 == 2,
                "foreign_keys": [
                    {
                        "column": key,
                        "parent": names.index(parent),
                        "name_text": texts.setdefault(f"{key} of {table['name']}", len(texts)),
                    }
                    for key, parent in table.get("foreign_keys", ())
                ],
            }
        )
        row += len(table["rows"])
    return {
        "format_version": rustler.FORMAT_VERSION,
        "name": database["name"],
        **{key: database[key] for key in ("val_timestamp",) if key in database},
        "num_rows": row,
        "num_cells": sum(
            value is not None
            for table in database["tables"]
            for values in table["rows"]
            for value in values.get("cells", {}).values()
        ),
        "tables": tables,
        "columns": columns,
    }


def make_rows(database: Database, meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of times and references; notes the children of each table in `meta`."""
    start = {table["name"]: table["rows"][0] for table in meta["tables"]}
    rows = [row for table in database["tables"] for row in table["rows"]]
    times = sorted({row["time"] for row in rows if row.get("time") is not None})
    ranks = [times.index(row["time"]) + 1 if row.get("time") is not None else 0 for row in rows]
    parents = [
        [rustler.NO_ROW if p is None else start[p[0]] + p[1] for p in row.get("parents", ())]
        for row in rows
    ]
    children: list[list[tuple[int, int]]] = [[] for _ in rows]
    for row, of_row in enumerate(parents):
        for parent in set_parents(of_row):
            children[parent].append((ranks[row], row))
    places: list[int] = []
    pointers: list[int] = []
    for table in meta["tables"]:
        span = range(*table["rows"])
        for row in span:
            empty = table["num_parents"] - len(parents[row])
            places += [*parents[row], *[rustler.NO_ROW] * empty]
        degrees = [len(children[row]) for row in span]
        table["num_children"] = sum(degrees)
        pointers += np.cumsum([0, *degrees]).tolist() if any(degrees) else []
    edges = [edge for of_row in children for edge in sorted(of_row)]
    return {
        "time_value": np.array(times, np.int64),
        "row_rank": np.array(ranks, np.uint32),
        "row_source": np.array(
            [i for table in database["tables"] for i in range(len(table["rows"]))], np.uint32
        ),
        "parent_row": np.array(places, np.uint32),
        "child_ptr": np.array(pointers, np.uint32),
        "child_row": np.array([child for _, child in edges], np.uint32),
        "child_rank": np.array([rank for rank, _ in edges], np.uint32),
    }


def set_parents(places: list[int]) -> list[int]:
    """The rows among places of parents."""
    return [row for row in places if row != rustler.NO_ROW]


def make_records(
    database: Database, meta: dict[str, Any], texts: dict[str, int]
) -> dict[str, np.ndarray]:
    """The arrays of cells; notes the sizes in `meta`."""
    dictionary: list[int] = []
    records = b""
    pointers: list[int] = []
    for table, described in zip(database["tables"], meta["tables"], strict=True):
        cells = [_cells(row, table, texts) for row in table["rows"]]
        columns = meta["columns"][slice(*described["columns"])]
        for i, column in enumerate(columns):
            if column["type"] != "boolean":
                continue
            distinct = sorted({row[i] for row in cells if row[i] is not None})
            column.update(width=1, dictionary=len(distinct))
            dictionary += distinct
            for row in cells:
                row[i] = None if row[i] is None else distinct.index(row[i])
        widths = [column["width"] for column in columns]
        ends = [0]
        first = len(records)
        for row in cells:
            records += _record(row, widths, described["packed"])
            ends.append(len(records) - first)
        described["record_bytes"] = ends[-1]
        pointers += ends if described["packed"] else []
    records += bytes(rustler.RECORD_PADDING)
    return {
        "record_ptr": np.array(pointers, np.uint64),
        "dictionary": np.array(dictionary, np.uint32),
        "records": np.frombuffer(records, np.uint8).copy(),
    }


def _record(row: list[int | None], widths: list[int], packed: bool) -> bytes:
    there = sum((value is not None) << i for i, value in enumerate(row))
    record = there.to_bytes(-(-len(row) // 8), "little")
    for value, width in zip(row, widths, strict=True):
        if value is not None or not packed:
            record += (value or 0).to_bytes(width, "little")
    return record


def _cells(row: dict[str, Any], table: dict[str, Any], texts: dict[str, int]) -> list[int | None]:
    """The bits of a row's values, in order of columns."""
    values = row.get("cells", {})
    unknown = set(values) - set(table["columns"])
    if unknown:
        raise KeyError(f"table {table['name']} has no column {unknown}")

    def bits(name: str, kind: str) -> int | None:
        value = values.get(name)
        if value is None:
            return None
        if kind == "text":
            return texts.setdefault(value, len(texts))
        return int(np.float32(value).view(np.uint32))

    return [bits(name, kind) for name, kind in table["columns"].items()]
