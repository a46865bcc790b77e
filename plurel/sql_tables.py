"""The tables of a database that SQL declares: keys, features and dates put together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from relbench.base import Table

from plurel.config import Config
from plurel.errors import InputError
from plurel.rng import Name
from plurel.schema import Schema, TableSchema
from plurel.scm import generate_table
from plurel.sql_columns import finish_sql_columns
from plurel.sql_keys import KeyDraw
from plurel.sql_model import SqlColumn
from plurel.sql_unique import I64
from plurel.values import Cells, TableValues


def make_sql_tables(schema: Schema, config: Config, seed: int) -> dict[str, Table]:
    """All tables of the schema, whose features read those of the tables that they reference.

    A table's columns stand as they are declared, behind the keys that RelBench needs beside them.
    """
    keys = KeyDraw(schema, config, seed)
    features: dict[str, TableValues] = {}
    tables = {}
    for table in schema.tables:
        links = [link.rows for link in keys.links(table.name)]
        names: tuple[Name, ...] = ("table", table.name)
        read = [number for number, key in enumerate(table.foreign_keys) if key.read]
        features[table.name] = generate_table(
            replace(table, foreign_keys=tuple(table.foreign_keys[number] for number in read)),
            [links[number] for number in read],
            [features[table.foreign_keys[number].parent] for number in read],
            config,
            seed,
            names,
        )
        tables[table.name] = _make_table(table, links, features[table.name], keys)
    return tables


def _make_table(
    table: TableSchema, links: list[I64], features: TableValues, keys: KeyDraw
) -> Table:
    declared, roles = table.declared()
    key_names = [column for owned in roles.owned for column in owned] + list(roles.key_columns)
    if roles.time_column is not None:
        key_names.append(roles.time_column)
    cells = {name: keys.column(table.name, name) for name in key_names}
    for name in dict.fromkeys(key_names):
        _check_fits(cells[name], declared.column(name), table, keys.config)
    cells |= finish_sql_columns(features, table, cells, keys.config, keys.seed, keys.window)
    columns: dict[str, Any] = {}
    if table.primary_key not in cells:
        columns[table.primary_key] = np.arange(table.num_rows)
    for key, rows in zip(table.foreign_keys, links, strict=True):
        if key.column not in cells:
            columns[key.column] = _as_array(Cells(rows, rows >= 0))
    for column in declared.columns:
        columns[column.name] = _as_array(cells[column.name])
    parents = {key.column: key.parent for key in table.foreign_keys}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
    return Table(frame, parents, table.primary_key, table.time_column)


def _as_array(cells: Cells) -> Any:
    """Plain numpy where nothing is missing, else the pandas array that keeps the type."""
    values, valid = cells.values, cells.valid
    if values.dtype == object:
        kinds = {type(value) for value in values.tolist()}
        if kinds <= {int, float}:
            return _as_array(Cells(values.astype(float if float in kinds else np.int64), valid))
        masked = values.copy()
        masked[~valid] = None
        return pd.array(masked, dtype="str") if kinds == {str} else masked
    if values.dtype.kind in "Mf":
        return np.where(
            valid, values, np.array("NaT" if values.dtype.kind == "M" else "nan", values.dtype)
        )
    if valid.all():
        return values
    if values.dtype.kind == "b":
        return pd.arrays.BooleanArray(values, ~valid)
    return pd.arrays.IntegerArray(np.where(valid, values, 0), ~valid)


def _check_fits(cells: Cells, column: SqlColumn, table: TableSchema, config: Config) -> None:
    """InputError if a key column would hold what its type and checks don't allow."""
    kind = column.type
    present = cells.values[cells.valid]
    if kind.base == "category":
        fits = set(present.tolist()) <= set(kind.values)
    elif present.dtype.kind in "iuf" and len(present):
        low = -np.inf if kind.low is None else kind.low
        high = np.inf if kind.high is None else kind.high
        fits = low <= present.min() and present.max() <= high
    else:
        fits = all(
            kind.min_length <= len(value) <= (kind.length or len(value))
            for value in present.tolist()
            if isinstance(value, str)
        )
    if not fits:
        raise InputError(
            f"{config.schema_file}, line {column.line}: column {column.name} of table {table.name} "
            "can't hold the values of its key; loosen its type or CHECK"
        )
