"""From a model's values to the feature columns that SQL declares.

A numeric node decides a column's values by their order or by their size: it is put through a drawn
monotone map into the range of the type and its checks. Unique sets of columns and checks between
two columns are kept by moving values as little as that takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel import rng
from plurel.columns import TRANSFORMS, rank_uniform
from plurel.config import Config
from plurel.dates import Window
from plurel.errors import InputError
from plurel.schema import ColumnSchema, TableSchema
from plurel.sql_domains import DAY, Domain, feature_domain, feature_limit
from plurel.sql_model import Ordered, SqlColumn, Value
from plurel.sql_unique import combined, spread
from plurel.text import generate_text, spell_codes
from plurel.values import Cells, TableValues

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_SKEWS = (1.0, 1.0, 2.0, 3.0)
_TAIL = 0.005


@dataclass
class _Draft:
    """A column while it is made: positions in a domain if it has an order, else its values."""

    column: SqlColumn
    values: NDArray[Any]
    domain: Domain | None = None
    missing: NDArray[np.bool_] | None = None

    def finished(self) -> NDArray[Any]:
        return self.values if self.domain is None else self.domain.values(self.values)


def finish_sql_columns(
    values: TableValues,
    table: TableSchema,
    keys: Mapping[str, Cells],
    config: Config,
    seed: int,
    window: Window,
) -> dict[str, Cells]:
    """The feature columns of a table that SQL declares, by name.

    keys: the table's key columns and its time column, which unique sets and checks may include.
    Of a nullable column floor(rate x rows) random cells are null, the rate drawn once a table; of
    a column with a literal default as many cells hold that instead. Raises InputError if a unique
    column has too few values for the rows.
    """
    declared, roles = table.declared()
    names = ("table", table.name)
    rate = config.database_params.column_nan_perc_choices.sample(
        rng.stream(seed, *names, "missing")
    )
    count = int(np.floor(rate * table.num_rows))
    completing = {name for name, _ in roles.completing}
    drafts: dict[str, _Draft] = {}
    for column, column_values in zip(values.columns, values.values, strict=True):
        draw = rng.stream(seed, *names, "column", column.name)
        unique = column.name in completing
        paired = any(column.name in (order.low, order.high) for order in declared.ordered)
        need = table.num_rows if unique else 2 if paired else 1
        draft = _draft(column, column_values, need, window, config, draw)
        _leave_out(draft, draw.permutation(table.num_rows)[:count], unique)
        drafts[column.name] = draft
    for place, (name, others) in enumerate(roles.completing):
        wide = any(name == other for other, _ in roles.completing[:place])
        cells = _others(drafts, keys, () if wide else others)
        _complete(drafts[name], cells, table, config)
    for order in declared.ordered:
        _put_in_order(drafts, order, keys, window)
    valid = np.ones(table.num_rows, bool)
    return {
        name: Cells(draft.finished(), valid if draft.missing is None else ~draft.missing)
        for name, draft in drafts.items()
    }


def _draft(
    column: ColumnSchema,
    values: NDArray[Any],
    need: int,
    window: Window,
    config: Config,
    draw: np.random.Generator,
) -> _Draft:
    """The column's values before anything is missing; `need` distinct ones must be possible."""
    assert column.sql is not None
    kind = column.sql.type
    if kind.base == "boolean":
        return _Draft(column.sql, values > 0)
    if kind.base == "category":
        codes = values if column.num_categories else np.zeros(len(values), np.int64)
        return _Draft(column.sql, np.array([*kind.values, None], dtype=object)[:-1][codes])
    numbers = values.astype(np.float64)
    if kind.base == "text":
        return _Draft(column.sql, generate_text(numbers, column.sql, need > 2, draw))
    if kind.base == "binary":
        return _Draft(column.sql, spell_codes(column.sql, len(values), draw))
    if kind.base == "float" and need == 1 and not (kind.low_checked or kind.high_checked):
        transform = config.database_params.col_transform_choices.sample(draw)
        return _Draft(column.sql, TRANSFORMS[transform](numbers, draw))
    domain = feature_domain(kind, column.name, window, draw, need)
    return _Draft(column.sql, _positions(numbers, domain.count, draw), domain)


