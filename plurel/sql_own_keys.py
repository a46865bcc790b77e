"""Key columns of a table's own: numbers in order, codes, dates, and the time of its rows."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plurel.dates import even_dates
from plurel.errors import InputError
from plurel.rng import stream
from plurel.schema import TableSchema
from plurel.sql_domains import ORDERED, feature_domain, key_domain
from plurel.sql_unique import I64, Member, combined, spread
from plurel.text import spell_codes
from plurel.values import Cells

if TYPE_CHECKING:
    from plurel.sql_keys import KeyDraw

_CODED = ("category", "boolean")


def draw_codes(draw: "KeyDraw", table: TableSchema) -> dict[str, Member]:
    """The key columns that are categories or booleans: uniform codes, one a row."""
    declared, roles = table.declared()
    found = {}
    for name in roles.key_columns:
        kind = declared.column(name).type
        if kind.base in _CODED:
            size = 2 if kind.base == "boolean" else len(kind.values)
            rng = stream(draw.seed, "table", table.name, "key", name)
            found[name] = Member(rng.integers(size, size=table.num_rows), size)
    return found


def own_column(draw: "KeyDraw", table: TableSchema, name: str) -> Cells:
    """The time column: evenly spaced over the window, in whole days for a DATE, and in whole
    seconds unless there are more rows than seconds."""
    declared, _ = table.declared()
    moments = even_dates(draw.window, table.num_rows)
    if declared.column(name).type.base == "date":
        moments = moments.astype("datetime64[D]").astype("datetime64[us]")
    elif draw.window.end - draw.window.start >= table.num_rows:
        moments = moments.astype("datetime64[s]").astype("datetime64[us]")
    return Cells(moments, np.ones(table.num_rows, bool))


def finish_own_keys(
    draw: "KeyDraw", table: TableSchema, codes: dict[str, Member]
) -> dict[str, Cells]:
    """The table's own key columns and its time column; the links of the table must be drawn."""
    declared, roles = table.declared()
    valid = np.ones(table.num_rows, bool)
    done: dict[str, Cells] = {}
    if roles.time_column is not None:
        done[roles.time_column] = own_column(draw, table, roles.time_column)
    for name, member in codes.items():
        kind = declared.column(name).type
        values = np.array(kind.values, dtype=object) if kind.values else np.array([False, True])
        done[name] = Cells(values[member.states], valid)
    completed = _completed_sets(table, codes)
    for name in roles.key_columns:
        if name in done:
            continue
        column = declared.column(name)
        if name == roles.natural_key and table.primary_key == name:
            done[name] = Cells(np.arange(table.num_rows), valid)
        elif column.type.base not in ORDERED:
            rng = stream(draw.seed, "table", table.name, "key", name)
            done[name] = Cells(spell_codes(column, table.num_rows, rng), valid)
    for name in roles.key_columns:
        if name not in done:
            done[name] = Cells(_ordered(draw, table, name, completed, done), valid)
    return done


def _completed_sets(
    table: TableSchema, codes: dict[str, Member]
) -> dict[str, list[tuple[str, ...]]]:
    """By ordered column of the table's own the key sets that it completes, the others' names."""
    declared, roles = table.declared()
    found: dict[str, list[tuple[str, ...]]] = {}
    for columns in roles.key_sets:
        own = [c for c in columns if c in roles.key_columns and c not in codes]
        if own and all(declared.column(c).type.base in ORDERED for c in own):
            last = max(own, key=roles.key_columns.index)
            found.setdefault(last, []).append(tuple(c for c in columns if c != last))
    return found


def _ordered(
    draw: "KeyDraw",
    table: TableSchema,
    name: str,
    completed: dict[str, list[tuple[str, ...]]],
    done: dict[str, Cells],
) -> "np.ndarray[tuple[int], np.dtype[np.generic]]":
    """Numbers or dates: counted from the first one on within each group of rows that agree in the
    other columns of the set; evenly spaced dates where there are none; else at random."""
    declared, _ = table.declared()
    column, rows = declared.column(name), table.num_rows
    domain = key_domain(column.type, draw.window, rows)
    if name not in completed:
        rng = stream(draw.seed, "table", table.name, "key", name)
        domain = feature_domain(column.type, name, draw.window, rng)
        return domain.values(rng.integers(domain.count, size=rows))
    sets = completed[name]
    groups = np.zeros(rows, np.int64)
    wanted = np.zeros(rows, np.int64)
    if len(sets) == 1 and sets[0]:
        groups = _groups(draw, table, sets[0], done)
    elif column.type.base in ("date", "timestamp", "time"):
        wanted = np.arange(rows) * domain.count // rows
    positions = spread(groups, wanted, domain.count)
    if positions is None:
        raise InputError(
            f"{draw.config.schema_file}, line {column.line}: {table.name}.{name} has only "
            f"{domain.count} values, too few to keep its key unique in {rows} rows; give the table "
            "fewer rows by sql_params.num_rows"
        )
    return domain.values(positions)


def _groups(
    draw: "KeyDraw", table: TableSchema, names: tuple[str, ...], done: dict[str, Cells]
) -> I64:
    """Numbers of the tuples that the other columns of a unique set hold."""
    _, roles = table.declared()
    foreign = {c for owned in roles.owned for c in owned}
    codes = []
    for name in names:
        cells = draw.column(table.name, name) if name in foreign else done.get(name)
        if cells is None:  # an own column that comes later: it completes no set
            continue
        codes.append(pd.factorize(cells.values)[0].astype(np.int64))
    return combined(codes)[0] if codes else np.zeros(table.num_rows, np.int64)
