"""From declared tables to a schema that can be generated: sizes, order, keys, time, features.

RelBench wants keys that are row numbers. A declared primary key of one integer column is that
number; every other primary key stays as columns, beside a key of its own for RelBench, and so does
every foreign key that isn't one column that references such a number.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from plurel.config import Config
from plurel.dates import Window, draw_window
from plurel.errors import InputError
from plurel.nearest import did_you_mean
from plurel.rng import stream
from plurel.schema import PRIMARY_KEY, ColumnSchema, ForeignKey, Schema, TableSchema
from plurel.sql import read_sql
from plurel.sql_domains import capacity
from plurel.sql_graph import check_values, order_tables
from plurel.sql_model import Roles, SqlColumn, SqlDatabase, SqlTable
from plurel.sql_roles import find_roles, keep_ordered, tightened

FOREIGN_KEY = "foreign_row_{}"


def schema_digest(config: Config) -> str:
    """SHA-256 of the schema file's bytes, for what identifies a database."""
    try:
        return hashlib.sha256(Path(config.schema_file or "").read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"schema_file: {config.schema_file} can't be read: {error.strerror}"
        ) from None


def draw_sql_schema(config: Config, seed: int) -> Schema:
    """The schema of config.schema_file with sizes drawn for `seed`.

    Tables stand in an order in which each comes after the tables that its features read; a cycle
    of references is broken where a key is nullable, else at the key declared last. Raises
    InputError for keys whose values would depend on themselves, with the cycle spelled out.
    """
    database, found = read_schema_file(config)
    rows = _draw_rows(database, found, config, seed, draw_window(config, seed))
    order, unread = order_tables(database)
    natural = {
        table.name: found[table.name].natural_key
        for table in database.tables
        if _holds_row_numbers(table, found[table.name], rows[table.name])
    }
    tables = tuple(
        _table(database.by_name[name], found[name], rows[name], natural, unread) for name in order
    )
    return Schema(tables, Path(config.schema_file or "").stem, database.left_out)


def read_schema_file(config: Config) -> tuple[SqlDatabase, dict[str, Roles]]:
    """What config.schema_file declares, and what becomes of each table's columns; the same for
    every seed. Raises InputError for all that is wrong whatever is drawn."""
    path = config.schema_file or ""
    params = config.sql_params
    database = tightened(read_sql(path, params.dialect, params.strict), path)
    check_values(database, path)
    check_names(database, config)
    found = {table.name: find_roles(table, database, config) for table in database.tables}
    database = replace(
        database,
        tables=tuple(keep_ordered(table, found[table.name], config) for table in database.tables),
    )
    order_tables(database)
    return database, found


def check_names(database: SqlDatabase, config: Config) -> None:
    """InputError for a table or column in the config that the file doesn't declare."""
    params = config.sql_params
    for field, pairs in (("num_rows", params.num_rows), ("time_columns", params.time_columns)):
        for name, _ in pairs:
            if name not in database.by_name:
                raise InputError(
                    f"sql_params.{field}: {config.schema_file} declares no table {name!r}"
                    f"{did_you_mean(name, database.by_name)}"
                )


def _draw_rows(
    database: SqlDatabase,
    found: Mapping[str, Roles],
    config: Config,
    seed: int,
    window: Window,
) -> dict[str, int]:
    """Rows of each table: given, or drawn and then lowered to what its unique keys allow."""
    params = config.database_params
    given = dict(config.sql_params.num_rows)
    rows = {}
    for table in database.tables:
        choices = (
            params.num_rows_activity_table_choices
            if found[table.name].is_activity
            else params.num_rows_entity_table_choices
        )
        drawn = choices.sample(stream(seed, "schema", "table", table.name, "rows"))
        rows[table.name] = given.get(table.name, drawn)
    changed = True
    while changed:  # a table that shrinks may leave less room to those that reference it
        changed = False
        for table in database.tables:
            for columns in table.unique_sets:
                room = _room(table, columns, rows, window)
                if rows[table.name] <= room:
                    continue
                if table.name in given:
                    raise InputError(
                        f"sql_params.num_rows.{table.name}: {given[table.name]} rows, but its "
                        f"unique key ({', '.join(columns)}) has room for {int(room)}; lower it"
                    )
                rows[table.name], changed = int(room), True
    return rows


def _room(
    table: SqlTable, columns: tuple[str, ...], rows: Mapping[str, int], window: Window
) -> float:
    """How many distinct tuples the columns can hold, at most."""
    room, left = 1.0, set(columns)
    for key in table.foreign_keys:
        if left & set(key.columns) and key.parent != table.name:
            room *= rows[key.parent]
            left -= set(key.columns)
        elif left & set(key.columns):
            return float("inf")
    for name in left:
        room *= capacity(table.column(name).type, window)
    return room


def _holds_row_numbers(table: SqlTable, role: Roles, rows: int) -> bool:
    """True if the table's primary key is one integer column that may hold 0 .. rows - 1."""
    if role.natural_key is None:
        return False
    kind = table.column(role.natural_key).type
    return (kind.low or 0) <= 0 and (kind.high or 0) >= rows - 1


def _table(
    table: SqlTable,
    role: Roles,
    rows: int,
    natural: Mapping[str, str | None],
    unread: set[tuple[str, int]],
) -> TableSchema:
    primary_key = natural.get(table.name) or _unused(PRIMARY_KEY, set(table.names()))
    columns = _key_columns(table, primary_key, natural)
    keys = [
        ForeignKey(column, key.parent, sql=key, read=(table.name, number) not in unread)
        for number, (column, key) in enumerate(zip(columns, table.foreign_keys, strict=True))
    ]
    return TableSchema(
        name=table.name,
        kind="activity" if role.is_activity else "entity",
        num_rows=rows,
        columns=tuple(_feature(table.column(name)) for name in role.features),
        foreign_keys=tuple(keys),
        primary_key=primary_key,
        time_column=role.time_column,
        sql=table,
        roles=role,
    )


def _key_columns(table: SqlTable, primary_key: str, natural: Mapping[str, str | None]) -> list[str]:
    """Per foreign key the column that is RelBench's: its own, if that is one column which holds
    the parent's row numbers and which no other key has taken, else a new one."""
    names = {*table.names(), primary_key}
    columns: list[str] = []
    for number, key in enumerate(table.foreign_keys):
        column = key.columns[0]
        numbers = natural.get(key.parent)
        if key.parent_columns != (numbers,) or column in (primary_key, *columns):
            column = _unused(FOREIGN_KEY.format(number), names)
        names.add(column)
        columns.append(column)
    return columns


def _unused(name: str, names: set[str]) -> str:
    """The name, with as many underscores after it as it takes to be new (case doesn't count)."""
    lowered = {other.lower() for other in names}
    while name.lower() in lowered:
        name += "_"
    return name


def _feature(column: SqlColumn) -> ColumnSchema:
    """What the structural model draws for a column: categories, or a number to be finished."""
    count = {"boolean": 2, "category": len(column.type.values)}.get(column.type.base, 0)
    if count < 2:
        return ColumnSchema(column.name, "numerical", sql=column)
    return ColumnSchema(column.name, "categorical", count, sql=column)
