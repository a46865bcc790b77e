"""Pictures of columns: numbers over time, and histograms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plurel.canvas import (
    DOTS,
    ENTITY,
    INK,
    LINE,
    SOFT,
    Contents,
    NothingToDrawError,
    Source,
    open_source,
)
from plurel.errors import InputError
from plurel.picture import save

MAX_DOTS = 5_000
"""Points of a series that are drawn; the running mean is over all."""
BINS, BARS, ACROSS = 30, 6, 6


def plot_series(
    source: Source, path: str | Path, *, table: str | None = None, max_columns: int = 4
) -> Path:
    """Number columns of a table with a time column over time, values and running mean.

    Columns that depend most on time come first, by the share of their variance that the running
    mean explains; without `table` it is the one whose columns depend most on time.
    """
    contents = open_source(source)
    timed = [name for name in contents.named(table) if contents.specs[name].time_col is not None]
    if not timed and table:
        raise InputError(f"table {table!r} of {contents.name} has no time column")
    there = {name: _series(contents, name) for name in timed}
    found = {name: series[:max_columns] for name, series in there.items()}
    if not any(found.values()):
        raise NothingToDrawError(f"{contents.name}: no table with a time column holds numbers")
    name = max(timed, key=lambda candidate: sum(series.explained for series in found[candidate]))
    figure = Figure(figsize=(8.4, 0.7 + 1.35 * len(found[name])), layout="constrained")
    count, shown = len(there[name]), len(found[name])
    some = f", {shown} of {count} number columns" if count > shown else ""
    title = f"{contents.name}: {name} over time{some}"
    figure.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left")
    panels = figure.subplots(len(found[name]), 1, sharex=True, squeeze=False)[:, 0]
    for axes, series in zip(panels, found[name], strict=True):
        step = max(len(series.times) // MAX_DOTS, 1)
        dots = series.times[::step], series.values[::step]
        axes.plot(*dots, ".", color=SOFT, markersize=2, alpha=0.6)
        axes.plot(series.times, series.mean, color=LINE, linewidth=1.5)
        axes.set_ylabel(series.column, color=INK, fontsize=8)
        axes.ticklabel_format(axis="y", useOffset=False, style="sci", scilimits=(-3, 5))
        _plain(axes)
    return save(figure, path)


@dataclass(frozen=True)
class _Series:
    """A column in order of time: its cells, their running mean, and the share of the variance
    that this mean explains."""

    column: str
    times: NDArray[Any]
    values: NDArray[Any]
    mean: NDArray[Any]
    explained: float


def _series(contents: Contents, table: str) -> list[_Series]:
    """The number columns of a table, those that depend most on time first."""
    time = str(contents.specs[table].time_col)
    frame = contents.frame(table).sort_values(time, kind="stable")
    series = []
    for column, kind in contents.features(table).items():
        cells = frame[[time, column]].dropna()
        if kind != "number" or cells.empty:
            continue
        values = cells[column].astype(float)
        window = max(len(values) // 50, 1)
        mean = values.rolling(window, center=True, min_periods=1).mean().to_numpy()
        spread = float(values.var(ddof=0))
        explained = float(mean.var()) / spread if spread > 0 else 0.0
        times = cells[time].to_numpy()
        series.append(_Series(column, times, values.to_numpy(), mean, explained))
    return sorted(series, key=lambda entry: -entry.explained)


def plot_columns(
    source: Source, path: str | Path, *, table: str | None = None, max_columns: int = 48
) -> Path:
    """A histogram of each feature column of the database, or of one table.

    Numbers and dates in 30 bins over the middle 98 % of their values; booleans and texts as shares
    of their most frequent values. The share of missing cells stands above. Of more than
    `max_columns` columns the first are drawn, and the title says so.
    """
    contents = open_source(source)
    features = [
        (name, column, kind)
        for name in contents.named(table)
        for column, kind in contents.features(name).items()
    ]
    if not features:
        raise NothingToDrawError(f"{contents.name} has no feature columns")
    shown = features[:max_columns]
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    figure = Figure(figsize=(1.55 * across + 0.3, 1.3 * down + 0.4), layout="constrained")
    figure.suptitle(_columns_title(contents, table, len(shown), len(features)), **_TITLE)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    frames: dict[str, pd.DataFrame] = {}
    for axes, (name, column, kind) in zip(panels, shown, strict=False):
        if name not in frames:
            frames = {name: contents.frame(name)}
        _draw_column(axes, frames[name][column], kind)
        missing = float(frames[name][column].isna().mean())
        note = f", {missing:.0%} missing" if missing else ""
        label = f"{_cut(name, 22)}\n{_cut(column, 16)}{note}"
        axes.set_title(label, fontsize=6.5, color=INK, loc="left", pad=3)
        _plain(axes)
    for axes in panels[len(shown) :]:
        axes.axis("off")
    return save(figure, path)


_TITLE: dict[str, Any] = {"color": INK, "fontsize": 11, "x": 0.01, "ha": "left"}


def _columns_title(contents: Contents, table: str | None, shown: int, there: int) -> str:
    title = f"{contents.name}{f', {table}' if table else ''}: "
    return title + (f"{there} columns" if shown == there else f"{shown} of {there} columns")


def _draw_column(axes: Axes, cells: "pd.Series[Any]", kind: str) -> None:
    cells = cells.dropna()
    if cells.empty:
        axes.set(xticks=[], yticks=[])
    elif kind == "number":
        values = cells.to_numpy(dtype=float)
        low = np.quantile(values, 0.01, method="lower")
        high = np.quantile(values, 0.99, method="higher")
        if not low < high:
            low, high = low - 0.5, high + 0.5
        axes.hist(values, bins=BINS, range=(low, high), color=DOTS)
        # numbers that agree in many digits need the room of three
        narrow = high - low < 1e-3 * max(abs(low), abs(high))
        axes.locator_params(axis="x", nbins=1 if narrow else 3)
        axes.ticklabel_format(axis="x", useOffset=False, style="sci", scilimits=(-3, 5))
        axes.xaxis.get_offset_text().set_fontsize(6)
    elif kind == "date":
        days = pd.to_datetime(cells)
        axes.hist(days.dt.year + days.dt.day_of_year / 366, bins=BINS, color=DOTS)
        axes.locator_params(axis="x", nbins=3, integer=True)
    else:
        texts = pd.Series([str(cell) for cell in cells], dtype=object)
        counted = texts.value_counts(normalize=True)
        shares = counted[:BARS]
        shares = shares.sort_index() if kind == "boolean" else shares
        places = range(len(shares))
        axes.barh(places, shares.to_numpy(), color=ENTITY, height=0.85)
        for place, value in zip(places, shares.index, strict=True):
            label = _cut(" ".join(value.split()), 18)
            axes.text(0, place, f" {label}", fontsize=6, va="center", color=INK)
        more = len(counted) - len(shares)
        if more:
            axes.text(0, BARS, f" and {more:,} more", fontsize=6, va="center", color=SOFT)
        lines = max(len(shares) + bool(more), 2)
        axes.set(xlim=(0, 1), ylim=(lines - 0.5, -0.5), xticks=[0, 1])
    axes.set_yticks([])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=6.5 if not axes.get_yticks().size else 7.5)
    axes.spines[["top", "right"]].set_visible(False)
