"""The values that a column of numbers or dates may take, evenly spaced, so that they are counted.

Every such column is a position in 0 .. count - 1: whatever decides a value decides a position, and
distinct values are distinct positions.
"""

import math
import re
from dataclasses import dataclass
from datetime import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.dates import Window
from plurel.sql_model import Base, SqlType

DAY = 86_400
ORDERED = ("integer", "decimal", "float", "date", "timestamp", "time")
FLOAT_SCALE = 6
_MOST = 2**53
_INTEGER_SPAN = (10.0, 1e5)
_NUMBER_SPAN = (10.0, 1e4)
_SIGNED = re.compile(
    r"balance|delta|diff|change|temp|offset|profit|score|latitude|longitude|^(lat|lng|lon)$", re.I
)
_DEGREES = ((re.compile(r"^lat", re.I), 90), (re.compile(r"^(lng|lon)", re.I), 180))


@dataclass(frozen=True)
class Domain:
    """(first + k) / 10**scale for k in 0 .. count - 1; days or seconds since 1970 of dates."""

    base: Base
    first: int
    count: int
    scale: int = 0

    def values(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        """The values at the positions `slots`: int64, float64, datetime64[us] or times of day."""
        units = self.first + slots
        if self.base == "integer":
            return units
        if self.base == "date":
            return units.astype("datetime64[D]").astype("datetime64[us]")
        if self.base == "timestamp":
            return units.astype("datetime64[s]").astype("datetime64[us]")
        if self.base == "time":
            clock = [time(s // 3600, s // 60 % 60, s % 60) for s in units.tolist()]
            return np.array([*clock, None], dtype=object)[:-1]
        return np.round(units / 10.0**self.scale, self.scale)


def key_domain(kind: SqlType, window: Window, need: int = 1) -> Domain:
    """All values that the type allows, for keys: numbers from 1 on unless `need` asks for more."""
    if kind.base in ("date", "timestamp", "time"):
        return _times(kind, window, need)
    low, high, scale = _units(kind)
    first = 1 if low <= 1 <= high and high >= need else max(low, min(0, high))
    return Domain(kind.base, first, high - first + 1, scale)


def feature_domain(
    kind: SqlType, name: str, window: Window, rng: np.random.Generator, need: int = 1
) -> Domain:
    """A plausible range inside of what the type and its checks allow, of at least `need` values.

    Bounds that a check gives are kept; where there is none, the width is drawn log-uniformly and
    the range begins at 0, unless the column's name speaks of something that may be negative. Years
    and dates lie in the database's window if they may.
    """
    span = math.exp(rng.uniform(*np.log(_INTEGER_SPAN if kind.base == "integer" else _NUMBER_SPAN)))
    if kind.base in ("date", "timestamp", "time"):
        return _times(kind, window, need)
    low, high, scale = _units(kind)
    width = max(math.ceil(span * 10**scale), need - 1)
    first, last = low, high
    if kind.base == "integer" and (kind.form == "year" or name.lower().endswith("year")):
        years = (pd.Timestamp(second, unit="s").year for second in (window.start, window.end))
        first, last = (min(max(year, low), high) for year in years)
    elif not (kind.low_checked and kind.high_checked):
        if kind.low_checked:
            last = min(high, low + width)
        elif kind.high_checked:
            first = max(low, 0 if high > 0 else high - width)
        else:
            signed = bool(_SIGNED.search(name))
            width = next((d * 10**scale for pattern, d in _DEGREES if pattern.search(name)), width)
            first = max(low, -width if signed else min(0, high))
            last = min(high, first + (2 * width if signed else width))
    if last - first + 1 < need:
        first, last = max(low, min(first, high - need + 1)), high
    return Domain(kind.base, first, last - first + 1, scale)


def feature_limit(kind: SqlType, window: Window) -> int:
    """The largest value that the type allows, in the units of its domain."""
    domain = key_domain(kind, window)
    return domain.first + domain.count - 1


def capacity(kind: SqlType, window: Window) -> float:
    """How many distinct values a unique column of this type can hold."""
    if kind.base == "boolean":
        return 2
    if kind.base == "category":
        return len(kind.values)
    if kind.base in ORDERED:
        return key_domain(kind, window, _MOST).count
    letters = 2 if kind.form == "bits" else 256 if kind.base == "binary" else 36
    return math.inf if kind.length is None else float(letters) ** min(kind.length, 60)


def _units(kind: SqlType) -> tuple[int, int, int]:
    """Inclusive bounds in units of 10**-scale, and the scale; floats get six digits and more."""
    scale = kind.scale
    low = -math.inf if kind.low is None else kind.low
    high = math.inf if kind.high is None else kind.high
    if kind.base == "float":
        span = high - low
        tight = math.isfinite(span) and 0 < span < 1
        scale = FLOAT_SCALE + (math.ceil(-math.log10(span)) if tight else 0)
    factor = 10**scale
    lowest = max(low, -_MOST / factor)
    highest = min(high, _MOST / factor)
    if kind.base == "integer":
        return int(lowest), int(highest), 0
    if kind.base == "float":
        return math.ceil(lowest * factor), math.floor(highest * factor), scale
    # bounds of decimals are on the grid, but as floats they may lie a little beside it
    return math.ceil(round(lowest * factor, 6)), math.floor(round(highest * factor, 6)), scale


def _times(kind: SqlType, window: Window, need: int) -> Domain:
    """Seconds of the day; days or seconds inside the window, or beside it if a check says so."""
    if kind.base == "time":
        return Domain("time", 0, DAY)
    unit = DAY if kind.base == "date" else 1
    low = -math.inf if kind.low is None else kind.low
    high = math.inf if kind.high is None else kind.high
    length = window.end - window.start
    # outside of what the check allows, the window moves to its nearest end
    start = min(max(window.start, low), high if high < window.start else math.inf)
    end = max(min(window.end, high), low if low > window.end else -math.inf)
    if high < window.start:
        start = max(high - length, low)
    elif low > window.end:
        end = min(low + length, high)
    first, last = math.ceil(start / unit), math.floor(end / unit)
    return Domain(kind.base, first, max(last - first + 1, 1), 0)
