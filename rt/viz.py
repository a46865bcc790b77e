"""A picture of one context: its rows as a graph, and its first cells as people read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.picture import save
from rt.meta import NO_TIME, StoreMeta, open_meta
from rt.store import read_arrays, read_texts

COLORS = ("#33658a", "#a23b72", "#2e7d4f", "#b06a00", "#1b8a9a", "#6d4c9f", "#7a6a4f", "#5f6b73")
TARGET = "#cc3311"
ROWS_A_COLUMN = 14
"""Rows of one depth that stand below each other before the next column begins."""


@dataclass(frozen=True)
class Cell:
    """One cell as people read it; `row` is the row's position in the context."""

    row: int
    column: str
    value: str
    is_target: bool


@dataclass(frozen=True)
class Context:
    """One context in words. Per row: table, time ("" for none), depth and parents' positions."""

    tables: list[str]
    times: list[str]
    depths: NDArray[np.int64]
    parents: list[NDArray[np.int64]]
    cells: list[Cell]
    target: int
    """Position of the target's row."""


def read_context(
    arrays: Mapping[str, NDArray[Any]], store_folder: str | Path, context: int = 0
) -> Context:
    """Context number `context` of the arrays of `rustler.Sampler.contexts`, its texts and original
    values read from the store. Targets have the value "?"."""
    if not 0 <= context < len(arrays["row"]):
        raise InputError(f"context {context} is not among the {len(arrays['row'])} of this batch")
    meta = open_meta(store_folder)
    first, last = arrays["context_row_ptr"][context : context + 2]
    times = arrays["row_time"][first:last]
    # a picture of days has no need of hours
    style = "%Y-%m-%d" if (times[times != NO_TIME] % 86_400 == 0).all() else "%Y-%m-%d %H:%M"
    pointers = arrays["parent_ptr"][first : last + 1]
    cells = _cells(arrays, meta, Path(store_folder), context, style)
    slot = arrays["target_slot"][context]
    return Context(
        tables=[meta.tables[number].name for number in arrays["row_table"][first:last]],
        times=[_time(seconds, style) for seconds in times],
        depths=arrays["row_depth"][first:last].astype(np.int64),
        parents=[arrays["parent"][a:b].astype(np.int64) for a, b in pairwise(pointers)],
        cells=cells,
        target=int(arrays["row"][context, slot]),
    )


def plot_context(
    arrays: Mapping[str, NDArray[Any]],
    store_folder: str | Path,
    path: str | Path,
    *,
    context: int = 0,
    max_rows: int = 40,
    max_cells: int = 34,
) -> None:
    """Draw one context to `path` (see `read_context`): on the left its first `max_rows` rows by
    depth, an arrow from each row to the rows that it references; on the right its first `max_cells`
    cells. The target is red."""
    seen = read_context(arrays, store_folder, context)
    count = min(max_rows, len(seen.tables))
    places, width, height = _places(seen, count)
    inches = max(5.5, 0.44 * height + 1.2, 0.235 * min(max_cells, len(seen.cells)) + 1.2)
    figure = Figure(figsize=(2.0 * width + 6.4, inches), layout="constrained")
    graph, table = figure.subplots(1, 2, width_ratios=[2.0 * width, 6.4])
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(dict.fromkeys(seen.tables))}
    _draw_graph(graph, seen, places, colors)
    graph.set_xlim(-0.5, width - 0.5)
    graph.set_ylim(height - 0.3, -1.1)
    for depth in np.unique(seen.depths[:count]):
        x = places[seen.depths[:count] == depth, 0].mean()
        graph.text(x, -0.85, f"depth {depth}", ha="center", fontsize=8.5, color="#555555")
    graph.set_title(
        f"{count} of {len(seen.tables)} rows; arrows point at referenced rows", loc="left"
    )
    _draw_cells(table, seen, max_cells, colors)
    save(figure, path)


def _cells(
    arrays: Mapping[str, NDArray[Any]], meta: StoreMeta, folder: Path, context: int, style: str
) -> list[Cell]:
    texts = _Texts(folder)
    first = int(arrays["context_row_ptr"][context])
    cells = []
    for slot in np.flatnonzero(~arrays["is_padding"][context]):
        row = int(arrays["row"][context, slot])
        number = int(arrays["column_number"][arrays["column"][context, slot]])
        column = meta.columns[number]
        is_target = bool(arrays["is_target"][context, slot])
        if is_target:
            value = "?"
        elif column.type == "text":
            value = texts.of(int(arrays["row_number"][first + row]), number)
        else:
            normalised = float(arrays["value"][context, slot])
            original = normalised * column.std + column.mean
            if column.type == "boolean":
                value = "true" if normalised > 0 else "false"
            elif column.type == "datetime":
                value = _time(_near(original, arrays["row_time"][first + row]), style)
            else:
                # float32 leaves a little where the value was 0
                value = f"{0 if abs(original) < 1e-5 * column.std else original:.6g}"
        cells.append(Cell(row, column.name, value, is_target))
    return cells


