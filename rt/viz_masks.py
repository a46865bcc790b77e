"""A picture of the three attention masks on one context: which cell sees which, row by row.

Letters: N cells of the context, in order of their slots.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plurel.picture import save
from rt.attention import padded_mask
from rt.data import Batch
from rt.plan import MASKS
from rt.viz import Context
from rt.viz_layout import TARGET, colors_of, short

Masks = dict[str, NDArray[np.bool_]]
"""By name: bool [N, N], True where the cell of the line sees the cell of the column."""

TITLES = {
    "col": "col: the cells of its own column",
    "feat": "feat: its own row, and the rows that this one references",
    "nbr": "nbr: the rows that reference its row",
}
CELL, LABELS, GAP, TOP, BOTTOM = 0.125, 3.7, 0.45, 1.75, 0.4
"""Inches: a cell's side, the names of the cells, right of each panel, above and below them."""
NOTHING = "#f4f4f2"
"""Where nothing is seen."""


def masks_of(batch: Batch, context: int = 0) -> Masks:
    """The masks of a context as the model applies them, from the plan of its batch."""
    cells = slice(*batch.plan.col.cell_ptr[context : context + 2].tolist())
    size = cells.stop - cells.start
    return {
        name: padded_mask(getattr(batch.plan, name))[1][context, :size, :size].numpy()
        for name in MASKS
    }


def plot_masks(
    seen: Context, masks: Mapping[str, NDArray[np.bool_]], path: str | Path, *, max_cells: int = 60
) -> Path:
    """Draw the masks to `path` beside each other, of the first `max_cells` cells: a line is a cell
    that sees, a column one that is seen, in the colour of its table. Rows stand together, between
    grey lines; the target is red."""
    return save(draw_masks(seen, masks, max_cells), path)


def draw_masks(
    seen: Context, masks: Mapping[str, NDArray[np.bool_]], max_cells: int = 60
) -> Figure:
    """The figure of `plot_masks`."""
    count = min(len(seen.cells), max_cells)
    side = CELL * count
    width, height = LABELS + 3 * side + 3 * GAP, TOP + side + BOTTOM
    figure = Figure(figsize=(width, height))
    colors = colors_of(seen)
    for number, name in enumerate(MASKS):
        left = LABELS + number * (side + GAP)
        axes = figure.add_axes((left / width, BOTTOM / height, side / width, side / height))
        _draw_mask(axes, seen, masks[name][:count, :count], colors)
        axes.set_title(_told(name, masks[name]), fontsize=9.5, loc="left", pad=48)
        if number == 0:
            _name_cells(axes, seen, count, colors)
            axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))  # lines outside moved them
    lines = [*seen.about[:1], *seen.about[-1:]]
    if count < len(seen.cells):
        lines[-1] += f"; the first {count} of them"
    figure.text(0.1 / width, 1 - 0.12 / height, "\n".join(lines), fontsize=10.5, va="top")
    figure.text(
        LABELS / width, 0.12 / height,
        "a line: the cell that sees; a column: a cell that is seen, in the colour of its table; "
        "grey lines part the rows of the database; red: the target, whose value is hidden",
        fontsize=9, color="#444444",
    )  # fmt: skip
    return figure


def _told(name: str, mask: NDArray[np.bool_]) -> str:
    blind = int((~mask.any(1)).sum())
    pairs = f"{int(mask.sum()):,} of {mask.size:,} pairs"
    return f"{TITLES[name]}\n{pairs}" + (f"; {blind} cells see nothing and get 0" if blind else "")


def _draw_mask(
    axes: Axes, seen: Context, mask: NDArray[np.bool_], colors: Mapping[str, str]
) -> None:
    count = len(mask)
    rows = [cell.row for cell in seen.cells[:count]]
    of_key = np.array([to_rgb(colors[seen.tables[row]]) for row in rows])
    image = np.where(mask[:, :, None], of_key[None], np.array(to_rgb(NOTHING)))
    axes.imshow(image, interpolation="nearest")
    for edge in np.arange(0.5, count - 1):
        axes.axhline(edge, color="white", linewidth=0.4)
        axes.axvline(edge, color="white", linewidth=0.4)
    for first, last in _spans(rows):
        if first:
            axes.axhline(first - 0.5, color="#999999", linewidth=0.8)
            axes.axvline(first - 0.5, color="#999999", linewidth=0.8)
        row = rows[first]
        axes.text(
            (first + last) / 2, -0.8, f"{row} {short(seen.tables[row], 14)}",
            color=colors[seen.tables[row]], fontsize=7, rotation=45, rotation_mode="anchor",
        )  # fmt: skip
    target = next((i for i, cell in enumerate(seen.cells[:count]) if cell.is_target), None)
    if target is not None:
        for line in (axes.axhspan, axes.axvspan):
            line(target - 0.5, target + 0.5, facecolor="none", edgecolor=TARGET, linewidth=1.0)
    axes.set(xticks=[], yticks=[])


def _name_cells(axes: Axes, seen: Context, count: int, colors: Mapping[str, str]) -> None:
    """The names of the cells left of the first panel, those of their rows further left."""
    cells = seen.cells[:count]
    for place, cell in enumerate(cells):
        color = TARGET if cell.is_target else colors[seen.tables[cell.row]]
        told = f"{short(cell.column, 22)}  {short(cell.value, 16)}".replace("$", r"\$")
        axes.text(
            -0.9, place, told, ha="right", va="center", fontsize=7, color=color,
            fontweight="bold" if cell.is_target or cell.is_label else "normal",
        )  # fmt: skip
    for first, last in _spans([cell.row for cell in cells]):
        row = cells[first].row
        axes.text(
            -LABELS / CELL + 1.5, (first + last) / 2, f"{row}  {short(seen.tables[row], 14)}",
            va="center", fontsize=8, fontweight="bold", color=colors[seen.tables[row]],
        )  # fmt: skip
        if first:
            axes.hlines(
                first - 0.5, -LABELS / CELL + 1.5, -0.5, color="#cccccc", linewidth=0.6,
                clip_on=False,
            )  # fmt: skip


def _spans(rows: list[int]) -> list[tuple[int, int]]:
    """First and last place of each stretch of equal rows."""
    edges = np.flatnonzero(np.diff(rows)) + 1
    return list(zip([0, *edges.tolist()], [*(edges - 1).tolist(), len(rows) - 1], strict=True))
