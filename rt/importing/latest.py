"""Which of several references of a row leads to the row that came to be last.

A pair of rows is there only when both of them are: with the time of one it would be seen before the
other was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rt.importing.plan import KeyPlan, Plan
from rt.importing.staging import Staging


@dataclass(frozen=True)
class Latest:
    """The reference whose time is the latest one in most rows; later: in how many of the table's
    `num_rows` another one is."""

    key: KeyPlan
    later: int
    num_rows: int


def latest(plan: Plan, staging: Staging, name: str, keys: Sequence[KeyPlan]) -> Latest:
    """Of some references of a table to tables with times; of equal ones the first. A row of which
    one has no time counts for the others, since without a time it would always be seen."""
    joins = " ".join(
        f"LEFT JOIN ({_timed(plan, staging, key.references)}) p{i} "
        f"ON {_same(plan, staging, (name, 's'), key, f'p{i}')}"
        for i, key in enumerate(keys)
    )
    last = f"greatest({', '.join(f'p{i}.at' for i in range(len(keys)))})"
    counts = ", ".join(
        f"count(*) FILTER (p{i}.at < {last} OR (p{i}.at IS NULL AND {last} IS NOT NULL))"
        for i in range(len(keys))
    )
    sql = f"SELECT {counts} FROM {staging.relation(name)} s {joins}"
    (found,) = staging.ask(sql)
    best = min(range(len(keys)), key=found.__getitem__)
    return Latest(keys[best], int(found[best]), staging.num_rows[name])


def _timed(plan: Plan, staging: Staging, name: str) -> str:
    """SQL of a table's rows with their time, `at`, of their own or of the row they are part of."""
    table = plan.tables[name]
    if table.time_column is not None:
        (column,) = staging.columns(name, [table.time_column])
        return f"SELECT *, {column} AS at FROM {staging.relation(name)}"
    key = next(key for key in table.foreign_keys if key.columns == table.time_from)
    same = _same(plan, staging, (name, "s"), key, "p")
    parent = _timed(plan, staging, key.references)
    return f"SELECT s.*, p.at FROM {staging.relation(name)} s LEFT JOIN ({parent}) p ON {same}"


def _same(plan: Plan, staging: Staging, child: tuple[str, str], key: KeyPlan, parent: str) -> str:
    """SQL that finds the row which a key of a row references; child: its table, and what it is
    called in the query."""
    name, called = child
    to = key.to or plan.tables[key.references].primary_key
    own, other = staging.columns(name, key.columns), staging.columns(key.references, to)
    pairs = [(f"{called}.{a}", f"{parent}.{b}") for a, b in zip(own, other, strict=True)]
    return staging.comparison((name, key.columns), (key.references, to), pairs)
