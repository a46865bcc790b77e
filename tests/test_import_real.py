"""Real databases in a real PostgreSQL server, imported and compared with the folders made by hand;
and keys that are proposed for the same data without any."""

from collections.abc import Iterator
from pathlib import Path

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


# per database: foreign keys that are missed and that are wrong, primary keys that are missed and
# that are wrong. These may only get fewer.
PROPOSALS = {
    "adventureworks": (0, 0, 0, 0),
    "bicycles-meta": (0, 0, 0, 0),
    "chinook": (1, 0, 0, 0),
    "mimic-iii-demo": (0, 0, 0, 0),
    "northwind": (1, 0, 0, 0),
    "rel-f1": (0, 0, 0, 0),
    "sakila": (0, 0, 0, 0),
    "survivor": (1, 0, 0, 0),
    "us-polls": (0, 0, 0, 0),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_keys_are_proposed_for_files_without_any(name: str, tmp_path: Path) -> None:
    raw = shared_folder(name)
    tables = manifest(raw)["tables"]
    plan = proposed(dump_csv(raw, tmp_path / "csv"), tmp_path / "work")
    keys = {(t, c, p) for t, spec in tables.items() for c, p in spec["fkeys"].items()}
    found = {(t, k.columns[0], k.references) for t, k in plan.references() if k.accept}
    own = {(t, spec["pkey"]) for t, spec in tables.items() if spec["pkey"]}
    single = {
        (name, table.primary_key[0])
        for name, table in plan.tables.items()
        if len(table.primary_key) == 1
    }
    counts = [len(keys - found), len(found - keys), len(own - single), len(single - own)]
    told = [keys - found, found - keys, own - single, single - own]
    assert all(n <= most for n, most in zip(counts, PROPOSALS[name], strict=True)), told