def _positions(numbers: F64, count: int, draw: np.random.Generator) -> I64:
    """0 .. count - 1 by a drawn monotone map: ranks or sizes, even or with most values small."""
    by_rank, skew = draw.random() < 0.5, _SKEWS[int(draw.integers(len(_SKEWS)))]
    if by_rank:
        share = rank_uniform(numbers, draw)
    else:
        low, high = np.quantile(numbers, [_TAIL, 1 - _TAIL])
        share = np.clip((numbers - low) / max(float(high - low), 1e-12), 0.0, 1.0)
    return np.minimum((share**skew * count).astype(np.int64), count - 1)


def _leave_out(draft: _Draft, rows: I64, unique: bool) -> None:
    """Cells that go missing take the column's default, or else are null if that is allowed."""
    default = None if unique else _default(draft.column)
    if default is not None and draft.domain is None:
        draft.values[rows] = default
    elif default is not None and draft.domain is not None:
        draft.values[rows] = _position(float(default), draft.domain)
    elif not draft.column.not_null:
        draft.missing = np.zeros(len(draft.values), bool)
        draft.missing[rows] = True


def _default(column: SqlColumn) -> Value | None:
    """The default as the column's type holds it; None without one that its checks allow."""
    value, kind = column.default, column.type
    if value is None or kind.base in ("date", "timestamp", "time", "binary", "float"):
        return None
    if kind.base == "boolean":
        return str(value).lower() in ("1", "true", "t", "y", "yes", "on")
    if kind.base == "category":
        return next((v for v in kind.values if str(v) == str(value)), None)
    if kind.base == "text":
        text = str(value)
        fits = kind.min_length <= len(text) <= (len(text) if kind.length is None else kind.length)
        return text if fits and kind.form == "words" else None
    try:
        number = float(value)
    except ValueError:
        return None
    low = -np.inf if kind.low is None else kind.low
    high = np.inf if kind.high is None else kind.high
    return number if low <= number <= high else None


def _position(number: float, domain: Domain) -> int:
    """The default's place, which may lie outside of the drawn range."""
    return round(number * 10**domain.scale) - domain.first


def _others(
    drafts: Mapping[str, _Draft], keys: Mapping[str, Cells], names: tuple[str, ...]
) -> list[NDArray[Any]]:
    return [drafts[n].finished() if n in drafts else keys[n].values for n in names]


def _complete(
    draft: _Draft, others: list[NDArray[Any]], table: TableSchema, config: Config
) -> None:
    """Make a unique set distinct by one of its features; texts and bytes are so as they are.

    others: what the other columns of the set hold.
    """
    if draft.domain is None:
        return
    codes = [np.zeros(table.num_rows, np.int64)]
    codes += [pd.factorize(values)[0].astype(np.int64) for values in others]
    positions = spread(combined(codes)[0], draft.values, draft.domain.count)
    if positions is None:
        raise InputError(
            f"{config.schema_file}, line {draft.column.line}: {table.name}.{draft.column.name} has "
            f"only {draft.domain.count} values, too few to be unique in {table.num_rows} rows; "
            "give the table fewer rows by sql_params.num_rows"
        )
    draft.values = positions


def _put_in_order(
    drafts: dict[str, _Draft], order: Ordered, keys: Mapping[str, Cells], window: Window
) -> None:
    """CHECK (low <= high) between two columns: values that are the wrong way round change places.

    Where one of the two is the time of the row, the other one follows it.
    """
    gap = int(order.strict)
    if order.low not in drafts:
        draft = drafts[order.high]
        _set_units(draft, np.maximum(_units(draft), _time(keys[order.low], draft, up=True) + gap))
        return
    if order.high not in drafts:
        draft = drafts[order.low]
        _set_units(draft, np.minimum(_units(draft), _time(keys[order.high], draft) - gap))
        return
    one, other = _units(drafts[order.low]), _units(drafts[order.high])
    limit = feature_limit(drafts[order.low].column.type, window)
    high = np.minimum(np.maximum(np.maximum(one, other), np.minimum(one, other) + gap), limit)
    _set_units(drafts[order.low], np.minimum(np.minimum(one, other), high - gap))
    _set_units(drafts[order.high], high)


def _units(draft: _Draft) -> I64:
    assert draft.domain is not None
    return draft.domain.first + draft.values


def _set_units(draft: _Draft, units: I64) -> None:
    assert draft.domain is not None
    draft.values = units - draft.domain.first


def _time(cells: Cells, draft: _Draft, up: bool = False) -> I64:
    """The rows' times in the draft's units, whole days or seconds, rounded up or down."""
    micros = cells.values.astype("datetime64[us]").astype(np.int64)
    unit = 1_000_000 * (DAY if draft.column.type.base == "date" else 1)
    return -(-micros // unit) if up else micros // unit
