"""Where the rows of a context stand in a picture, which of them are shown, and in what colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import rustler
from rt.viz import Context

COLORS = ("#33658a", "#a23b72", "#2e7d4f", "#b06a00", "#1b8a9a", "#6d4c9f", "#7a6a4f", "#5f6b73")
TARGET = "#cc3311"
BANDS: dict[str, tuple[str, ...]] = {
    "target, ancestors": ("target", "ancestor"),
    "own labels": ("own label",),
    "other labels, each with what is around it": ("other label", "around another label"),
    "neighbourhood": ("neighbourhood",),
}
"""Parts that stand together, in their order in a context."""
assert [part for parts in BANDS.values() for part in parts] == rustler.PARTS
ROWS_A_COLUMN = 14
"""Rows of one depth that stand below each other before the next column begins."""


@dataclass(frozen=True)
class Band:
    """The rows of some parts: how many there are, those that are shown, and their columns."""

    name: str
    count: int
    rows: list[int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Places (x, y) of the rows that are shown, by row; the number of columns and of lines; for
    each column the depth of its rows."""

    places: dict[int, tuple[float, float]]
    width: int
    height: int
    bands: list[Band]
    depths: list[int]


def colors_of(seen: Context) -> dict[str, str]:
    """The colour of each table."""
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(dict.fromkeys(seen.tables))}


def share_out(sizes: Sequence[int], total: int) -> list[int]:
    """How many of each group are shown, `total` in all: each its share, and what a group does not
    need goes to those before and after it, the first ones first."""
    left = [min(size, total // max(len(sizes), 1)) for size in sizes]
    for i, size in enumerate(sizes):
        left[i] += min(size - left[i], total - sum(left))
    return left


def bands_of(seen: Context) -> dict[str, list[int]]:
    """The rows of each band that has any."""
    found = {
        name: [row for row, part in enumerate(seen.parts) if part in parts]
        for name, parts in BANDS.items()
    }
    return {name: rows for name, rows in found.items() if rows}


def lay_out(seen: Context, max_rows: int) -> Layout:
    """Bands beside each other; in each, rows of one depth below each other, those of one table
    together, in several columns if they are many."""
    every = bands_of(seen)
    counts = share_out([len(rows) for rows in every.values()], max_rows)
    places: dict[int, tuple[float, float]] = {}
    bands: list[Band] = []
    depths: list[int] = []
    for (name, rows), count in zip(every.items(), counts, strict=True):
        first = len(depths)
        shown = rows[:count]
        for depth in sorted({int(seen.depths[row]) for row in shown}):
            columns = _columns([row for row in shown if seen.depths[row] == depth], seen)
            for column in columns:
                places |= {row: (len(depths), y) for y, row in enumerate(column)}
                depths.append(depth)
        if shown:
            bands.append(Band(name, len(rows), shown, (first, len(depths) - 1)))
    height = 1 + max(int(y) for _, y in places.values())
    return Layout(_centred(places, height), len(depths), height, bands, depths)


def _columns(rows: list[int], seen: Context) -> list[list[int]]:
    if seen.parts[rows[0]] not in BANDS["other labels, each with what is around it"]:
        rows = sorted(rows, key=lambda row: seen.tables[row])
    count = -(-len(rows) // ROWS_A_COLUMN)
    lines = -(-len(rows) // count)
    return [rows[i : i + lines] for i in range(0, len(rows), lines)]


def _centred(places: dict[int, tuple[float, float]], height: int) -> dict[int, tuple[float, float]]:
    """Each column in the middle of the picture."""
    at: NDArray[np.float64] = np.array(list(places.values()), dtype=np.float64)
    for x in np.unique(at[:, 0]):
        inside = at[:, 0] == x
        at[inside, 1] += (height - 1 - at[inside, 1].max()) / 2
    return {row: (float(x), float(y)) for row, (x, y) in zip(places, at, strict=True)}


def short(text: str, length: int) -> str:
    """A text on one line, shortened."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """A text without the characters that would steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