class _Texts:
    """Texts by row and column: a batch holds their embeddings only."""

    def __init__(self, folder: Path) -> None:
        self.arrays = read_arrays(folder)
        self.texts = read_texts(folder)

    def of(self, row: int, column: int) -> str:
        start, end = map(int, self.arrays["cell_ptr"][row : row + 2])
        at = start + int(np.searchsorted(self.arrays["cell_column"][start:end], column))
        return str(self.texts[int(self.arrays["cell_value"][at])].as_py())


def _time(seconds: int, style: str) -> str:
    return "" if seconds == NO_TIME else pd.Timestamp(int(seconds), unit="s").strftime(style)


def _near(seconds: float, row_time: int) -> int:
    """A time from its normalised float32, which is off by seconds: the row's own where it is."""
    return int(row_time) if abs(seconds - row_time) < 60 else round(seconds)


def _places(seen: Context, count: int) -> tuple[NDArray[np.float64], int, int]:
    """(x, y) of the first `count` rows, the number of columns and of lines. Rows of one depth stand
    below each other, those of one table together, in several columns if they are many."""
    places = np.zeros((count, 2))
    width = height = 0
    for depth in np.unique(seen.depths[:count]):
        rows = np.flatnonzero(seen.depths[:count] == depth)
        rows = rows[np.argsort([seen.tables[row] for row in rows], kind="stable")]
        columns = -(-len(rows) // ROWS_A_COLUMN)
        lines = -(-len(rows) // columns)
        for i, row in enumerate(rows):
            places[row] = width + i // lines, i % lines
        width, height = width + columns, max(height, lines)
    for x in range(width):  # each column in the middle of the picture
        inside = places[:, 0] == x
        places[inside, 1] += (height - 1 - places[inside, 1].max()) / 2
    return places, width, height


def _draw_graph(
    axes: Axes, seen: Context, places: NDArray[np.float64], colors: Mapping[str, str]
) -> None:
    count = len(places)
    for child in range(count):
        for parent in seen.parents[child]:
            if parent < count and parent != child:
                bend = 0.25 if places[child, 0] == places[parent, 0] else 0.06
                axes.annotate(
                    "",
                    xy=(places[parent, 0], places[parent, 1]),
                    xytext=(places[child, 0], places[child, 1]),
                    arrowprops={
                        "arrowstyle": "-|>",
                        "color": colors[seen.tables[parent]],
                        "alpha": 0.45,
                        "linewidth": 0.9,
                        "shrinkA": 12,
                        "shrinkB": 16,
                        "connectionstyle": f"arc3,rad={bend}",
                    },
                )
    for row in range(count):
        is_target = row == seen.target
        axes.text(
            places[row, 0],
            places[row, 1],
            f"{row}  {seen.tables[row]}" + (f"\n{seen.times[row]}" if seen.times[row] else ""),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white",
            fontweight="bold" if is_target else "normal",
            bbox={
                "boxstyle": "round,pad=0.3",
                "facecolor": colors[seen.tables[row]],
                "edgecolor": TARGET if is_target else "white",
                "linewidth": 3.0 if is_target else 0.5,
            },
        )
    axes.set_axis_off()


def _draw_cells(axes: Axes, seen: Context, max_cells: int, colors: Mapping[str, str]) -> None:
    shown = seen.cells[:max_cells]
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(shown), 1) + 0.4, -1.5)
    for x, head in ((0.0, "row"), (0.3, "column"), (0.62, "value")):
        axes.text(x, -1.0, head, fontweight="bold", fontsize=9, va="center")
    previous = -1
    for y, cell in enumerate(shown):
        if cell.row != previous:
            axes.axhline(y - 0.5, color="#cccccc", linewidth=0.6)
            table = seen.tables[cell.row]
            axes.text(
                0.0, y, f"{cell.row}  {table}", color=colors[table], fontsize=8.5, va="center",
                fontweight="bold",
            )  # fmt: skip
            previous = cell.row
        style: dict[str, Any] = (
            {"color": TARGET, "fontweight": "bold"} if cell.is_target else {"color": "#222222"}
        )
        value = "?  (to predict)" if cell.is_target else _short(cell.value, 30)
        axes.text(0.3, y, _short(cell.column, 24), fontsize=8.5, va="center", **style)
        axes.text(0.62, y, value, fontsize=8.5, va="center", **style)
    axes.set_title(f"{len(shown)} of {len(seen.cells)} cells", loc="left")
    axes.set_axis_off()


def _short(text: str, length: int) -> str:
    text = " ".join(text.split())
    # the dollar sign would start a formula
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")
