"""From a model's values to the columns of a table: transforms, missing values, categories.

Following PluRel (arXiv 2602.04029): a transform a numeric column, an exact share of missing cells
a table, booleans for categories without names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel import rng
from plurel.config import Config
from plurel.schema import ColumnSchema, TableSchema
from plurel.spill import IN_MEMORY, Spill, release
from plurel.values import TableValues

F64 = NDArray[np.float64]
Rng = np.random.Generator
MIN_DEVIATION = 1e-8
TIE_RUNS = 8


def _identity(values: F64, draw: Rng) -> F64:
    return values


def rank_uniform(values: F64, draw: Rng) -> F64:
    """rank / (rows + 1), ranks from 1; ties take different ranks.

    Equal values stand as a quicksort leaves them: short-range order is kept, long-range order is
    not. The rows are cut into TIE_RUNS runs; equal values of one run follow their rows, the runs
    follow a random order. A constant column's ranks follow its rows.
    """
    rows = len(values)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if rows and ordered[0] < ordered[-1] and (ordered[1:] == ordered[:-1]).any():
        run = draw.permutation(TIE_RUNS)[np.arange(rows) * TIE_RUNS // rows]
        order = np.lexsort((run, values))
    ranks = np.empty(rows)
    ranks[order] = np.arange(1, rows + 1)
    return ranks / (rows + 1)


def _log(values: F64, draw: Rng) -> F64:
    return np.sign(values) * np.log1p(np.abs(values))


def _sqrt(values: F64, draw: Rng) -> F64:
    return np.sign(values) * np.sqrt(np.abs(values))


def _standardize(values: F64, draw: Rng) -> F64:
    return (values - values.mean()) / max(float(values.std()), MIN_DEVIATION)


TRANSFORMS: dict[str, Callable[[F64, Rng], F64]] = {
    "identity": _identity,
    "rank_uniform": rank_uniform,
    "log": _log,
    "sqrt": _sqrt,
    "standardize": _standardize,
}


def finish_table(
    values: TableValues,
    table: TableSchema,
    config: Config,
    seed: int,
    names: tuple[rng.Name, ...],
    spill: Spill = IN_MEMORY,
) -> dict[str, Any]:
    """The table's feature columns by name, in table order, arrays [table.num_rows].

    Numeric columns are float64, transformed, floor(rate x rows) random cells of each missing
    (NaN; the rate is drawn once a table). Categorical columns hold the strings that the schema
    names, or else become booleans (code > 0); a boolean column with one value is dropped.
    """
    params = config.database_params
    rate = float(params.column_nan_perc_choices.sample(rng.stream(seed, *names, "missing")))
    num_missing = int(np.floor(rate * table.num_rows))
    finished: dict[str, Any] = {}
    for column, column_values in zip(values.columns, values.values, strict=True):
        if column.kind == "numerical":
            draw = rng.stream(seed, *names, "column", column.name)
            transform = TRANSFORMS[params.col_transform_choices.sample(draw)]
            numbers = transform(column_values.astype(np.float64), draw)
            numbers[draw.permutation(table.num_rows)[:num_missing]] = np.nan
            finished[column.name] = spill.keep(numbers)
        else:
            categories = _finish_categories(column, column_values)
            if categories is not None:
                finished[column.name] = categories
        release()
    return finished


def _finish_categories(column: ColumnSchema, codes: NDArray[np.int64]) -> Any:
    """Strings or booleans; None for a column of booleans that are all the same."""
    if column.categories is not None:
        return pd.array(np.array(column.categories, dtype=object)[codes], dtype="str")
    booleans = codes > 0
    return None if booleans.all() or not booleans.any() else booleans
