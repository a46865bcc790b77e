"""Whole numbers that are times: they count seconds or milliseconds since 1970.

Their values lie between 1990 and 2100 throughout. Other numbers may do so too, thus the name has to
speak for a time as well, or the place in a key of several columns.
"""

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa

from plurel.errors import InputError
from plurel.nearest import instead
from rt.importing.names import is_key_name, words
from rt.importing.plan import Plan
from rt.importing.staging import Staging

SECOND, MILLISECOND = 10**6, 10**3
"""In microseconds."""
_LIKELY = (631_152_000, 4_102_444_800)
"""1990 and 2100, in seconds."""
_POSSIBLE = (10**8, 10**10)
"""What a plan may call a time: 1973 to 2286."""
_WORDS = (
    "time times date dates datetime timestamp timestamps ts stamp at on when day taken epoch unix "
    "utc since start end begin until"
)
_TIMES = frozenset(_WORDS.split())


@dataclass(frozen=True)
class Counts:
    """Columns of a table that count since 1970, each with its unit: `named`, whose names or place
    in the key say so, and `others`, of which only the values do."""

    named: dict[str, int]
    others: dict[str, int]


def unit_of(staging: Staging, table: str, column: str, *, likely: bool) -> int | None:
    """The unit in which a column counts since 1970; None if it doesn't. likely: from 1990 to 2100,
    else whatever a person may call so."""
    position = staging.tables[table].position(column)
    given, low, high = staging.facts(table)[position]
    if not given or not pa.types.is_integer(staging.type(table, column)):
        return None
    first, last = _LIKELY if likely else _POSSIBLE
    for unit in (SECOND, MILLISECOND):
        if first * SECOND <= low * unit and high * unit < last * SECOND:
            return unit
    return None


def find_counts(plan: Plan, staging: Staging, name: str) -> Counts:
    """The columns of a table that count since 1970, but for references and what they reference."""
    key, linked = plan.tables[name].primary_key, links(plan, name)
    found = Counts({}, {})
    for column in staging.tables[name].names:
        unit = unit_of(staging, name, column, likely=True)
        if unit is None or column in linked:
            continue
        part = column in key and len(key) > 1
        if part or (says_time(column) and not is_key_name(column)):
            found.named[column] = unit
        elif column not in key and not is_key_name(column):
            found.others[column] = unit
    return found


def count_planned(plan: Plan, staging: Staging) -> None:
    """Make times of what a plan calls so: its columns `since_1970`, and time columns of whole
    numbers. InputError for those that don't count since 1970, and for references."""
    for name, table in plan.tables.items():
        there = staging.tables[name].names
        counts = {}
        for column in table.since_1970:
            if column not in there:
                raise InputError(f"table {name} has no column {column!r}{instead(column, there)}")
            unit = unit_of(staging, name, column, likely=False)
            where = f"table {name}: since_1970 {column}"
            if unit is None:
                raise InputError(
                    f"{where} holds no whole numbers that count seconds or milliseconds since "
                    "1970; take it out"
                )
            if column in links(plan, name):
                raise InputError(f"{where} is a reference or what one references; take it out")
            counts[column] = unit
        time = table.time_column
        if time is not None and time in there and time not in links(plan, name):
            unit = unit_of(staging, name, time, likely=False)
            counts |= {} if unit is None else {time: unit}
        if counts:
            staging.count_times(name, counts)


def links(plan: Plan, name: str) -> set[str]:
    """The columns of a table that reference others, or that others reference."""
    own = {c for key in plan.tables[name].foreign_keys if key.accept for c in key.columns}
    return own | {
        column for _, key in plan.references()
        if key.accept and key.references == name for column in key.to
    }  # fmt: skip


def says_time(column: str) -> bool:
    """Whether a name means a time: visited, created_at, admittime."""
    return any(
        word in _TIMES or word.endswith(("time", "date")) or (word.endswith("ed") and len(word) > 4)
        for word in words(column)
    )


def unit_name(unit: int) -> str:
    """Seconds or milliseconds."""
    return "seconds" if unit == SECOND else "milliseconds"


def shown(staging: Staging, name: str, column: str, unit: int) -> str:
    """A column that may be times, with an example."""
    _, low, _ = staging.facts(name)[staging.tables[name].position(column)]
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=low * unit)
    return f"{column} may count {unit_name(unit)} since 1970 ({low} is {moment:%Y-%m-%d})"
