"""What only a PostgreSQL server has: schemas, partitions, its own types, passwords."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from plurel.errors import InputError
from rt.importing.open import Reading
from rt.importing.run import Settings, import_database
from tests.export_fixtures import postgres_server, server_programs
from tests.import_fixtures import column, manifest, rows

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra postgres) is not installed")
PROGRAMS = server_programs()
SCRIPT = """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE DOMAIN year AS integer CHECK (VALUE > 1900);
    CREATE SCHEMA sales; CREATE SCHEMA "Staff 1";
    CREATE TABLE "Staff 1".person (id bigint PRIMARY KEY, "Full Name" char(8), born year);
    CREATE TABLE sales.person (id int PRIMARY KEY);
    CREATE TABLE sales."100% odd" (
        id uuid PRIMARY KEY, seller bigint REFERENCES "Staff 1".person, at timestamptz,
        day date, price numeric, whole numeric(20, 0), tags text[], info jsonb, gap interval,
        state mood, cost money, raw bytea, ratio real, clock time, code varchar(3),
        range int4range);
    CREATE TABLE sales.log (at timestamp NOT NULL, note text) PARTITION BY RANGE (at);
    CREATE TABLE sales.log_1 PARTITION OF sales.log
        FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE sales.log_2 PARTITION OF sales.log
        FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
    CREATE MATERIALIZED VIEW sales.notes AS SELECT 1 AS one;
    INSERT INTO "Staff 1".person VALUES (30, 'Ada', 1990), (20, 'Bob', NULL);
    INSERT INTO sales."100% odd" VALUES
      ('00000000-0000-0000-0000-000000000002', 20, '2020-01-02 01:00+01', 'infinity', 0.1, 12,
       '{a,"b c"}', '{"k": 1}', '90 seconds', 'bad', 2.5, 'x', 0.1, '10:00', '007', '[1,3)'),
      ('00000000-0000-0000-0000-000000000001', 30, '0900-03-15 12:00:00+00', '2020-01-01',
       'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Infinity', NULL, NULL, NULL),
      ('00000000-0000-0000-0000-000000000003', NULL, '2020-01-03', NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO sales.log VALUES ('2021-05-01', 'b'), ('2020-05-01', 'a');
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql: apt-get install postgresql")
    with postgres_server(PROGRAMS) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SCRIPT)
        yield url


def test_schemas_partitions_and_types(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = import_database(server, out, Settings(Reading(schemas=["sales", "Staff 1"])))
    tables = manifest(out)["tables"]
    assert sorted(tables) == ["Staff_1_person", "_100_odd", "log", "sales_person"]
    assert tables["_100_odd"] == {
        "pkey": "id",
        "time_col": "at",
        "fkeys": {"seller": "Staff_1_person"},
    }
    assert rows(out, "Staff_1_person") == [(0, "Bob", None), (1, "Ada", 1990)]
    assert column(out, "Staff_1_person", "Full_Name") == ["Bob", "Ada"]
    assert rows(out, "log") == [(dt.datetime(2020, 5, 1), "a"), (dt.datetime(2021, 5, 1), "b")]
    second = rows(out, "_100_odd")[1]
    assert second == (
        *(1, 0, dt.datetime(2020, 1, 2), None, 0.1, 12.0, '["a","b c"]', '{"k": 1}', 90.0),
        *("bad", 2.5, 0.1, dt.time(10), "007", "[1,3)"),
    )
    assert column(out, "_100_odd", "at")[0] == dt.datetime(900, 3, 15, 12)
    assert column(out, "_100_odd", "seller") == [1, 0, None]
    for message in (
        "100% odd.tags: ARRAY became text",
        "100% odd.raw: left out",
        "100% odd.gap: intervals became seconds",
        "100% odd.id: random keys became numbers; keep_key: true keeps them",
        "sales_person: has no rows; kept, without a time",
    ):
        assert message in done.messages


def test_a_schema_that_is_not_there_and_one_without_tables(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no schema 'salez'; there are Staff 1, public, sales"):
        import_database(server, tmp_path / "out", Settings(Reading(schemas=["salez"])))
    with pytest.raises(InputError, match="holds no tables to import"):
        import_database(server, tmp_path / "out")
    with pytest.raises(InputError, match='database "nowhere" does not exist'):
        import_database(server.replace("/postgres?", "/nowhere?"), tmp_path / "out")


def test_a_password_stands_nowhere(server: str, tmp_path: Path) -> None:
    url = server.replace("test@", "test:s3cret@")
    days = {"val_timestamp": "2020-06-01", "test_timestamp": "2021-01-01"}
    reading = Reading(schemas=["sales"], tables=["log"])
    import_database(url, tmp_path / "out", Settings(reading, **days))
    for path in (tmp_path / "out").rglob("*.*"):
        if path.is_file():
            assert b"s3cret" not in path.read_bytes()
    assert "test:***@" in (tmp_path / "out" / "provenance.yaml").read_text(encoding="utf-8")
