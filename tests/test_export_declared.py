"""A database made from SQL leaves as it was declared: composite keys, types, no stand-ins."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
import yaml

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.export import export_database

SCHEMA = """
CREATE TABLE orders (
    region VARCHAR(3), number INTEGER, placed DATE NOT NULL, total DECIMAL(9, 2),
    PRIMARY KEY (number, region)
);
CREATE TABLE lines (
    region VARCHAR(3), number INTEGER, line INTEGER NOT NULL, code INTEGER UNIQUE, amount INTEGER,
    PRIMARY KEY (region, number, line),
    FOREIGN KEY (region, number) REFERENCES orders (region, number)
);
CREATE TABLE claims (id INTEGER PRIMARY KEY, code INTEGER REFERENCES lines (code));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sql")
    (place / "shop.sql").write_text(SCHEMA)
    SyntheticDataset(0, Config(schema_file=str(place / "shop.sql"))).save(place / "raw")
    return place / "raw"


@pytest.fixture(scope="module")
def lite(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("out") / "shop.db"
    assert export_database(folder, path).num_keys == 2
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def test_the_declared_tables_and_no_stand_ins(lite: sqlite3.Connection) -> None:
    tables = {}
    for table in ("orders", "lines", "claims"):
        info = lite.execute(f"PRAGMA table_info({table})").fetchall()
        tables[table] = {name: (kind, required, key) for _, name, kind, required, _, key in info}
    assert tables == {
        "orders": {
            "region": ("TEXT", 1, 2),
            "number": ("INTEGER", 1, 1),
            "placed": ("DATE", 1, 0),
            "total": ("NUMERIC(9, 2)", 0, 0),
        },
        "lines": {
            "region": ("TEXT", 1, 1),
            "number": ("INTEGER", 1, 2),
            "line": ("INTEGER", 1, 3),
            "code": ("INTEGER", 0, 0),
            "amount": ("INTEGER", 0, 0),
        },
        "claims": {"id": ("INTEGER", 1, 1), "code": ("INTEGER", 0, 0)},
    }


def test_composite_and_unique_keys_are_kept(lite: sqlite3.Connection) -> None:
    region, number = lite.execute("SELECT region, number FROM orders").fetchone()
    line = "INSERT INTO lines (region, number, line) VALUES (?, ?, -5)"
    for values in ((region, -7), ("?!", number)):  # half of a key is no key
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            lite.execute(line, values)
    lite.execute(line, (region, number))
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        lite.execute(line, (region, number))
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        lite.execute("INSERT INTO claims VALUES (-1, -99)")
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        lite.execute("INSERT INTO orders (region, number) VALUES ('new', 1)")


def test_values_have_the_declared_types(folder: Path, tmp_path: Path) -> None:
    export_database(folder, tmp_path / "shop.duckdb")
    with duckdb.connect(tmp_path / "shop.duckdb") as duck:
        orders = duck.execute("SELECT placed, total FROM orders WHERE total IS NOT NULL").fetchall()
        assert all(type(placed) is dt.date for placed, _ in orders)
        assert all(total.as_tuple().exponent == -2 for _, total in orders)
        nulls = duck.execute("SELECT count(*) - count(amount), count(amount) FROM lines").fetchall()
        assert min(nulls[0]) > 0  # floats in the folder
        assert type(duck.execute("SELECT max(amount) FROM lines").fetchall()[0][0]) is int
        keys = duck.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() "
            "WHERE constraint_type = 'FOREIGN KEY' ORDER BY 1"
        ).fetchall()
    assert keys == [(["code"],), (["number", "region"],)]  # as the parent has them


@pytest.mark.parametrize(
    ("table", "declaration", "message"),
    [
        ("lines", None, r"declared.yaml: not what plurel writes"),
        (
            "lines",
            {"columns": {}},
            r"declared.yaml: not what .*KeyError: 'primary_key'",
        ),
        ("extra", "as orders", r"declared.yaml: its tables are not those of the manifest"),
        ("orders", "with ghost", r"declared.yaml: column 'ghost' is not in .*orders.parquet"),
    ],
)
def test_a_declaration_that_does_not_fit(
    folder: Path, tmp_path: Path, table: str, declaration: object, message: str
) -> None:
    (tmp_path / "db").symlink_to(folder / "db")
    (tmp_path / "manifest.yaml").write_bytes((folder / "manifest.yaml").read_bytes())
    declared = yaml.safe_load((folder / "declared.yaml").read_text())
    orders = declared["tables"]["orders"]
    ghost = {"ghost": {"type": "TEXT", "not_null": False}}
    known = {"as orders": orders, "with ghost": orders | {"columns": orders["columns"] | ghost}}
    declared["tables"][table] = known.get(str(declaration), declaration)
    (tmp_path / "declared.yaml").write_text(yaml.safe_dump(declared))
    with pytest.raises(InputError, match=message):
        export_database(tmp_path, tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()
