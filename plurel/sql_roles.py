"""What becomes of each declared column: key, time or feature; and types that keys carry over."""

import re
from collections.abc import Sequence
from dataclasses import replace

from plurel.config import Config
from plurel.errors import InputError
from plurel.sql_domains import ORDERED
from plurel.sql_model import Ordered, Roles, SqlColumn, SqlDatabase, SqlKey, SqlTable, SqlType

_CODES = ("category", "boolean")
# what such columns hold is not when the row happened
_NO_EVENT = re.compile(r"updat|modif|chang|delet|expir|birth|valid|until|^end|due", re.IGNORECASE)


def find_roles(table: SqlTable, database: SqlDatabase, config: Config) -> Roles:
    """Sort the columns of one table; InputError for a time column that can't be one."""
    pairs = [(other.name, key) for other in database.tables for key in other.foreign_keys]
    children = [(name, key) for name, key in pairs if key.parent == table.name]
    is_activity = all(name == table.name for name, _ in children)
    referenced = {column for _, key in children for column in key.parent_columns}
    foreign = {column for key in table.foreign_keys for column in key.columns}
    time_column = _time_column(table, is_activity, foreign | referenced, config)
    sets = _needed_sets(table, time_column)
    keys = (set(table.primary_key) | referenced) - foreign - {time_column}
    completing: list[tuple[str, tuple[str, ...]]] = []
    key_sets = []
    for columns in sets:
        free = [c for c in columns if c not in foreign | keys and c != time_column]
        able = [c for c in free if table.column(c).type.base not in _CODES]
        if able:
            last = max(able, key=table.names().index)
            completing.append((last, tuple(c for c in columns if c != last)))
        else:
            keys |= set(free)
            key_sets.append(columns)
    names = table.names()
    special = foreign | keys | {time_column}
    owned = owners(table.foreign_keys, table.name)
    return Roles(
        is_activity=is_activity,
        natural_key=_natural_key(table, foreign),
        time_column=time_column,
        key_columns=tuple(name for name in names if name in keys),
        features=tuple(name for name in names if name not in special),
        key_sets=tuple(key_sets),
        completing=tuple(sorted(completing, key=lambda item: names.index(item[0]))),
        owned=owned,
        nullable=tuple(
            any(not table.column(c).not_null and c not in referenced for c in columns)
            for columns in owned
        ),
    )


def _needed_sets(table: SqlTable, time_column: str | None) -> list[tuple[str, ...]]:
    """The unique sets that hold no smaller one, and not the time: instants are distinct."""
    sets = list(table.unique_sets)
    if time_column is not None and table.column(time_column).type.base == "timestamp":
        sets = [columns for columns in sets if time_column not in columns]
    return [
        columns
        for place, columns in enumerate(sets)
        if not any(
            set(other) < set(columns) or (set(other) == set(columns) and before < place)
            for before, other in enumerate(sets)
        )
    ]


def _natural_key(table: SqlTable, foreign: set[str]) -> str | None:
    if len(table.primary_key) != 1 or table.primary_key[0] in foreign:
        return None
    (name,) = table.primary_key
    return name if table.column(name).type.base == "integer" else None


def key_order(keys: Sequence[SqlKey], table: str) -> list[int]:
    """In which order a table's keys are drawn: those of most columns first, own rows last."""
    return sorted(
        range(len(keys)), key=lambda k: (keys[k].parent == table, -len(keys[k].columns), k)
    )


def owners(keys: Sequence[SqlKey], table: str) -> tuple[tuple[str, ...], ...]:
    """Per key those of its columns that take their values from it, each from one key only."""
    owned: dict[int, tuple[str, ...]] = {}
    taken: set[str] = set()
    for number in key_order(keys, table):
        owned[number] = tuple(c for c in keys[number].columns if c not in taken)
        taken |= set(owned[number])
    return tuple(owned[number] for number in range(len(keys)))


