"""Pictures of one foreign key: its block structure, and when which rows are referenced."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plurel.canvas import DOTS, INK, LINE, SOFT, Contents, NothingToDrawError, Source, open_source
from plurel.errors import InputError
from plurel.links import Blocks, LinkResult
from plurel.picture import save

MAX_DOTS = 20_000
"""Above so many references they are counted in cells instead of drawn as dots."""
MAX_LINES = 40
MAX_CELLS = 250


def plot_links(
    source: Source | LinkResult,
    path: str | Path,
    *,
    table: str | None = None,
    column: str | None = None,
) -> Path:
    """Which child rows reference which parent rows, over the chances of the block structure.

    `table` and `column` name the foreign key; without them it is the one with the most blocks.
    Databases that this package did not generate show their references alone.
    """
    if isinstance(source, LinkResult):
        num_parents = int(source.blocks.parent_starts[-1])
        link = Link("child", "parent", "", source.parent_of, num_parents, source.blocks)
    else:
        link = find_link(open_source(source), table, column)
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    axes = figure.add_subplot()
    if link.blocks is not None:
        _draw_chances(figure, axes, link.blocks)
    rows = len(link.parent_of)
    known = link.parent_of >= 0
    bins = _cells(link.num_parents), _cells(rows)
    _draw_references(axes, link.parent_of[known] + 0.5, np.arange(rows)[known] + 0.5, bins)
    axes.set(xlim=(0, link.num_parents), ylim=(len(link.parent_of), 0))
    axes.set_xlabel(f"row of {link.parent} (referenced)", color=INK)
    axes.set_ylabel(f"row of {link.child}", color=INK)
    axes.set_title(_link_title(link), color=INK, fontsize=10, loc="left")
    return save(figure, path)


def plot_cohorts(
    source: Source, path: str | Path, *, table: str | None = None, column: str | None = None
) -> Path:
    """When which parent rows are referenced: each reference by the date of the row that makes it.

    Thin lines part the parents' clusters, where these are known and few; dashed ones are the
    validation and test timestamps. The foreign key is chosen as in `plot_links`, among tables with
    a time column.
    """
    contents = open_source(source)
    timed = {name for name, spec in contents.specs.items() if spec.time_col is not None}
    link = find_link(contents, table, column, timed)
    times = pd.to_datetime(contents.frame(link.child)[contents.specs[link.child].time_col])
    known = (link.parent_of >= 0) & times.notna().to_numpy()
    if not known.any():
        raise NothingToDrawError(f"{contents.name}: no reference of {link.child} has a time")
    days = np.full(len(times), np.nan)
    days[known] = date2num(times[known].dt.tz_localize(None).to_numpy())
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    ticks = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(ticks))
    if link.blocks is not None:
        starts = np.unique(link.blocks.parent_starts[1:-1])
        for start in starts if len(starts) <= MAX_LINES else ():
            axes.axhline(start, color=SOFT, linewidth=0.6, zorder=1)
    span = np.linspace(days[known].min(), days[known].max(), MAX_CELLS + 1)
    bins = span, _cells(link.num_parents)
    _draw_references(axes, days[known], link.parent_of[known] + 0.5, bins)
    room = 0.015 * link.num_parents  # for the dots of the first and the last row
    axes.set_ylim(-room, link.num_parents + room)
    for name, when in contents.splits.items():
        place = float(date2num(when.to_datetime64()))
        axes.axvline(place, color=LINE, linewidth=1.2, linestyle="--", zorder=4)
        axes.text(place, 1.005, name, transform=axes.get_xaxis_transform(), **_SPLIT)
    axes.set_xlabel(f"date of the row of {link.child}", color=INK)
    axes.set_ylabel(f"row of {link.parent} (referenced)", color=INK)
    title = f"{link.child}.{link.column}: when which rows of {link.parent} are referenced"
    axes.set_title(title, color=INK, fontsize=10, loc="left", pad=16)
    return save(figure, path)


_SPLIT: dict[str, Any] = {"color": LINE, "fontsize": 8, "ha": "center", "va": "bottom"}


@dataclass(frozen=True)
class Link:
    """One foreign key; parent_of i64[children]: rows, -1 for none; blocks where they are known."""

    child: str
    parent: str
    column: str
    parent_of: NDArray[np.int64]
    num_parents: int
    blocks: Blocks | None

    def richness(self) -> tuple[int, int]:
        """What makes a good picture: blocks on both sides, then many references."""
        if self.blocks is None:
            return 0, len(self.parent_of)
        scores = self.blocks.scores()
        return min(scores.shape), len(self.parent_of)


def find_link(
    contents: Contents, table: str | None, column: str | None, among: set[str] | None = None
) -> Link:
    """The foreign key of these names, or the richest one of the tables in `among`.

    Raises InputError for names that are not there, NothingToDrawError if there is none at all.
    """
    drawn = _drawn_links(contents)
    links = []
    for child, spec in contents.specs.items():
        for key, parent in spec.fkeys.items():
            fits = table in (None, child) and column in (None, key)
            if fits and (among is None or child in among):
                links.append(_read_link(contents, (child, key, parent), drawn))
    if links:
        return max(links, key=Link.richness)
    of = "" if among is None else " in a table with a time column"
    if table or column:
        wanted = [name for name in contents.named(table) if among is None or name in among]
        keys = [f"{name}.{key}" for name in wanted for key in contents.specs[name].fkeys]
        there = f"; there {'are' if len(keys) > 1 else 'is'} {', '.join(keys)}" if keys else ""
        asked = f"{table or 'any table'}.{column}" if column else f"of {table}"
        raise InputError(f"{contents.name} has no foreign key {asked}{of}{there}")
    raise NothingToDrawError(f"{contents.name} has no foreign key{of}")


def _read_link(
    contents: Contents, names: tuple[str, str, str], drawn: dict[tuple[str, str], LinkResult]
) -> Link:
    """The references of one key, by value; its blocks if they were drawn like this."""
    child, key, parent = names
    parent_key = contents.specs[parent].pkey
    parents = contents.frame(parent)
    rows = pd.Index(parents[parent_key]) if parent_key else pd.RangeIndex(len(parents))
    parent_of = rows.get_indexer(pd.Index(contents.frame(child)[key])).astype(np.int64)
    result = drawn.get((child, key))
    known = result is not None and np.array_equal(result.parent_of, parent_of)
    # a row of its own table references an earlier one, whatever the blocks say
    blocks = result.blocks if result is not None and known and child != parent else None
    return Link(child, parent, key, parent_of, len(parents), blocks)


def _drawn_links(contents: Contents) -> dict[tuple[str, str], LinkResult]:
    """Every foreign key drawn again from seed and config; empty where they are not known."""
    if contents.dataset is None:
        return {}
    schema = contents.dataset.make_schema()
    return {
        (table.name, key.column): result
        for table in schema.tables
        for key, result in zip(
            table.foreign_keys, contents.dataset.links(schema, table), strict=True
        )
    }


def _draw_chances(figure: Figure, axes: Axes, blocks: Blocks) -> None:
    """Behind the references: each block's chance per parent row, over that of a uniform draw."""
    sizes = np.diff(blocks.parent_starts)
    filled, children = sizes > 0, np.diff(blocks.child_starts) > 0
    chances = blocks.probabilities()[children][:, filled] / sizes[filled] * sizes.sum()
    right = np.append(blocks.parent_starts[:-1][filled], blocks.parent_starts[-1])
    down = np.append(blocks.child_starts[:-1][children], blocks.child_starts[-1])
    if chances.max() < chances.min() * (1 + 1e-9):
        return  # uniform: there is nothing to tell apart
    norm = LogNorm(vmin=max(chances.min(), 1e-4), vmax=max(chances.max(), 1.001))
    mesh = axes.pcolormesh(
        right, down, np.maximum(chances, 1e-4), norm=norm, cmap="YlOrBr", alpha=0.45, linewidth=0
    )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("chance of a parent row, 1 = uniform", color=INK)


