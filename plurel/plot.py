"""Pictures of a database: its schema, foreign keys, cohorts, series over time, columns.

Every function takes a folder, a relbench Database or a Dataset (SyntheticDataset among them),
writes one picture and returns its path; the file's ending (.png, .svg, .pdf) decides the format.
Figures are made without pyplot's global state.
"""

from collections.abc import Callable
from pathlib import Path

from plurel.canvas import NothingToDrawError, Source
from plurel.plot_columns import plot_columns, plot_series
from plurel.plot_links import plot_cohorts, plot_links
from plurel.plot_schema import plot_schema

__all__ = [
    "PICTURES",
    "NothingToDrawError",
    "Source",
    "plot_cohorts",
    "plot_columns",
    "plot_links",
    "plot_schema",
    "plot_series",
]

PICTURES: dict[str, Callable[..., Path]] = {
    "links": plot_links,
    "cohorts": plot_cohorts,
    "schema": plot_schema,
    "series": plot_series,
    "columns": plot_columns,
}
"""The pictures by name."""
TAKES: dict[str, tuple[str, ...]] = {
    "links": ("table", "column"),
    "cohorts": ("table", "column"),
    "schema": (),
    "series": ("table",),
    "columns": ("table",),
}
"""Which names each picture takes."""
