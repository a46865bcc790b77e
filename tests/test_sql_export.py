"""What SQL declared is declared again in an exported database: composite keys and keys of text."""

import sqlite3
from pathlib import Path

import pytest
from sql_databases import DATA, config

from plurel.dataset import SyntheticDataset
from plurel.declared import DeclaredKey, read_declared
from plurel.errors import InputError
from plurel.export import export_database


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "northwind"
    SyntheticDataset(0, config(DATA / "northwind.sql", rows=30)).save(folder)
    return folder


def test_keys_that_relbench_does_not_know(folder: Path) -> None:
    tables = [path.stem for path in (folder / "db").iterdir()]
    found = read_declared(folder, tables)
    assert found is not None
    assert found["order_details"].primary_key == ("order_id", "product_id")
    customer = DeclaredKey(("customer_id",), "customers", ("customer_id",))
    assert customer in found["orders"].foreign_keys
    assert found["orders"].unique == ()
    assert read_declared(folder.parent, []) is None


def test_sqlite_and_duckdb_declare_them(folder: Path, tmp_path: Path) -> None:
    exported = export_database(folder, tmp_path / "a.sqlite")
    assert exported.undeclared == ()
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    keys = {
        (row[2], row[3], row[4]) for row in connection.execute("PRAGMA foreign_key_list('orders')")
    }
    assert {
        ("customers", "customer_id", "customer_id"),
        ("employees", "employee_id", "employee_id"),
    } <= keys
    unique = [
        tuple(column[2] for column in connection.execute(f"PRAGMA index_info('{row[1]}')"))
        for row in connection.execute("PRAGMA index_list('order_details')")
        if row[2]
    ]
    assert ("order_id", "product_id") in unique
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    export_database(folder, tmp_path / "a.duckdb")


def test_a_composite_reference_is_declared(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "CREATE TABLE a (x int, y int, v real, PRIMARY KEY (x, y));"
        "CREATE TABLE b (id int PRIMARY KEY, y int, x int, up int REFERENCES b,"
        " FOREIGN KEY (y, x) REFERENCES a (y, x));"
    )
    SyntheticDataset(0, config(tmp_path / "a.sql")).save(tmp_path / "db")
    export_database(tmp_path / "db", tmp_path / "a.sqlite")
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    keys = [row[2:5] for row in connection.execute("PRAGMA foreign_key_list('b')")]
    connection.close()
    assert ("a", "x", "x") in keys
    assert ("a", "y", "y") in keys
    assert ("b", "up", "id") in keys
    assert len(keys) == 3  # and nothing of what stands in for them in RelBench


def test_a_broken_file_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "declared.yaml").write_text("tables:\n  orders: {primary_key: 3}\n")
    with pytest.raises(InputError, match=r"declared\.yaml: not what plurel writes"):
        read_declared(tmp_path, ["orders"])
