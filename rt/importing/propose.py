"""The plan of an import, proposed from what the source declares and from names and values."""

from dataclasses import replace

import pyarrow as pa

from plurel.errors import InputError
from rt.importing.epochs import find_counts, shown
from rt.importing.plan import DECLARED, KeyPlan, Plan, TablePlan, accepted
from rt.importing.propose_foreign import propose_foreign_keys
from rt.importing.propose_primary import (
    nearly_unique,
    propose_composite_key,
    propose_primary_keys,
)
from rt.importing.propose_times import propose_time, propose_time_from, propose_timestamps
from rt.importing.staging import Staging

DEFAULT_SHARE = 0.99


def propose(staging: Staging, share: float | None, *, everything: bool = False) -> Plan:
    """Keys as declared; where the source declares none, or with `everything` also beside those,
    as names and values suggest. share: as for `accepted`, since pairs of accepted foreign keys and
    times taken from them follow from it."""
    tables = staging.tables.values()
    no_primary = everything or not any(table.primary_key for table in tables)
    no_foreign = everything or not any(table.references for table in tables)
    plans = _with_counts({name: _declared(staging, name) for name in staging.tables}, staging)
    if no_primary:
        for name, (column, why) in propose_primary_keys(staging).items():
            if not plans[name].primary_key:
                plans[name] = replace(plans[name], primary_key=(column,), why_key=why)
        for name, table in plans.items():
            if not table.primary_key:
                plans[name] = replace(table, why_key=nearly_unique(staging, name))
    if no_foreign:
        keys = {name: plan.primary_key for name, plan in plans.items()}
        plans = {name: _with_foreign(staging, name, plan, keys) for name, plan in plans.items()}
    plan = accepted(Plan("", plans), share or DEFAULT_SHARE)
    if no_primary:
        plan = _with_pairs(plan, staging)
    return _with_times(plan, staging)


def _declared(staging: Staging, name: str) -> TablePlan:
    table = staging.tables[name]
    keys = tuple(
        KeyPlan(reference.columns, reference.parent, reference.parent_columns)
        for reference in table.references
        if reference.parent in staging.tables
    )
    used = {*table.primary_key, *(column for key in keys for column in key.columns)}
    reasons = {}
    for column in table.columns:
        if column.name in used or len(table.columns) == 1:
            continue
        if pa.types.is_binary(column.type):
            reasons[column.name] = f"{column.name} holds bytes"
        elif column.name.startswith("__index_level_"):
            reasons[column.name] = f"{column.name} is the index of a data frame"
    return TablePlan(
        primary_key=table.primary_key,
        foreign_keys=tuple(dict.fromkeys(keys)),
        leave_out=tuple(reasons),
        why_key=DECLARED if table.primary_key else "",
        why_left_out=reasons,
    )


def _with_foreign(
    staging: Staging, name: str, plan: TablePlan, keys: dict[str, tuple[str, ...]]
) -> TablePlan:
    taken = {key.columns for key in plan.foreign_keys}
    found = [k for k in propose_foreign_keys(staging, name, keys) if k.columns not in taken]
    return replace(plan, foreign_keys=(*plan.foreign_keys, *found))


def _with_pairs(plan: Plan, staging: Staging) -> Plan:
    tables = dict(plan.tables)
    for name, table in tables.items():
        if table.primary_key:
            continue
        pair = propose_composite_key(staging, name, table.foreign_keys)
        if pair:
            why = "its foreign keys are unique together"
            tables[name] = replace(table, primary_key=pair, why_key=why)
    return replace(plan, tables=tables)


def _with_counts(plans: dict[str, TablePlan], staging: Staging) -> dict[str, TablePlan]:
    """Whole numbers that count since 1970 by their names and values become times, not keys."""
    made = {}
    for name, table in plans.items():
        counts = find_counts(Plan("", plans), staging, name).named
        if counts:
            staging.count_times(name, counts)
        made[name] = replace(table, since_1970=tuple(counts))
    return made


def _with_times(plan: Plan, staging: Staging) -> Plan:
    """Times of their own first; then, until nothing changes, those of the rows they belong to."""
    tables = {}
    for name, table in plan.tables.items():
        column, why = propose_time(staging, name)
        tables[name] = replace(table, time_column=column, why_time=why)
    plan = replace(plan, tables=tables)
    own = {name: table.why_time for name, table in plan.tables.items()}
    wanted = [name for name, table in plan.tables.items() if table.time_column is None]
    unclear = {}
    for name in wanted:
        others = find_counts(plan, staging, name).others
        if others:
            unclear[name] = [shown(staging, name, *count) for count in others.items()]
    # once more for each: others may have got a time since
    for _ in range(len(wanted) + 1):
        before = plan
        for name in wanted:
            keys, why = propose_time_from(plan, name)
            why = "; ".join(filter(None, [why, own[name]]))
            table = plan.tables[name]
            if keys and name in unclear:
                taken = replace(table, why_time=_choice(unclear[name], keys), ask_time=True)
            elif keys:
                taken = replace(table, time_from=keys, why_time=why)
            else:
                continue
            plan = replace(plan, tables={**plan.tables, name: taken})
        if plan == before:
            break
    tables = dict(plan.tables)
    for name, counts in unclear.items():
        table = tables[name]
        if not table.ask_time:
            told = f"{'; '.join(counts)}: then name it as time_column"
            why = "; ".join(filter(None, [table.why_time, told]))
            tables[name] = replace(table, why_time=why)
    return replace(plan, tables=tables)


def _choice(counts: list[str], keys: tuple[tuple[str, ...], ...]) -> str:
    """What a person must decide where the time of a table may be its own or that of parents."""
    parents = " and ".join(", ".join(columns) for columns in keys)
    told = "; ".join(counts)
    return f"{told}: name it as time_column, or {parents} as time_from for the times of those rows"


def with_timestamps(plan: Plan, staging: Staging, *, needed: bool = True) -> Plan:
    """The plan with both timestamps: those it has, else proposed ones; val must lie before test.
    Where none can be proposed: InputError, or if they are not `needed` yet the plan as it is."""
    if plan.val_timestamp is None or plan.test_timestamp is None:
        times = {
            name: table.time_column
            for name, table in plan.tables.items()
            if table.time_column is not None and staging.num_rows[name]
        }
        try:
            val, test = propose_timestamps(staging, times)
        except InputError:
            if needed:
                raise
            return plan
        plan = replace(
            plan,
            val_timestamp=plan.val_timestamp or val,
            test_timestamp=plan.test_timestamp or test,
        )
    if (plan.val_timestamp or "") >= (plan.test_timestamp or ""):
        raise InputError(
            f"val_timestamp {plan.val_timestamp} does not lie before test_timestamp "
            f"{plan.test_timestamp}; give --val-timestamp and --test-timestamp, or put them into "
            "the plan"
        )
    return plan