def _cells(rows: int) -> NDArray[np.int64]:
    """Edges of at most MAX_CELLS cells of equally many rows, so that none is empty by its size."""
    size = -(-rows // MAX_CELLS) or 1
    return np.arange(0, rows + size, size)


def _draw_references(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], bins: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    if len(x) <= MAX_DOTS:
        size = float(np.clip(6000 / max(len(x), 1), 0.6, 12))
        axes.scatter(x, y, s=size, color=DOTS, linewidths=0, zorder=3)
        return
    counts, right, up = np.histogram2d(x, y, bins=bins)
    shown = np.ma.masked_equal(counts.T, 0)
    axes.pcolormesh(right, up, shown, cmap="Blues", norm=LogNorm(), zorder=3)


def _all_earlier(link: Link) -> bool:
    return bool((link.parent_of < np.arange(len(link.parent_of))).all())


def _link_title(link: Link) -> str:
    name = f"{link.child}.{link.column}" if link.column else "references"
    rows, known = len(link.parent_of), int((link.parent_of >= 0).sum())
    some = f"{rows:,}" if known == rows else f"{known:,} of {rows:,}"
    title = f"{name}: {some} rows reference {link.num_parents:,}"
    if link.child == link.parent and link.column:
        return title + ", all of them earlier ones" * _all_earlier(link)
    if link.blocks is None:
        return title
    parents, children = (
        " x ".join(map(str, side))
        for side in (link.blocks.parent_clusters, link.blocks.child_clusters)
    )
    return f"{title}\nclusters a level: {parents} of parents, {children} of children"
