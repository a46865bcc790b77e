"""Pictures of a database: its schema, one foreign key's block structure, series over time.

Every function takes a folder (or the object itself), writes one picture and returns its path; the
file's ending (.png, .svg, .pdf) decides the format. Figures are made without pyplot's global state.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from relbench.manifest import DatasetManifest, TableSpec

from plurel.canvas import INK, SOFT, read_manifest, read_table
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.folder import read_provenance
from plurel.links import Blocks, LinkResult
from plurel.picture import save
from plurel.plot_schema import plot_schema

__all__ = ["plot_links", "plot_schema", "plot_series"]

MAX_DOTS = 20_000
"""Above so many references they are counted in cells instead of drawn as dots."""


def plot_links(
    source: LinkResult | str | Path,
    path: str | Path,
    *,
    table: str | None = None,
    column: str | None = None,
) -> Path:
    """Which child rows reference which parent rows, over the chances of the block structure.

    From a folder, `table` and `column` name the foreign key; without them it is the one with the
    most blocks. Databases that this package did not generate show their references alone.
    """
    if isinstance(source, LinkResult):
        num_parents = int(source.blocks.parent_starts[-1])
        link = _Link("child", "parent", "", source.parent_of, num_parents, source.blocks)
    else:
        link = _find_link(Path(source), table, column)
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    axes = figure.add_subplot()
    if link.blocks is not None:
        _draw_chances(figure, axes, link.blocks)
    _draw_references(axes, link)
    axes.set(xlim=(0, link.num_parents), ylim=(len(link.parent_of), 0))
    axes.set_xlabel(f"row of {link.parent} (referenced)", color=INK)
    axes.set_ylabel(f"row of {link.child}", color=INK)
    axes.set_title(_link_title(link), color=INK, fontsize=10, loc="left")
    return save(figure, path)


def plot_series(
    folder: str | Path, path: str | Path, *, table: str | None = None, max_columns: int = 4
) -> Path:
    """Number columns of a table with a time column over time, values and running mean.

    Without `table` it is the one with the most number columns.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    frames = {
        name: read_table(folder, name)
        for name, spec in manifest.tables.items()
        if spec.time_col is not None and table in (None, name)
    }
    if not frames:
        which = f"table {table!r} with a time column" if table else "table with a time column"
        raise InputError(f"{folder} has no {which}")
    numbers = {name: _numbers(frame, manifest.tables[name]) for name, frame in frames.items()}
    name = max(numbers, key=lambda candidate: len(numbers[candidate]))
    columns = numbers[name][:max_columns]
    if not columns:
        raise InputError(f"{folder}: no table with a time column holds numbers to plot")
    figure = Figure(figsize=(9.0, 1.0 + 1.7 * len(columns)), layout="constrained")
    figure.suptitle(f"{manifest.name}: {name} over time", color=INK, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        _draw_series(axes, frames[name], manifest.tables[name].time_col or "", column)
    return save(figure, path)


@dataclass(frozen=True)
class _Link:
    """One foreign key; parent_of holds rows, -1 for none; blocks where they are known."""

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


def _find_link(folder: Path, table: str | None, column: str | None) -> _Link:
    manifest = read_manifest(folder)
    drawn = _drawn_links(folder)
    links = []
    for child, spec in manifest.tables.items():
        for key, parent in spec.fkeys.items():
            if table in (None, child) and column in (None, key):
                links.append(_read_link(folder, manifest, (child, key, parent), drawn))
    if not links:
        named = f"foreign key {table or '*'}.{column or '*'}" if table or column else "foreign key"
        raise InputError(f"{folder} has no {named}")
    return max(links, key=_Link.richness)


def _read_link(
    folder: Path,
    manifest: DatasetManifest,
    names: tuple[str, str, str],
    drawn: dict[tuple[str, str], LinkResult],
) -> _Link:
    """The references of one key, by value; its blocks if they were drawn like this."""
    child, key, parent = names
    parent_key = manifest.tables[parent].pkey
    parents = read_table(folder, parent)
    rows = pd.Index(parents[parent_key]) if parent_key else pd.RangeIndex(len(parents))
    parent_of = rows.get_indexer(pd.Index(read_table(folder, child)[key]))
    result = drawn.get((child, key))
    known = result is not None and np.array_equal(result.parent_of, parent_of)
    blocks = result.blocks if result is not None and known else None
    return _Link(child, parent, key, parent_of.astype(np.int64), len(parents), blocks)


def _drawn_links(folder: Path) -> dict[tuple[str, str], LinkResult]:
    """Every foreign key drawn again from the folder's seed and config; empty without them."""
    provenance = read_provenance(folder) or {}
    if not {"seed", "config"} <= provenance.keys():
        return {}
    dataset = SyntheticDataset(provenance["seed"], Config.from_dict(provenance["config"]))
    schema = dataset.make_schema()
    return {
        (table.name, key.column): result
        for table in schema.tables
        for key, result in zip(table.foreign_keys, dataset.links(schema, table), strict=True)
    }


def _draw_chances(figure: Figure, axes: Axes, blocks: Blocks) -> None:
    """Behind the references: each block's chance per parent row, over that of a uniform draw."""
    sizes = np.diff(blocks.parent_starts)
    filled, children = sizes > 0, np.diff(blocks.child_starts) > 0
    chances = blocks.probabilities()[children][:, filled] / sizes[filled] * sizes.sum()
    right = np.append(blocks.parent_starts[:-1][filled], blocks.parent_starts[-1])
    down = np.append(blocks.child_starts[:-1][children], blocks.child_starts[-1])
    norm = LogNorm(vmin=max(chances.min(), 1e-4), vmax=max(chances.max(), 1.001))
    mesh = axes.pcolormesh(
        right, down, np.maximum(chances, 1e-4), norm=norm, cmap="YlOrBr", alpha=0.45, linewidth=0
    )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("chance of a parent row, 1 = uniform", color=INK)


def _draw_references(axes: Axes, link: _Link) -> None:
    child = np.flatnonzero(link.parent_of >= 0)
    parent = link.parent_of[child]
    if len(child) <= MAX_DOTS:
        size = float(np.clip(6000 / max(len(child), 1), 0.6, 12))
        axes.scatter(parent + 0.5, child + 0.5, s=size, color="#1f4e79", linewidths=0, zorder=3)
        return
    bins = (min(300, link.num_parents), 300)
    area = ((0.0, float(link.num_parents)), (0.0, float(len(link.parent_of))))
    counts, right, down = np.histogram2d(parent, child, bins=bins, range=area)
    shown = np.ma.masked_equal(counts.T, 0)
    axes.pcolormesh(right, down, shown, cmap="Blues", norm=LogNorm(), zorder=3)


def _link_title(link: _Link) -> str:
    name = f"{link.child}.{link.column}" if link.column else "references"
    title = f"{name}: {len(link.parent_of):,} rows reference {link.num_parents:,}"
    if link.blocks is None:
        return title
    parents, children = (
        " x ".join(map(str, side))
        for side in (link.blocks.parent_clusters, link.blocks.child_clusters)
    )
    return f"{title}\nclusters a level: {parents} of parents, {children} of children"


def _draw_series(axes: Axes, frame: pd.DataFrame, time: str, column: str) -> None:
    series = frame[[time, column]].dropna().sort_values(time)
    window = max(len(series) // 50, 1)
    mean = series[column].rolling(window, center=True, min_periods=1).mean()
    axes.plot(series[time], series[column], ".", color=SOFT, markersize=1.5, alpha=0.5)
    axes.plot(series[time], mean, color="#b8500c", linewidth=1.5)
    axes.set_ylabel(column, color=INK, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _numbers(frame: pd.DataFrame, spec: TableSpec) -> list[str]:
    keys = {spec.pkey, spec.time_col, *spec.fkeys}
    return [str(name) for name in frame if name not in keys and frame[name].dtype.kind in "iuf"]
