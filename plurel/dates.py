"""Time: one window a database, evenly spaced dates in its activity tables (PluRel, stage 4).

Row order is time order, so the contiguous clusters of foreign keys become temporal cohorts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.config import Config
from plurel.rng import stream

MIN_SECONDS = 86_400
"""A window is at least a day long, so that the splits never coincide."""


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
    """Two uniform instants inside the config's bounds, at least a day apart, in whole seconds."""
    params = config.database_params
    low, high = (
        int(pd.Timestamp(bound).timestamp())
        for bound in (params.min_timestamp, params.max_timestamp)
    )
    rng = stream(seed, "window")
    start = end = low
    while end - start < MIN_SECONDS:
        start, end = sorted(rng.integers(low, high, size=2, endpoint=True).tolist())
    length = end - start
    return Window(
        start,
        end,
        start + int(length * config.val_split),
        start + int(length * config.test_split),
    )


def even_dates(window: Window, num_rows: int) -> NDArray[np.datetime64]:
    """datetime64[us] of num_rows rows: evenly spaced from the window's start to its end."""
    steps = max(num_rows - 1, 1)
    whole, rest = divmod((window.end - window.start) * 1_000_000, steps)
    rows = np.arange(num_rows, dtype=np.int64)
    # rest < steps, so that the product stays far inside int64
    return (window.start * 1_000_000 + rows * whole + rows * rest // steps).view("datetime64[us]")
