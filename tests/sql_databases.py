"""Databases generated from SQL, and SQLite as the judge of their keys and checks."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.sql import read_sql
from plurel.sql_model import SqlDatabase, SqlTable, SqlType

DATA = Path(__file__).parent / "data" / "sql"
Frames = dict[str, pd.DataFrame]


def config(path: Path | str, rows: int = 60, **sql_params: Any) -> Config:
    """Small: `rows` in entity tables, twice as many in activity tables."""
    plain = {
        "schema_file": str(path),
        "sql_params": sql_params,
        "database_params": {
            "num_rows_entity_table_choices": rows,
            "num_rows_activity_table_choices": 2 * rows,
        },
    }
    return Config.from_dict(plain)


def generate(path: Path | str, seed: int = 0, rows: int = 60, **sql_params: Any) -> Frames:
    database = SyntheticDataset(seed, config(path, rows, **sql_params)).make_db()
    return {name: table.df for name, table in database.table_dict.items()}


def from_text(text: str, folder: Path, seed: int = 0, rows: int = 60, **params: Any) -> Frames:
    """A database of these statements, accepted by SQLite if the statements are."""
    path = folder / "schema.sql"
    path.write_text(text)
    frames = generate(path, seed, rows, **params)
    check(read_sql(str(path), params.get("dialect"), params.get("strict", True)), frames)
    return frames


def load_into_sqlite(text: str, frames: Frames) -> None:
    """Run the statements and insert the rows; SQLite refuses what breaks a key or a check."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(text)
    # the key that a table may have to a later one is looked at when everything is there
    connection.execute("PRAGMA foreign_keys = OFF")
    for name, frame in frames.items():
        connection.execute(f'DELETE FROM "{name}"')  # what the statements themselves insert
        declared = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        assert declared == [column for column in frame if column in declared], name
        rows = [
            tuple(_plain(value) for value in row)
            for row in frame[declared].astype(object).itertuples(index=False, name=None)
        ]
        marks = ", ".join("?" * len(declared))
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, int | float | str | bytes) else str(value)


def check(declared: SqlDatabase, frames: Frames) -> None:
    """Everything that the statements say about single columns and about keys."""
    assert set(frames) == {table.name for table in declared.tables}
    for table in declared.tables:
        frame = frames[table.name]
        assert [c for c in frame if c in table.names()] == list(table.names())
        for column in table.columns:
            cells = frame[column.name]
            if column.not_null:
                assert cells.notna().all(), (table.name, column)
            check_type(cells.dropna(), column.type, f"{table.name}.{column.name}")
        for columns in table.unique_sets:
            whole = frame[list(columns)].dropna()
            assert not whole.duplicated().any(), (table.name, columns)
        check_foreign_keys(table, frames)


def check_foreign_keys(table: SqlTable, frames: Frames) -> None:
    for key in table.foreign_keys:
        child = frames[table.name][list(key.columns)].dropna()
        parent = frames[key.parent][list(key.parent_columns)].dropna()
        there = set(parent.itertuples(index=False, name=None))
        assert set(child.itertuples(index=False, name=None)) <= there, (table.name, str(key))
        assert len(child), (table.name, str(key))


def check_type(cells: "pd.Series[Any]", kind: SqlType, where: str) -> None:
    values = cells.to_numpy()
    if kind.base in ("integer", "decimal", "float") and len(values):
        numbers = values.astype(float)
        if kind.base == "integer":
            assert pd.api.types.is_integer_dtype(cells.dtype), (where, cells.dtype)
        assert kind.low is None or numbers.min() >= kind.low, where
        assert kind.high is None or numbers.max() <= kind.high, where
        if kind.base == "decimal":
            np.testing.assert_array_equal(numbers, np.round(numbers, kind.scale), where)
    elif kind.base == "category":
        assert set(values.tolist()) <= set(kind.values), where
    elif kind.base == "boolean":
        assert pd.api.types.is_bool_dtype(cells.dtype), where
    elif kind.base == "text":
        lengths = [len(value) for value in values]
        assert all(isinstance(value, str) and value for value in values), where
        assert kind.length is None or max(lengths, default=0) <= kind.length, where
        assert min(lengths, default=kind.min_length) >= kind.min_length, where
    elif kind.base in ("date", "timestamp"):
        assert cells.dtype == np.dtype("datetime64[us]"), where
        if kind.base == "date":
            assert (cells == cells.dt.normalize()).all(), where
