"""Time: one window a database, evenly spaced dates in its activity tables (PluRel, stage 4).

Row order is time order, so the contiguous clusters of foreign keys become temporal cohorts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.config import Config
from plurel.rng import stream

DAY = 86_400


@dataclass(frozen=True)
class Window:
    """Seconds since 1970: start and end (both may occur), validation and test timestamps."""

    start: int
    end: int
    val: int
    test: int

    @property
    def val_timestamp(self) -> pd.Timestamp:
        """The validation timestamp, no zone."""
        return pd.Timestamp(self.val, unit="s")

    @property
    def test_timestamp(self) -> pd.Timestamp:
        """The test timestamp, no zone."""
        return pd.Timestamp(self.test, unit="s")


def draw_window(config: Config, seed: int) -> Window:
    """Two different days, drawn uniformly from the config's lower bound on and before the upper.

    The splits are days too, shares of the number of days from start to end, both included; in
    windows of so few days that two of the four would coincide, shares of the time instead.
    """
    params = config.database_params
    low, high = (
        int(pd.Timestamp(bound).timestamp())
        for bound in (params.min_timestamp, params.max_timestamp)
    )
    days = (high - low) // DAY
    rng = stream(seed, "window")
    first, second = int(rng.integers(days)), int(rng.integers(days - 1))
    second += second >= first
    start, end = (low + DAY * day for day in sorted((first, second)))
    length = (end - start) // DAY + 1
    val, test = (
        start + DAY * int(length * split) for split in (config.val_split, config.test_split)
    )
    if not start < val < test < end:
        val, test = (
            start + int((end - start) * split) for split in (config.val_split, config.test_split)
        )
    return Window(start, end, val, test)


def even_dates(window: Window, num_rows: int) -> NDArray[np.datetime64]:
    """datetime64[us] of num_rows rows: evenly spaced from the window's start to its end."""
    steps = max(num_rows - 1, 1)
    whole, rest = divmod((window.end - window.start) * 1_000_000, steps)
    rows = np.arange(num_rows, dtype=np.int64)
    # rest < steps, so that the product stays far inside int64
    return (window.start * 1_000_000 + rows * whole + rows * rest // steps).view("datetime64[us]")
