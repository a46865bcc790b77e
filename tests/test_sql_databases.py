"""Three well-known databases end to end: read, generate, write, open, every key and check."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import relbench
import yaml
from sql_databases import DATA, Frames, check, config, generate, load_into_sqlite

from plurel.corpus import generate_corpus
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.sql import read_sql

NAMES = {"chinook": "sqlite", "sakila": "mysql", "northwind": "postgres"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("sql")
    for name in NAMES:
        SyntheticDataset(1, config(DATA / f"{name}.sql")).save(out / name)
    return {name: out / name for name in NAMES}


def frames_of(folder: Path) -> Frames:
    database = relbench.load_dataset(folder).make_db()
    return {name: table.df for name, table in database.table_dict.items()}


@pytest.mark.parametrize("name", NAMES)
def test_declared_tables_types_and_keys(name: str, folders: dict[str, Path]) -> None:
    declared = read_sql(str(DATA / f"{name}.sql"))
    assert declared.dialect == NAMES[name]
    assert len(declared.tables) == {"chinook": 11, "sakila": 16, "northwind": 14}[name]
    # read again from parquet, integers with nulls are floats: types are judged before
    check(declared, generate(DATA / f"{name}.sql", seed=1))
    frames = frames_of(folders[name])
    plain = yaml.safe_load((folders[name] / "declared.yaml").read_text())["tables"]
    for table in declared.tables:
        frame, stored = frames[table.name], plain[table.name]
        assert list(stored["columns"]) == list(table.names())
        assert stored["primary_key"] == list(table.primary_key)
        for key in stored["foreign_keys"]:
            rows = frame[key["relbench_column"]]
            assert (rows.isna() == frame[key["columns"]].isna().any(axis=1)).all()
            there = frames[key["parent"]].loc[rows.dropna().astype(int), key["parent_columns"]]
            mine = frame.loc[rows.notna(), key["columns"]]
            for own, other in zip(key["columns"], key["parent_columns"], strict=True):
                assert (mine[own].to_numpy() == there[other].to_numpy()).all()


@pytest.mark.parametrize("name", NAMES)
def test_relbench_opens_the_folder(name: str, folders: dict[str, Path]) -> None:
    dataset = relbench.load_dataset(folders[name])
    database = dataset.get_db(upto_test_timestamp=False)
    for table in database.table_dict.values():
        assert (table.df[table.pkey_col] == np.arange(len(table.df))).all()
        for column, parent in table.fkey_col_to_pkey_table.items():
            rows = table.df[column].dropna()
            assert rows.between(0, len(database.table_dict[parent].df) - 1).all()
    dataset.get_db()


def test_sqlite_itself_accepts_chinook(folders: dict[str, Path]) -> None:
    load_into_sqlite((DATA / "chinook.sql").read_text(), frames_of(folders["chinook"]))


def test_what_sakila_is_made_of(folders: dict[str, Path]) -> None:
    dataset = SyntheticDataset(1, config(DATA / "sakila.sql"))
    tables = dataset.make_schema().by_name
    # neither shop nor staff may lack the other: one of the two does without the other's features
    between = {
        (name, key.parent): key.read
        for name in ("store", "staff")
        for key in tables[name].foreign_keys
        if key.parent in ("store", "staff")
    }
    assert between == {("staff", "store"): True, ("store", "staff"): False}
    assert {t.name for t in tables.values() if t.kind == "activity"} == {
        *("film_actor", "film_category", "film_text", "payment"),
    }
    assert tables["payment"].time_column == "payment_date"
    assert tables["film_actor"].time_column == "last_update"
    assert tables["film_text"].time_column is None
    assert tables["film"].primary_key == "film_id"
    assert tables["film_actor"].primary_key == "row_idx"
    frames = frames_of(folders["sakila"])
    film, payment = frames["film"], frames["payment"]
    bounds = [pd.Timestamp(t, unit="s") for t in (dataset.window.start, dataset.window.end)]
    assert film["rating"].dropna().isin(["G", "PG", "PG-13", "R", "NC-17"]).all()
    assert film["rental_rate"].max() <= 99.99
    assert film["release_year"].dropna().between(1990, 2025).all()
    assert payment["payment_date"].is_monotonic_increasing
    assert payment["payment_date"].between(*bounds).all()
    assert payment["rental_id"].isna().any()
    assert frames["customer"]["active"].dtype == bool
    assert frames["rental"]["return_date"].dropna().between(*bounds).all()
    task = relbench.load_dataset(folders["sakila"]).load_task("payment-amount")
    assert len(task.get_table("train").df) > 10


def test_the_same_bytes_for_any_number_of_processes(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    folder = folders["chinook"]
    report = generate_corpus([0, 1], config(DATA / "chinook.sql"), tmp_path, num_proc=2)
    assert report.failed == {}
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix == ".parquet"]
    for name in (*names, "provenance.yaml", "declared.yaml"):
        again = tmp_path / "rel-synthetic-1" / name
        assert again.read_bytes() == (folder / name).read_bytes(), name
    first, second = (frames_of(tmp_path / f"rel-synthetic-{seed}") for seed in (0, 1))
    assert not first["Track"].equals(second["Track"])
    assert list(first) == list(second)


def test_a_changed_file_is_another_database(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("CREATE TABLE a (id INTEGER PRIMARY KEY, x INTEGER NOT NULL);")
    settings = config(path).overridden([f"cache_dir={tmp_path / 'cache'}"])
    before = SyntheticDataset(0, settings).make_db().table_dict["a"].df
    assert list(before) == ["id", "x"]
    path.write_text("CREATE TABLE a (id INTEGER PRIMARY KEY, y INTEGER NOT NULL);")
    after = SyntheticDataset(0, settings).make_db().table_dict["a"].df
    assert list(after) == ["id", "y"]


def test_times_that_the_config_names(tmp_path: Path) -> None:
    path = DATA / "chinook.sql"
    dataset = SyntheticDataset(2, config(path, time_columns={"Invoice": "InvoiceDate"}))
    dataset.save(tmp_path / "db")
    table = relbench.load_dataset(tmp_path / "db").make_db().table_dict["Invoice"]
    assert table.time_col == "InvoiceDate"
    assert table.df["InvoiceDate"].is_monotonic_increasing
    # the lines of invoices after the test timestamp lose their reference, nothing more
    cut = relbench.load_dataset(tmp_path / "db").get_db()
    assert cut.table_dict["InvoiceLine"].df["InvoiceId"].isna().any()


def test_other_databases_keep_their_provenance() -> None:
    made = SyntheticDataset(0).provenance()
    assert "sql_params" not in made["config"]
    assert set(made) == {"seed", "version", "config"}


def test_the_guides_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "sql_schemas.md").read_text()
    (statements,) = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "shop.sql").write_text(statements)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(program, made)
    frames = {name: table.df for name, table in made["database"].table_dict.items()}
    check(read_sql("shop.sql"), frames)
    names = ["foreign_row_0", "id", "order_id", "number", "filed", "closed", "story", "solved"]
    assert list(frames["complaint"]) == names
    assert len(frames["complaint"]) == 3000
    assert (frames["complaint"]["closed"] >= frames["complaint"]["filed"]).sum() > 2000
    bad = statements.replace("note     text", "note     text CHECK (length(trim(note)) > 3)")
    (tmp_path / "shop.sql").write_text(bad)
    with pytest.raises(
        InputError, match=r"shop\.sql, line 21: CHECK \(LENGTH\(TRIM\(note\)\) > 3\)"
    ):
        read_sql("shop.sql")
