"""Foreign keys that a source does not declare, proposed by names and by values.

A foreign key is a column whose name points at a table, or at its key, and whose values stand there.
Names come first: small whole numbers stand in every table that is numbered from 1.
"""

from dataclasses import dataclass, replace

import pyarrow as pa

from rt.importing.names import (
    WEAK_WORDS,
    ends_with,
    is_hierarchy,
    is_key_name,
    key_stem,
    likeness,
    table_stem,
    words,
)
from rt.importing.plan import KeyPlan
from rt.importing.staging import Inclusion, Staging, sort
from rt.importing.tables import Column

LISTED = 0.5
"""A proposal of which a smaller share of rows matches is not worth a look."""
_MOST = 0.9
"""The same where only values speak."""
_MANY = 10
"""Distinct values that do not stand among others by chance, where those have gaps."""
_FEW = 3
"""The same for texts."""
_SAME, _TABLE, _END, _START, _SHORT, _VALUES = 3.2, 3.0, 2.0, 1.5, 1.2, 1.0
"""How much a name says; see `_name_score`."""
_BY_VALUES = "by its values alone"


@dataclass(frozen=True)
class _Candidate:
    """A table and column that a foreign key may reference."""

    table: str
    column: str
    name_score: float
    inclusion: Inclusion
    coverage: float
    likeness: float

    def rank(self) -> tuple[float, ...]:
        share = round(self.inclusion.share, 2)
        return (share >= 0.99, self.name_score, share, self.likeness, self.coverage)


def propose_foreign_keys(
    staging: Staging, name: str, keys: dict[str, tuple[str, ...]]
) -> list[KeyPlan]:
    """Foreign keys of a table. keys: the primary key of every table, () for none."""
    found = []
    for column in staging.tables[name].columns:
        best = _best(staging, name, column, keys)
        if best is not None:
            found.append(best)
    return _with_roles(staging, name, found)


def _best(
    staging: Staging, name: str, column: Column, keys: dict[str, tuple[str, ...]]
) -> KeyPlan | None:
    candidates: list[_Candidate] = []
    by_values: list[_Candidate] = []
    for parent, key in keys.items():
        if len(key) != 1 or not staging.num_rows[parent] or (parent, key[0]) == (name, column.name):
            continue
        score = _name_score(name, column, parent, keys)
        if not score and pa.types.is_string(column.type):
            score = _VALUES  # codes may be called anything: origin, dest
        if not staging.facts(name)[staging.tables[name].position(column.name)][0] and score < _END:
            continue  # nothing but its name speaks for it
        if score < _VALUES or not _comparable(staging, name, column, parent, key[0]):
            continue
        inclusion = staging.inclusion(name, [column.name], parent, key)
        if inclusion.share >= LISTED:
            coverage = inclusion.found / staging.num_rows[parent]
            pair = _Candidate(parent, key[0], score, inclusion, coverage, likeness(name, parent))
            (candidates if score > _VALUES else by_values).append(pair)
    if candidates:
        best = max(candidates, key=_Candidate.rank)
        return _proposal(column, best, sure=True, why="by its name")
    return _best_by_values(staging, column, by_values)


def _best_by_values(
    staging: Staging, column: Column, candidates: list[_Candidate]
) -> KeyPlan | None:
    """The table whose key has the values of a column whose name says nothing; all of them where
    the key counts rows, since it has every small number."""
    gaps = {c.table: _has_gaps(staging, c) for c in candidates}
    kept = [
        c
        for c in candidates
        if c.inclusion.values > 1 and c.inclusion.share >= (_MOST if gaps[c.table] else 1)
    ]
    if not kept or (not gaps[kept[0].table] and words(column.name)[-1] in WEAK_WORDS):
        return None
    best = max(kept, key=lambda c: (c.inclusion.share, c.coverage, c.likeness))
    enough = _FEW if pa.types.is_string(column.type) else _MANY
    sure = best.inclusion.values >= enough and gaps[best.table]
    return _proposal(column, best, sure=sure, why=_BY_VALUES)


def _with_roles(staging: Staging, name: str, found: list[KeyPlan]) -> list[KeyPlan]:
    """Keys by values are sure where another key of the table references the same one by its name
    (home_team_id and opponent_id) and the values reach from one end of the parent's to the other:
    other numbers, of statuses or wards, stop somewhere."""
    named = {key.references for key in found if key.why == "by its name"}
    made = []
    for key in found:
        if key.why == _BY_VALUES and key.references in named and _reaches(staging, name, key):
            key = replace(key, sure=True, why="by its values, as another key of this table")
        made.append(key)
    return made


def _reaches(staging: Staging, name: str, key: KeyPlan) -> bool:
    """Whether the values of a key spread over at least 95 % of the range of the parent's."""
    (_, low, high), (_, first, last) = (
        staging.facts(table)[staging.tables[table].position(columns[0])]
        for table, columns in ((name, key.columns), (key.references, key.to))
    )
    if not isinstance(low, int) or not isinstance(first, int):
        return True
    enough = staging.inclusion(name, key.columns, key.references, key.to).values >= _MANY
    return enough and high - low >= 0.95 * (last - first)


def _proposal(column: Column, best: _Candidate, *, sure: bool, why: str) -> KeyPlan:
    share = best.inclusion.share if best.inclusion.rows else None
    if share is None:
        why += ", it has no values"
    return KeyPlan((column.name,), best.table, (best.column,), False, share, why, sure)


def _name_score(name: str, column: Column, parent: str, keys: dict[str, tuple[str, ...]]) -> float:
    """How clearly the name of a column points at a table: below _VALUES not at all."""
    key, stem = keys[parent][0], key_stem(column.name)
    target, key_target = table_stem(parent), key_stem(key)
    if keys[name] == (column.name,):  # a row that extends one of another table
        return _TABLE if stem == target and parent != name else 0
    if parent == name and is_hierarchy(column.name):
        return _TABLE
    if not stem or (parent == name and stem in (target, key_target)):
        return 0
    named = is_key_name(column.name)
    if words(column.name) == words(key) and key_target:
        return _SAME
    if stem in (target, key_target):
        return _TABLE if named else _END
    if not named:
        return 0
    if ends_with(stem, target) or ends_with(stem, key_target):
        return _END
    return _faint_score(stem, target, key_target)


def _faint_score(
    stem: tuple[str, ...], target: tuple[str, ...], key_target: tuple[str, ...]
) -> float:
    if stem[: len(target)] == target or (key_target and stem[: len(key_target)] == key_target):
        return _START
    if ends_with(target, stem):
        return _START
    short = stem[-1].rstrip("0123456789")
    if len(short) >= 3 and target[-1].startswith(short):
        return _SHORT
    return _VALUES


def _comparable(staging: Staging, name: str, column: Column, parent: str, key: str) -> bool:
    """Whether values can be equal: of one sort (a column without values is of any), and not all
    beyond the ends of the other's."""
    position = staging.tables[name].position(column.name)
    given, low, high = staging.facts(name)[position]
    if not given:
        return is_key_name(column.name)
    if sort(column.type) != sort(staging.type(parent, key)) or pa.types.is_boolean(column.type):
        return False
    _, first, last = staging.facts(parent)[staging.tables[parent].position(key)]
    return bool(low <= last and high >= first)


def _has_gaps(staging: Staging, found: _Candidate) -> bool:
    """Whether the values of a key are more than small numbers that count its rows."""
    if not pa.types.is_integer(staging.type(found.table, found.column)):
        return True
    table = staging.tables[found.table]
    _, low, high = staging.facts(found.table)[table.position(found.column)]
    return bool(high - low > 20 * staging.num_rows[found.table])
