"""Real databases in a real PostgreSQL server, imported and compared with the folders made by hand;
and keys that are proposed for the same data without any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from relbench.base import Database
from relbench.manifest import DatasetManifest, validate_dataset_manifest

from rt.importing.open import Reading, open_source
from rt.importing.plan import Plan
from rt.importing.propose import propose
from rt.importing.run import import_database, read_tables
from rt.importing.staging import Staging
from rt.relbench_folder import open_dataset
from rt.store import preprocess
from tests.export_fixtures import postgres_server, server_programs
from tests.import_fixtures import (
    comparable,
    dump_csv,
    linked,
    load_original,
    manifest,
    shared_columns,
)
from tests.raw_folders import shared_folder

PROGRAMS = server_programs()
ORIGINALS = ["chinook", "northwind", "sakila"]
# what the folders made by hand leave out of the originals, and why
EMPTY_TABLES = {"northwind": {"customer_customer_demo", "customer_demographics"}}
# columns whose values were changed by hand: a number became a boolean, a single space null; and
# arrays are JSON here
CHANGED = {"products.discontinued", "address.district", "address.phone", "film.special_features"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="psycopg (extra postgres) is not installed")
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql: apt-get install postgresql")
    with postgres_server(PROGRAMS) as url:
        yield url


@pytest.fixture(scope="module", params=ORIGINALS)
def imported(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """Name, folder by hand and imported folder."""
    name = request.param
    by_hand = shared_folder(name)
    assert PROGRAMS is not None
    url = load_original(name, PROGRAMS, server)
    out = tmp_path_factory.mktemp("imported") / name
    import_database(url, out)
    return name, by_hand, out


def test_the_same_tables_rows_and_keys(imported: tuple[str, Path, Path]) -> None:
    name, by_hand, out = imported
    expected, found = manifest(by_hand)["tables"], manifest(out)["tables"]
    assert set(found) - set(expected) == EMPTY_TABLES.get(name, set())
    for table, spec in expected.items():
        files = [pq.read_metadata(f / "db" / f"{table}.parquet") for f in (by_hand, out)]
        assert files[0].num_rows == files[1].num_rows, table
        # a composite key gets a surrogate; the folders by hand have none there
        assert found[table]["pkey"] == (spec["pkey"] or "primary_key"), table
        assert found[table]["fkeys"] == spec["fkeys"], table


def test_the_same_values_and_references(imported: tuple[str, Path, Path]) -> None:
    _, by_hand, out = imported
    tables = manifest(by_hand)["tables"]
    values = {}
    for folder in (by_hand, out):
        values[folder] = {
            table: comparable(
                folder,
                table,
                [c for c in shared_columns(by_hand, out, table) if f"{table}.{c}" not in CHANGED],
            )
            for table in tables
        }
    for table, spec in tables.items():
        assert sorted(values[by_hand][table]) == sorted(values[out][table]), table
        for key in spec["fkeys"]:
            one, other = (linked(folder, table, key, values[folder]) for folder in (by_hand, out))
            assert one == other, (table, key)


def test_relbench_and_the_store_take_it(imported: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, _, out = imported
    validate_dataset_manifest(DatasetManifest.load(out / "manifest.yaml"), out / "db")
    database: Database = open_dataset(out).get_db(upto_test_timestamp=False)
    for table in database.table_dict.values():
        if table.time_col is not None:
            assert table.df[table.time_col].dropna().is_monotonic_increasing
    preprocess(out, tmp_path / "pre", embedder="hash", show_progress=False)


def proposed(folder: Path, work: Path) -> Plan:
    """The plan for a folder of CSV files, proposals of 99 % taken."""
    source, staging = open_source(str(folder), Reading()), Staging(work)
    try:
        read_tables(source, staging, Reading(), None, "")
        return propose(staging, 0.99)
    finally:
        staging.close()
        source.close()


# foreign keys that are missed and that are wrong, primary keys that are missed and that are wrong:
# these may only get fewer. Missed are chinook's customer.support_rep_id and northwind's
# orders.ship_via, whose names say nothing, and the keys of northwind's two tables without rows.
ORIGINAL_PROPOSALS = {"chinook": (1, 0, 0, 0), "northwind": (2, 0, 2, 0), "sakila": (0, 0, 0, 0)}


def test_originals_without_keys_get_them_proposed(
    imported: tuple[str, Path, Path], server: str, tmp_path: Path
) -> None:
    name, _, out = imported
    declared = open_source(server.replace("/postgres?", f"/{name}?"), Reading())
    tables = [table for table in declared.tables() if not table.left_out]
    declared.close()
    folder = tmp_path / "csv"
    dump_csv(server.replace("/postgres?", f"/{name}?"), [table.name for table in tables], folder)
    plan = proposed(folder, tmp_path / "work")
    keys = {(t.name, key.columns, key.parent) for t in tables for key in t.references}
    found = {(t, key.columns, key.references) for t, key in plan.references() if key.accept}
    own = {(table.name, frozenset(table.primary_key)) for table in tables}
    named = {(t, frozenset(p.primary_key)) for t, p in plan.tables.items() if p.primary_key}
    compare((keys, found), (own, named), ORIGINAL_PROPOSALS[name])
    assert {t: p.time_column for t, p in plan.tables.items() if p.time_column}.items() <= {
        t: spec["time_col"] for t, spec in manifest(out)["tables"].items()
    }.items()


def compare(
    foreign: tuple[set[Any], set[Any]], primary: tuple[set[Any], set[Any]], most: tuple[int, ...]
) -> None:
    """What is expected and found, as counts of missed and of wrong keys."""
    told = [first - second for pair in (foreign, primary) for first, second in (pair, pair[::-1])]
    assert all(len(keys) <= n for keys, n in zip(told, most, strict=True)), told


# as above, of the folders made by hand
PROPOSALS = {
    "adventureworks": (0, 0, 0, 0),
    "mimic-iii-demo": (0, 0, 0, 0),
    "worldcup": (0, 0, 0, 0),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_files_without_keys_get_them_proposed(name: str, tmp_path: Path) -> None:
    raw = shared_folder(name)
    tables = manifest(raw)["tables"]
    plan = proposed(raw / "db", tmp_path / "work")
    keys = {(t, c, p) for t, spec in tables.items() for c, p in spec["fkeys"].items()}
    found = {(t, k.columns[0], k.references) for t, k in plan.references() if k.accept}
    own = {(t, spec["pkey"]) for t, spec in tables.items() if spec["pkey"]}
    single = {(t, *p.primary_key) for t, p in plan.tables.items() if len(p.primary_key) == 1}
    compare((keys, found), (own, single), PROPOSALS[name])
