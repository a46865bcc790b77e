"""What a prediction owes to the parts of its context: it is made again without each of them.

A part is a table, a column or a row; without it, its cells are not in the context, and nothing can
be read through a row that has none left. The target's own cell always stays. The effect of a part
is the prediction with everything less the one without the part (an ablation; Covert, Lundberg and
Lee, Explaining by Removing, 2021, section 4, calls it removal from the full set). Parts that say
the same each have a small effect, though both together may decide: take away their table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

import rustler
from plurel.picture import save
from rt.meta import StoreMeta

By = Literal["table", "column", "row"]
BY: tuple[By, ...] = ("table", "column", "row")
Arrays = Mapping[str, NDArray[Any]]
Keys = Callable[[int, int], Any]
"""What a row is called by: of the number of its table and its own in the store."""
HIGHER, LOWER = "#4477aa", "#cc3311"
MOST_BARS = 15
_SLOTS = ("row", "column", "semantic_type", "value", "text", "is_target", "is_padding")
_CONTEXTS = ("target_slot", "target_row", "context_task", "context_store", "context_recipe",
             "context_classes", "context_told")  # fmt: skip
_ROWS = ("row_number", "row_table", "row_time", "row_depth", "row_part", "row_origin",
         "row_alike", "parent", "count_key", "count")  # fmt: skip
_POINTERS = ("context_row_ptr", "parent_ptr", "count_ptr")


@dataclass(frozen=True)
class Part:
    """A part of one context: its name, and its cells, bool [S]."""

    name: str
    cells: NDArray[np.bool_]


def parts_of(arrays: Arrays, meta: StoreMeta, by: By, keys: Keys | None = None) -> list[Part]:
    """The parts of a batch of one context, in the order of their first cells; each has a cell at
    least, and none has the target's own. keys: what rows are called by, their numbers in the store
    if it is not given."""
    there = ~arrays["is_padding"][0]
    there[arrays["target_slot"][0]] = False
    rows = np.where(there, arrays["row"][0], 0)
    table = arrays["row_table"][rows]
    column = arrays["column_number"][np.where(there, arrays["column"][0], 0)]
    key = {"table": table, "column": column, "row": rows}[by]
    found = []
    for value in dict.fromkeys(key[there].tolist()):
        cells = there & (key == value)
        found.append(Part(_name(arrays, meta, by, value, keys), cells))
    return found


def without(arrays: Arrays, parts: Sequence[Part]) -> dict[str, NDArray[Any]]:
    """A batch of one context as a batch of one for each part, which lacks that part's cells; None
    of the other arrays of a row changes."""
    count = len(parts)
    gone = np.stack([part.cells for part in parts])
    found = dict(arrays)
    for name in _SLOTS:
        found[name] = np.repeat(arrays[name], count, axis=0)
    found["row"] = np.where(gone, -1, found["row"]).astype(arrays["row"].dtype)
    found["column"] = np.where(gone, -1, found["column"]).astype(arrays["column"].dtype)
    found["is_padding"] = found["is_padding"] | gone
    found["is_target"] = found["is_target"] & ~gone
    for name in _CONTEXTS:
        found[name] = np.repeat(arrays[name], count)
    for name in _ROWS:
        found[name] = np.tile(arrays[name], count)
    for name in _POINTERS:
        found[name] = _pointers(arrays[name], count)
    return found


def explanation(parts: Sequence[Part], whole: float, ablated: Sequence[float]) -> pd.DataFrame:
    """One context: a row for each part with its cells, the prediction without it, and its
    effect."""
    return pd.DataFrame(
        {
            "part": [part.name for part in parts],
            "cells": [int(part.cells.sum()) for part in parts],
            "without": list(ablated),
            "effect": whole - np.asarray(ablated, dtype=np.float64),
        }
    )


def averaged(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The means over contexts, of those that have the part, the largest effects first; `contexts`
    counts them."""
    every = pd.concat(frames, ignore_index=True)
    grouped = every.groupby("part", sort=False)
    found = grouped[["cells", "without", "effect"]].mean()
    found["contexts"] = grouped.size()
    order = found["effect"].abs().sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index()


def plot_explanation(
    found: pd.DataFrame, path: str | Path, title: str = "", most: int = MOST_BARS
) -> Path:
    """Draw the largest effects to `path` as bars, to the right where the part makes the prediction
    larger; the path."""
    shown = found.head(most)[::-1]
    figure = Figure(figsize=(7.5, 1.4 + 0.3 * len(shown)), layout="constrained")
    axis = figure.subplots()
    colors = [HIGHER if effect >= 0 else LOWER for effect in shown["effect"]]
    axis.barh(shown["part"], shown["effect"], color=colors)
    axis.axvline(0, color="#777777", linewidth=0.8)
    axis.set_xlabel("effect on the prediction (with it, less without it)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    figure.suptitle(title)
    return save(figure, path)


def chunks(parts: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    """The parts, at most `size` at a time."""
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def _name(arrays: Arrays, meta: StoreMeta, by: By, value: int, keys: Keys | None) -> str:
    if by == "table":
        return _table(meta, value)
    if by == "column":
        column = meta.columns[value]
        return f"{_table(meta, column.table)}.{column.name}"
    table, time = _table(meta, int(arrays["row_table"][value])), int(arrays["row_time"][value])
    if value == 0:
        return f"{table} (the row itself)"
    when = "" if time == rustler.NO_TIME else f" of {pd.Timestamp(time, unit='s'):%Y-%m-%d %H:%M}"
    number = int(arrays["row_number"][value])
    key = number if keys is None else keys(int(arrays["row_table"][value]), number)
    return f"{table}, row {key}{when}"


def _table(meta: StoreMeta, number: int) -> str:
    """The name of a table, which one of labels may share with one of the database."""
    table = meta.tables[number]
    of_labels = table.kind == "task"
    shared = of_labels and any(t.name == table.name for t in meta.tables if t.kind != "task")
    return f"{table.name} (labels)" if shared else table.name


def _pointers(ptr: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The pointers of `count` copies; arrays that were not made have none."""
    if not len(ptr):
        return ptr
    sizes = np.tile(np.diff(ptr), count)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(ptr.dtype)
