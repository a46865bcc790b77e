"""A picture of one context: its rows as a graph, and its first cells as people read them."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from plurel.picture import save
from rt.viz import Cell, Context
from rt.viz_layout import TARGET, Band, Layout, bands_of, colors_of, lay_out, share_out, short

LineStyle = Literal["solid"] | tuple[float, tuple[float, float]]
Groups = dict[str, dict[int, list[Cell]]]
"""Cells by band and row."""
EDGES: dict[str, tuple[str, LineStyle, float]] = {
    "target": (TARGET, "solid", 3.0),
    "ancestor": ("#222222", "solid", 1.8),
    "own label": ("#f2b701", "solid", 2.6),
    "other label": ("#f2b701", (0, (2, 1.2)), 2.6),
    "around another label": ("#222222", (0, (1, 1.5)), 1.4),
    "neighbourhood": ("white", "solid", 0.5),
}
"""How the frame of a row shows its part: colour, style, width."""
COLUMN, LINE = 1.75, 0.235
"""Inches of a column of rows and of a line of cells."""
CELLS = 6.6


def plot_context(
    seen: Context, path: str | Path, *, max_rows: int = 40, max_cells: int = 34
) -> Path:
    """Draw a context to `path`: on the left rows of every part by depth, at most `max_rows`, an
    arrow from each row to the rows that it references; on the right cells of every part, at most
    `max_cells`, below the reasons why their rows are there. The target is red."""
    layout = lay_out(seen, max_rows)
    groups = _chosen_cells(seen, max_cells)
    lines = sum(1 + len(cells) for rows in groups.values() for cells in rows.values()) + len(groups)
    inches = max(5.5, 0.44 * layout.height + 2.0, LINE * lines + 1.2)
    width = COLUMN * max(layout.width, 3)
    figure = Figure(figsize=(width + CELLS, inches), layout="constrained")
    graph, table = figure.subplots(1, 2, width_ratios=[width, CELLS])
    colors = colors_of(seen)
    _draw_graph(graph, seen, layout, colors)
    _draw_cells(table, seen, groups, colors)
    figure.suptitle("\n".join(seen.about), fontsize=10, x=0.01, ha="left")
    return save(figure, path)


def _chosen_cells(seen: Context, max_cells: int) -> Groups:
    """The cells to list, by band and row."""
    bands = bands_of(seen)
    by_row: dict[int, list[Cell]] = {}
    for cell in seen.cells:
        by_row.setdefault(cell.row, []).append(cell)
    listed = [[c for row in rows for c in by_row.get(row, [])] for rows in bands.values()]
    counts = share_out([len(cells) for cells in listed], max_cells)
    chosen: Groups = {}
    for name, cells, count in zip(bands, listed, counts, strict=True):
        # of a row that is cut, one or two cells say little: a label row would lose its label
        cut = [c for c in cells[:count] if count < len(cells) and c.row == cells[count].row]
        for cell in cells[: count - len(cut) if len(cut) < 3 else count]:
            chosen.setdefault(name, {}).setdefault(cell.row, []).append(cell)
    return chosen


def _draw_graph(axes: Axes, seen: Context, layout: Layout, colors: Mapping[str, str]) -> None:
    axes.set_xlim(-0.5, layout.width - 0.5)
    axes.set_ylim(layout.height - 0.2, -1.7)
    for number, band in enumerate(layout.bands):
        first, last = band.columns
        if number % 2 == 0:
            size = last - first + 1
            corner, lines = (first - 0.5, -1.75), layout.height + 1.6
            axes.add_patch(Rectangle(corner, size, lines, color="#f2f2f2", zorder=0))
        _heading(axes, band)
    for x, depth in enumerate(layout.depths):
        axes.text(x, -0.7, f"depth {depth}", ha="center", fontsize=7.5, color="#666666")
    _draw_arrows(axes, seen, layout, colors)
    for row in layout.places:
        _draw_row(axes, seen, row, layout.places[row], colors)
    parts = [
        Patch(facecolor="#9aa4ab", edgecolor=edge, linestyle=style, linewidth=size, label=part)
        for part, (edge, style, size) in EDGES.items()
        if part in seen.parts
    ]
    axes.legend(
        handles=parts, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8,
        frameon=False, title="frame: part; colour: table; arrows point at referenced rows",
        title_fontsize=8,
    )  # fmt: skip
    axes.set_axis_off()


def _heading(axes: Axes, band: Band) -> None:
    first, last = band.columns
    told = textwrap.fill(band.name, 18 * (last - first + 1))
    told += f"\n{len(band.rows)} of {band.count} rows"
    axes.text(
        (first + last) / 2, -1.0, told, ha="center", va="bottom", fontsize=8.5, color="#222222"
    )


def _draw_arrows(axes: Axes, seen: Context, layout: Layout, colors: Mapping[str, str]) -> None:
    places = layout.places
    for child in places:
        for parent in map(int, seen.parents[child]):
            if parent in places and parent != child:
                bend = 0.25 if places[child][0] == places[parent][0] else 0.06
                axes.annotate(
                    "",
                    xy=places[parent],
                    xytext=places[child],
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


def _draw_row(
    axes: Axes, seen: Context, row: int, place: tuple[float, float], colors: Mapping[str, str]
) -> None:
    edge, style, size = EDGES[seen.parts[row]]
    told = f"{row}  {short(seen.tables[row], 20)}"
    axes.text(
        *place,
        _plain(told + (f"\n{seen.times[row]}" if seen.times[row] else "")),
        ha="center",
        va="center",
        fontsize=7.5,
        color="white",
        fontweight="bold" if row == seen.target else "normal",
        bbox={
            "boxstyle": "round,pad=0.3",
            "facecolor": colors[seen.tables[row]],
            "edgecolor": edge,
            "linestyle": style,
            "linewidth": size,
        },
    )


def _draw_cells(axes: Axes, seen: Context, groups: Groups, colors: Mapping[str, str]) -> None:
    y = 0
    for band, rows in groups.items():
        axes.text(0.0, y, band.upper(), fontsize=8, va="center", color="#666666")
        y += 1
        for row, cells in rows.items():
            axes.axhline(y - 0.5, color="#dddddd", linewidth=0.6)
            told = f"{row}  {short(seen.tables[row], 24)}"
            name = axes.text(
                0.0, y, _plain(told), color=colors[seen.tables[row]], fontsize=8.5, va="center",
                fontweight="bold",
            )  # fmt: skip
            axes.annotate(
                _plain(short(seen.reasons[row], 100 - len(told))), (1.0, 0.5), (8, 0),
                xycoords=name, textcoords="offset points", fontsize=8, va="center",
                color="#444444", style="italic",
            )  # fmt: skip
            for line, cell in enumerate(cells, 1):
                _draw_cell(axes, cell, y + line)
            y += 1 + len(cells)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(y, 1) + 0.4, -1.0)
    shown = sum(len(cells) for rows in groups.values() for cells in rows.values())
    axes.set_title(f"{shown} of {len(seen.cells)} cells", loc="left", fontsize=10)
    axes.set_axis_off()


def _draw_cell(axes: Axes, cell: Cell, y: int) -> None:
    style: dict[str, Any] = {"color": "#222222"}
    value = short(cell.value, 40)
    if cell.is_target:
        style = {"color": TARGET, "fontweight": "bold"}
        value = "?  (to predict)"
    elif cell.is_label:
        style = {"color": "#222222", "fontweight": "bold"}
        value += "  (label)"
    axes.text(0.06, y, _plain(short(cell.column, 30)), fontsize=8.5, va="center", **style)
    axes.text(0.42, y, _plain(value), fontsize=8.5, va="center", **style)


def _plain(text: str) -> str:
    # the dollar sign would start a formula
    return text.replace("$", r"\$")
