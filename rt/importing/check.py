"""A plan against the rows that have been read: every name is there, keys are keys, times are times.

Each mistake is one InputError that names the table and the column, and says what to do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from plurel.errors import InputError
from plurel.nearest import did_you_mean, instead
from rt.importing.plan import KeyPlan, Plan, TablePlan
from rt.importing.staging import Staging


def check_plan(plan: Plan, staging: Staging) -> Plan:
    """The plan with `to` of every foreign key filled in; only accepted keys remain."""
    tables = {}
    for name, table in plan.tables.items():
        _check_columns(name, table, staging)
        if table.primary_key:
            _check_given(staging, name, table.primary_key)
            _check_unique(staging, name, table.primary_key, "primary key")
        keys = [_checked_key(key, name, plan, staging) for key in table.foreign_keys if key.accept]
        tables[name] = replace(table, foreign_keys=tuple(keys))
    checked = replace(plan, tables=tables)
    for name, table in tables.items():
        _check_time(name, table, staging)
        _check_time_from(name, checked)
    return checked


def check_tables(plan: Plan, names: Sequence[str], where: str) -> None:
    """InputError unless every table of the plan is in the source."""
    for name in plan.tables:
        if name not in names:
            raise InputError(f"{where}: no table {name!r} in the source{instead(name, names)}")


def check_times(plan: Plan, staging: Staging) -> None:
    """InputError unless the time columns of a plan are there and hold times."""
    for name, table in plan.tables.items():
        _check_names(name, [] if table.time_column is None else [table.time_column], staging)
        _check_time(name, table, staging)


def _check_columns(name: str, table: TablePlan, staging: Staging) -> None:
    keys = [column for key in table.foreign_keys for column in key.columns]
    sources = [column for columns in table.time_from for column in columns]
    one = [*([] if table.time_column is None else [table.time_column]), *sources]
    _check_names(name, (*table.primary_key, *one, *keys, *table.leave_out), staging)
    used = {*table.primary_key, *one} | {
        c for k in table.foreign_keys if k.accept for c in k.columns
    }
    for column in table.leave_out:
        if column in used:
            raise InputError(
                f"table {name}: {column} is left out and a key or time; take it out of one of them"
            )
    if len(table.leave_out) == len(staging.tables[name].columns):
        raise InputError(f"table {name}: all columns are left out; leave the table out instead")


def _check_names(name: str, columns: Iterable[str], staging: Staging) -> None:
    there = staging.tables[name].names
    for column in columns:
        if column not in there:
            raise InputError(f"table {name} has no column {column!r}{instead(column, there)}")


def _check_given(staging: Staging, name: str, columns: Sequence[str]) -> None:
    nulls = staging.nulls(name, columns)
    if nulls:
        raise InputError(
            f"table {name}: primary key {', '.join(columns)} is null in {nulls:,} of "
            f"{staging.num_rows[name]:,} rows; fill them, or choose another key or none (null) in "
            "the plan"
        )


def _check_unique(staging: Staging, name: str, columns: Sequence[str], what: str) -> None:
    if not staging.is_unique_where_given(name, columns):
        values, count = staging.duplicate(name, columns)
        value = ", ".join(map(str, values))
        raise InputError(
            f"table {name}: {what} {', '.join(columns)} has doubles: {value} stands in {count:,} "
            "rows; remove them, or choose another key or none (null) in the plan"
        )


def _checked_key(key: KeyPlan, name: str, plan: Plan, staging: Staging) -> KeyPlan:
    where = f"table {name}: foreign key {', '.join(key.columns)}"
    if key.references not in plan.tables:
        hint = did_you_mean(key.references, plan.tables) or "; import it too, or take the key out"
        raise InputError(
            f"{where} references table {key.references!r}, which is not imported{hint}"
        )
    parent = plan.tables[key.references]
    to = key.to or parent.primary_key
    if not to:
        raise InputError(f"{where} references {key.references}, which has no primary key; give one")
    there = staging.tables[key.references].names
    for column in to:
        if column not in there:
            raise InputError(
                f"{where} references column {column!r} of {key.references}, which is not there"
                f"{instead(column, there).removesuffix('?')}: name it in a plan's 'to', or take "
                "the key out there"
            )
    if len(to) != len(key.columns):
        raise InputError(
            f"{where} has {len(key.columns)} columns, but references {len(to)} of "
            f"{key.references}: {', '.join(to)}; name as many in 'to'"
        )
    if to != parent.primary_key:
        _check_unique(staging, key.references, to, "the referenced key")
    return replace(key, to=to)


def _check_time(name: str, table: TablePlan, staging: Staging) -> None:
    if table.time_column is None:
        return
    kind = staging.type(name, table.time_column)
    if not pa.types.is_timestamp(kind):
        raise InputError(
            f"table {name}: time column {table.time_column} holds {kind}, not dates or times, nor "
            "whole numbers that count since 1970; make it one in the source, or choose another"
        )
    if staging.num_rows[name] == staging.nulls(name, [table.time_column]) > 0:
        raise InputError(
            f"table {name}: time column {table.time_column} has no values; choose another"
        )


def _check_time_from(name: str, plan: Plan, seen: tuple[str, ...] = ()) -> None:
    """InputError unless the times of a table lead to columns of times, without a circle."""
    table = plan.tables[name]
    if seen and not table.time_from and table.time_column is None:
        raise InputError(
            f"table {seen[0]}: time_from leads to {name}, which has no time column; name one there"
        )
    if name in seen:
        raise InputError(
            f"table {name}: time_from goes in a circle ({', '.join(seen)}); name a time column"
        )
    there = [key.columns for key in table.foreign_keys]
    for columns in table.time_from:
        if columns not in there:
            raise InputError(
                f"table {name}: time_from {', '.join(columns)} is not one of its foreign keys; "
                "name the columns of one, or a list of such lists"
            )
    for key in plan.time_sources(name):
        _check_time_from(key.references, plan, (*seen, name))
