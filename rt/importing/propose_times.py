"""When a row came to be: a time column of each table, and the timestamps of validation and test.

A row is hidden until its time, so the time must be the one at which it became known: when it was
created or happened. Not when it was last changed, which hides it for too long and says that a
change is coming; not a birthday, which is a property of the row.
"""

import datetime as dt

import pyarrow as pa

from plurel.errors import InputError
from rt.importing.names import singular, table_stem, words
from rt.importing.plan import KeyPlan, Plan, TablePlan
from rt.importing.staging import Staging
from rt.importing.texts import mixed_texts

GIVEN = 0.9
"""A time column has a value in at least this share of rows: rows without one are always visible."""
_CHANGED = "modified modify modification updated update changed edited refreshed synced last etl"
_BORN = "birth born dob birthday birthdate"
_ENDED = (
    "end ended ending closed close expire expired expiry expiration expires due deadline until to "
    "deleted delete canceled cancelled required ship shipped shipping delivered delivery return "
    "returned discontinued out finish finished completed thru disch discharge store exit resolved"
)
_BEGAN = (
    "create created creation insert inserted added order ordered invoice purchase placed post "
    "posted submit submitted occur occurred event transaction payment paid rental visit admit "
    "chart booked booking start started begin began open opened issued registered signup joined "
    "in from recorded measured logged entry first "
    "premiered released published aired"
)
_KINDS = [(_BORN, "born"), (_CHANGED, "changed"), (_ENDED, "ended"), (_BEGAN, "began")]
_SCORES = {"named": 4, "began": 3, "plain": 2, "ended": 1}
_REASONS = {
    "named": "called after the table",
    "began": "when the row came to be, by its name",
    "plain": "a time, and none that is better",
    "ended": "no earlier time in this table",
}
_REFUSED = {
    "born": "is a birthday",
    "changed": "says when the row was changed, not when it came to be",
    "constant": "is the same in all rows",
    "rare": "is missing in too many rows",
}


def propose_time(staging: Staging, name: str) -> tuple[str | None, str]:
    """The time column of a table, or None, and why."""
    table = staging.tables[name]
    best, refused = None, []
    for i, column in enumerate(table.columns):
        if not pa.types.is_timestamp(column.type):
            continue
        given, low, high = staging.facts(name)[i]
        kind = _kind(column.name, name)
        if given < GIVEN * staging.num_rows[name] or not given:
            kind = "rare"
        elif low == high and staging.num_rows[name] > 1:
            kind = "constant"
        if kind in _REFUSED:
            refused.append(f"{column.name} {_REFUSED[kind]}")
        elif best is None or _SCORES[kind] > _SCORES[best[1]]:
            best = column.name, kind
    if best is None:
        found = (mixed for mixed in mixed_texts(staging, name) if mixed.kind == "dates")
        refused += [f"{mixed.column} looks like dates, but {mixed}" for mixed in found]
    else:
        counted = ", counted since 1970" if (name, best[0]) in staging.counts else ""
        return best[0], "; ".join([_REASONS[best[1]] + counted, *refused])
    return None, "; ".join(refused)


def _kind(column: str, table: str) -> str:
    """What the name of a time column says."""
    found = [singular(part) for word in words(column) for part in _without_unit(word)]
    for known, kind in _KINDS[:3]:
        if set(found) & set(known.split()):
            return kind
    if set(found) & set(table_stem(table)):
        return "named"
    return "began" if set(found) & set(_BEGAN.split()) else "plain"


def _without_unit(word: str) -> tuple[str, ...]:
    """admittime as admit, time."""
    for unit in ("time", "date", "timestamp"):
        if word.endswith(unit) and len(word) > len(unit):
            return word.removesuffix(unit), unit
    return (word,)


def propose_time_from(plan: Plan, name: str) -> tuple[tuple[tuple[str, ...], ...], str]:
    """The foreign keys, each by its columns, whose parents' times are the table's, and why: for
    rows that are part of a row there, as the lines of an order are. They have the key in their own,
    or are called after it; a customer is no part of the employee who looks after him. A pair of
    rows is there only when both of them are, so it has the latest time of all of them."""
    table = plan.tables[name]
    timed = [
        key
        for key in table.foreign_keys
        if key.accept
        and plan.has_time(key.references)
        and not _goes_through(plan, key.references, name)
        and (_in_key(key, table) or _is_called_after(name, key.references))
    ]
    if not timed:
        return (), ""
    parents = " and ".join(dict.fromkeys(key.references for key in timed))
    why = f"no time of its own: its rows are parts of those of {parents}"
    return tuple(dict.fromkeys(key.columns for key in timed)), why


def _goes_through(plan: Plan, name: str, through: str) -> bool:
    """Whether a table is that one, or its times lead to it."""
    return name == through or any(
        _goes_through(plan, key.references, through) for key in plan.time_sources(name)
    )


def _in_key(key: KeyPlan, table: TablePlan) -> bool:
    return set(key.columns) <= set(table.primary_key)


def _is_called_after(name: str, parent: str) -> bool:
    own, other = table_stem(name), table_stem(parent)
    return own != other and own[: len(other)] == other


def propose_timestamps(staging: Staging, times: dict[str, str]) -> tuple[str, str]:
    """The moments before which 80 % and 90 % of all times lie; whole days, or hours or seconds
    where the times span little. times: the time column of each table that has one.

    Raises InputError where no two moments part the times.
    """
    if not times:
        raise InputError(
            "no table has a time column; name one in the plan, or give --val-timestamp and "
            "--test-timestamp"
        )
    parts = []
    for name, column in times.items():
        (place,) = staging.columns(name, [column])
        parts.append(f"SELECT {place} AS t FROM {staging.relation(name)} WHERE {place} IS NOT NULL")
    union = " UNION ALL ".join(parts)
    ((low, high),) = staging.ask(f"SELECT min(t), max(t) FROM ({union})")
    unit = _unit(high - low)
    counted = staging.ask(
        f"SELECT date_trunc('{unit}', t), count(*) FROM ({union}) GROUP BY 1 ORDER BY 1"
    )
    starts = [start for start, _ in counted]
    if len(starts) < 3:
        raise InputError(
            f"all times lie in {low} to {high}, too close to part them; give --val-timestamp and "
            "--test-timestamp"
        )
    # RelBench's splits take their end in: after the test timestamp there must be times
    counts = [count for _, count in counted]
    val = min(_position(counts, 0.8), len(starts) - 3)
    test = min(max(_position(counts, 0.9), val + 1), len(starts) - 2)
    return str(starts[val]), str(starts[test])


def _position(counts: list[int], share: float) -> int:
    """The first part before which that share of all lies, or the last."""
    total, before = sum(counts), 0
    for i, count in enumerate(counts):
        if before >= share * total:
            return i
        before += count
    return len(counts) - 1


def _unit(span: dt.timedelta) -> str:
    if span > dt.timedelta(days=60):
        return "day"
    return "hour" if span > dt.timedelta(days=3) else "second"
