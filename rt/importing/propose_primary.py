"""Primary keys that a source does not declare, proposed by names and by values.

A primary key is a column that is unique, has no nulls and is called like a key. Its name is called
after the table, or other tables have columns of that name whose values stand in it.
"""

from collections.abc import Sequence
from itertools import combinations

import pyarrow as pa

from rt.importing.names import WEAK_WORDS, is_key_name, key_stem, table_stem, words
from rt.importing.plan import KeyPlan
from rt.importing.propose_times import propose_time
from rt.importing.staging import Staging, sort
from rt.importing.tables import Column, SourceTable

DOUBLES = 0.01
"""The share of rows too many up to which a column is nearly unique."""
_NAMED = 5
"""The score of a column that is called after its table, or just id."""
LISTED = 0.5
"""Names that agree say nothing where a smaller share of values does."""


def propose_primary_keys(staging: Staging) -> dict[str, tuple[str, str]]:
    """Per table the column that is its primary key, and why; tables without one are absent."""
    found = {}
    for name in staging.tables:
        column = _own_column(staging, name)
        if column is not None:
            found[name] = column
    for column in sorted(set(found.values())):
        for name in _borrowers(staging, column, [t for t, c in found.items() if c == column]):
            del found[name]
    return {name: (column, "unique, and named so") for name, column in found.items()}


def _own_column(staging: Staging, name: str) -> str | None:
    """The unique column whose name speaks most for a primary key."""
    table = staging.tables[name]
    scored = [
        (score, -i, column.name)
        for i, column in enumerate(table.columns)
        if (score := _own_score(staging, table, i)) > 0
    ]
    ordered = (column for _, _, column in sorted(scored, reverse=True))
    return next((column for column in ordered if staging.is_unique(name, [column])), None)


def nearly_unique(staging: Staging, name: str) -> str:
    """That a column would be the primary key of a table by its name, but for few values that stand
    in several rows; "" where there is none."""
    table = staging.tables[name]
    for i, column in enumerate(table.columns):
        if _own_score(staging, table, i) < _NAMED:
            continue
        own = staging.inclusion(name, [column.name], name, [column.name])
        # unique, and yet no key here: it is that of another table
        if 0 < own.rows - own.values <= max(1, DOUBLES * own.rows):
            (value,), count = staging.duplicate(name, [column.name])
            more = "" if own.rows - own.values == count - 1 else " and others"
            return f"{column.name} is unique but for {value!r}{more}"
    return ""


def _borrowers(staging: Staging, column: str, names: list[str]) -> list[str]:
    """Of the tables that have the same key with the same values, those that extend the rows of
    another one of them: all but the one with the plainest name, without a time of its own."""
    many = any(
        column in table.names and not staging.is_unique(table.name, [column])
        for table in staging.tables.values()
    )
    if not many or len(names) < 2:  # nothing references it: numbers of rows, which are all alike
        return []

    def order(name: str) -> tuple[bool, int, int]:
        timed = propose_time(staging, name)[0] is not None
        return timed, len(table_stem(name)), names.index(name)

    first = min(names, key=order)
    rows = staging.num_rows[first]
    return [
        name
        for name in names
        if name != first
        and staging.num_rows[name] == rows
        and staging.inclusion(name, [column], first, [column]).matching == rows
    ]


def _own_score(staging: Staging, table: SourceTable, position: int) -> float:
    """How much the name of a column speaks for a primary key; 0: it is none."""
    column = table.columns[position]
    given = staging.facts(table.name)[position][0]
    if not _can_be_key(column) or given < staging.num_rows[table.name] or not given:
        return 0
    stem, own, key = key_stem(column.name), table_stem(table.name), is_key_name(column.name)
    others = [other for other in staging.tables.values() if other.name != table.name]
    shared = any(column.name in other.names for other in others)
    weak = words(column.name)[-1] in WEAK_WORDS
    if key and stem and shared and not weak and _is_owner(staging, table.name, column.name):
        return 8 if stem == own else 7
    # ids before codes and numbers; what other tables have as well before what they have not
    extra = (2 if shared and stem else 0) - (1.5 if weak else 0)
    if key and (not stem or stem == own):
        return 5 + extra
    if any(stem == table_stem(other.name) for other in others) and len(own) > 1:
        return 0  # it is called after another table
    if key and _is_part(stem, own):
        return 4 + extra
    if position == 0 and (key or shared):
        return (3 if key else 2) + extra
    return 1 if position == 0 and staging.is_code(table.name, column.name) else 0


def _is_owner(staging: Staging, name: str, column: str) -> bool:
    """Whether a table is the only one of those with a column in which it is unique, and has the
    values of the others."""
    others = [t.name for t in staging.tables.values() if column in t.names and t.name != name]
    if not staging.is_unique(name, [column]):
        return False
    if any(staging.is_unique(other, [column]) for other in others):
        return False
    kinds = {sort(staging.type(table, column)) for table in (name, *others)}
    return len(kinds) == 1 and all(
        staging.inclusion(other, [column], name, [column]).share >= LISTED for other in others
    )


def _is_part(stem: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """Whether a key is called after the beginning or the end of its table's name."""
    return own[: len(stem)] == stem or "".join(own).endswith("".join(stem))


def _can_be_key(column: Column) -> bool:
    kind = column.type
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def propose_composite_key(staging: Staging, name: str, keys: Sequence[KeyPlan]) -> tuple[str, ...]:
    """The fewest foreign keys of a table that are unique together: a table of pairs; () if none."""
    if not staging.num_rows[name]:
        return ()
    single = [key.columns[0] for key in keys if key.accept and len(key.columns) == 1]
    single = [column for column in single if not staging.nulls(name, [column])][:5]
    for size in (2, 3):
        for columns in combinations(single, size):
            if staging.is_unique(name, columns):
                return columns
    return ()