def _time_column(table: SqlTable, is_activity: bool, keys: set[str], config: Config) -> str | None:
    """The column that says when a row happened: named by the config, or of an activity table."""
    named = dict(config.sql_params.time_columns).get(table.name)
    fit = {
        column.name: column
        for column in table.columns
        if column.type.base in ("timestamp", "date")
        and column.name not in keys
        and column.type.low is None
        and column.type.high is None
        and column.name.isidentifier()  # RelBench queries by this name
    }
    if named is not None:
        if named not in fit:
            raise InputError(
                f"sql_params.time_columns.{table.name}: {named!r} must be a date or timestamp that "
                "is no key, has no CHECK bound and a name without blanks"
            )
        return named
    if not is_activity:
        return None
    candidates = [column for column in fit.values() if column.not_null]
    return min(candidates, key=_unlikeliness).name if candidates else None


def _unlikeliness(column: SqlColumn) -> tuple[bool, bool]:
    return bool(_NO_EVENT.search(column.name)), column.type.base == "date"


def keep_ordered(table: SqlTable, role: Roles, config: Config) -> SqlTable:
    """The table with the checks between two columns that can be kept; the others are an error, or
    left out if the config isn't strict."""
    fixed = {name for name, _ in role.completing} | {o for _, rest in role.completing for o in rest}
    kept = tuple(order for order in table.ordered if _can_keep(order, table, role, fixed))
    for order in table.ordered:
        if order not in kept and config.sql_params.strict:
            raise InputError(
                f"{config.schema_file}, line {table.line}: CHECK between {order.low} and "
                f"{order.high} of table {table.name} is only understood for two columns of the "
                "same type that are no keys, each in one such check; change it, or set "
                "sql_params.strict=false to leave it out"
            )
    return replace(table, ordered=kept)


def _can_keep(order: Ordered, table: SqlTable, role: Roles, fixed: set[str]) -> bool:
    pair = (order.low, order.high)
    kinds = [table.column(name).type for name in pair]
    same = kinds[0].base == kinds[1].base and kinds[0].base in ORDERED
    same &= (kinds[0].low, kinds[0].high, kinds[0].scale) == (
        kinds[1].low,
        kinds[1].high,
        kinds[1].scale,
    )
    free = all(name in role.features or name == role.time_column for name in pair)
    checks = [name for other in table.ordered for name in (other.low, other.high)]
    once = all(checks.count(name) == 1 for name in pair if name != role.time_column)
    return same and free and once and not fixed & set(pair)


def tightened(database: SqlDatabase, path: str) -> SqlDatabase:
    """Types of referenced columns narrowed to what the columns that reference them may hold."""
    types = {(t.name, c.name): c.type for t in database.tables for c in t.columns}
    changed = True
    while changed:
        changed = False
        for table in database.tables:
            for key in table.foreign_keys:
                for child, parent in zip(key.columns, key.parent_columns, strict=True):
                    place = (key.parent, parent)
                    new = _narrowed(types[place], types[table.name, child])
                    if new is None:
                        raise InputError(
                            f"{path}, line {key.line}: {table.name}.{child} can't hold what "
                            f"{key.parent}.{parent} holds; give both the same type"
                        )
                    changed |= new != types[place]
                    types[place] = new
    tables = tuple(
        replace(
            table,
            columns=tuple(replace(c, type=types[table.name, c.name]) for c in table.columns),
        )
        for table in database.tables
    )
    return replace(database, tables=tables)


def _narrowed(parent: SqlType, child: SqlType) -> SqlType | None:
    """The parent's type, within the child's bounds; None if the two don't fit."""
    if parent.base == "category" and child.base == "category":
        values = tuple(value for value in parent.values if value in child.values)
        return replace(parent, values=values) if values else None
    if child.base == "category":
        fits = parent.base == ("text" if isinstance(child.values[0], str) else "integer")
        return replace(child, spelled=parent.spelled) if fits else None
    lengths = [length for length in (parent.length, child.length) if length is not None]
    lows = [bound for bound in (parent.low, child.low) if bound is not None]
    highs = [bound for bound in (parent.high, child.high) if bound is not None]
    numbers = ("integer", "decimal", "float")
    if parent.base != child.base and not (parent.base in numbers and child.base in numbers):
        return parent if child.base == "text" or parent.base == "category" else None
    new = replace(
        parent,
        low=max(lows, default=None),
        high=min(highs, default=None),
        length=min(lengths, default=None),
        min_length=max(parent.min_length, child.min_length),
    )
    empty = new.low is not None and new.high is not None and new.low > new.high
    return None if empty else new
