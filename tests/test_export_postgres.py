"""PostgreSQL: a real server takes the rows, knows the keys and keeps them."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.export import export_database
from plurel.export_keys import quoted
from plurel.export_postgres import without_password
from tests.export_fixtures import (
    child_of,
    expected_rows,
    folder_of,
    foreign_keys,
    in_order,
    key_inserts,
    postgres_server,
    server_programs,
    write_odd_folder,
)

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra postgres) is not installed")
PROGRAMS = server_programs()
SCHEMA = "odd 'one'"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql: apt-get install postgresql")
    with postgres_server(PROGRAMS) as url:
        yield url


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_odd_folder(tmp_path_factory.mktemp("raw") / "odd")


class Postgres:
    """A schema of a server."""

    broken = (psycopg.errors.IntegrityError,)

    def __init__(self, url: str, schema: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.execute_all(f"SET search_path = {quoted(schema)}; SET timezone = 'UTC'")
        self.close = self.connection.close

    def execute_all(self, sql: str) -> None:
        self.connection.execute(sql)

    def execute(self, sql: str) -> list[Any]:
        cursor = self.connection.execute(sql)
        return cursor.fetchall() if cursor.description else []

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.execute(f"SELECT * FROM {quoted(table)}")

    def keys(self) -> set[tuple[str, ...]]:
        found = self.execute(
            "SELECT c.relname, a.attname, p.relname, b.attname FROM pg_constraint k "
            "JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] "
            "JOIN pg_attribute b ON b.attrelid = p.oid AND b.attnum = k.confkey[1] "
            "WHERE k.contype = 'f' AND k.convalidated "
            "AND k.connamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
        )
        return set(found)


def export_to_server(folder: Path, url: str, place: Path) -> Postgres:
    export_database(folder, url)
    return Postgres(url, SCHEMA)


def load_dump(folder: Path, url: str, place: Path) -> Postgres:
    export_database(folder, place / "dump.sql")
    database = new_schema(url, "dump")
    database.execute_all((place / "dump.sql").read_bytes().decode())
    return database


def load_csv(folder: Path, url: str, place: Path) -> Postgres:
    assert PROGRAMS is not None
    export_database(folder, place / "csv")
    database = new_schema(url, "csv")
    command = [
        PROGRAMS / "psql",
        url,
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        "schema.sql",
        "-f",
        "load.sql",
    ]
    environment = {"PGOPTIONS": "-c search_path=csv", "PGCLIENTENCODING": "UTF8"}
    subprocess.run(command, cwd=place / "csv", env=environment, check=True, capture_output=True)
    return database


def new_schema(url: str, name: str) -> Postgres:
    database = Postgres(url, name)
    database.execute(f"CREATE SCHEMA {name}")
    return database


@pytest.fixture(
    scope="module", params=[export_to_server, load_dump, load_csv], ids=lambda way: way.__name__
)
def database(
    request: pytest.FixtureRequest,
    odd: Path,
    server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Postgres]:
    """The odd folder on the server, by each of the ways."""
    made = request.param(odd, server, tmp_path_factory.mktemp("out"))
    yield made
    made.close()


def test_rows_come_back(database: Postgres) -> None:
    for name, rows in expected_rows().items():
        assert in_order(database.rows(name)) == in_order(rows)


def test_types_are_declared(database: Postgres) -> None:
    found = dict(
        database.execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_name = 'things' AND table_schema = current_schema()"
        )
    )
    assert {found[name] for name in ("id", "n", "u", "low")} == {"bigint"}
    assert {found[name] for name in ("text", "more", "nothing", "list", "order")} == {"text"}
    assert {found[name] for name in ("x", "y", "f")} == {"double precision"}
    assert [found[name] for name in ("ok", "raw", "day", "money")] == [
        *("boolean", "bytea", "date", "numeric"),
    ]
    assert [found[name] for name in ("at", "zone", "clock")] == [
        *("timestamp without time zone", "timestamp with time zone", "time without time zone"),
    ]


def test_the_server_keeps_the_keys(database: Postgres) -> None:
    assert database.keys() == foreign_keys()  # circles too
    for key in foreign_keys():
        good, bad = key_inserts(database, key)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            database.execute(bad)
        with database.connection.transaction(force_rollback=True):
            database.execute(good)
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("INSERT INTO things (id) VALUES (3)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        database.execute("INSERT INTO things (ok) VALUES (true)")


def test_one_transaction_or_nothing(server: str, tmp_path: Path) -> None:
    content = child_of([1], [1]) | {"c": {"p_id": [1, 1], "text": ["fine", "not\0fine"]}}
    folder = folder_of(tmp_path / "raw", **content)
    with pytest.raises(InputError, match="column 'text' of table 'c' holds the character NUL"):
        export_database(folder, server, schema="half")
    with closing(Postgres(server, "half")) as database:
        assert database.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'half'") == []


def test_dangling_keys_never_reach_the_server(server: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "raw", **child_of([1, 2], [1, 7, 7]))
    with pytest.raises(InputError, match="'p_id' of table 'c' is 7 in 2 rows, which"):
        export_database(folder, server, schema="dangling")


def test_texts_that_look_like_commands_of_copy(server: str, tmp_path: Path) -> None:
    texts = ["\\.", "a\n\\.\nb", "\\N", "\\t", "\t", ""]
    specs = {"t": {"pkey": None, "time_col": None, "fkeys": {}}}
    folder = folder_of(tmp_path / "raw", specs, t={"text": texts})
    export_database(folder, server, schema="commands")
    export_database(folder, tmp_path / "dump.sql")
    with closing(Postgres(server, "commands")) as database:
        assert database.rows("t") == [(text,) for text in texts]
    with closing(new_schema(server, "commands2")) as database:
        database.execute_all((tmp_path / "dump.sql").read_text())
        assert database.rows("t") == [(text,) for text in texts]


def test_replaced_only_on_request_and_only_exports(server: str, odd: Path) -> None:
    export_database(odd, server, schema="mine")
    with closing(Postgres(server, "mine")) as database:
        database.execute("DELETE FROM lines")
        with pytest.raises(InputError, match="schema 'mine' exists already; give --overwrite"):
            export_database(odd, server, schema="mine")
        assert database.rows("lines") == []
        export_database(odd, server, schema="mine", overwrite=True)
        assert len(database.rows("lines")) == 5
    with pytest.raises(InputError, match="schema 'public' exists and is not an export"):
        export_database(odd, server, schema="public", overwrite=True)


@pytest.mark.parametrize("name", ["chinook", "northwind", "sakila"])
def test_databases_made_from_sql(name: str, server: str, tmp_path: Path) -> None:
    """With composite keys, types as declared, and a circle of tables."""
    schema = Path(__file__).parent / "data" / "sql" / f"{name}.sql"
    config = Config(schema_file=str(schema))
    SyntheticDataset(0, config).save(tmp_path / name)
    done = export_database(tmp_path / name, server)
    with closing(Postgres(server, name)) as database:
        declared = database.execute(
            "SELECT contype::text, count(*) FROM pg_constraint WHERE convalidated AND connamespace "
            "= (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) GROUP BY 1"
        )
    assert dict(declared)["f"] == done.num_keys
    assert dict(declared)["p"] == done.num_tables


def test_no_server_and_wrong_names(server: str, odd: Path, tmp_path: Path) -> None:
    for url, message in [
        (f"postgresql://me:secret@/db?host={tmp_path}", r"me:\*\*\*@/db.*connection"),
        ("postgresql://localhost:port/db", r"localhost:port/db: .*port"),
        (server.replace("/postgres?", "/nowhere?"), 'database "nowhere" does not exist'),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            export_database(odd, url)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"schema 'x+': PostgreSQL's names have at most 63 bytes"):
        export_database(odd, server, schema="x" * 64)


def test_a_password_is_not_shown() -> None:
    assert without_password("postgresql://me:se@cret@host:5/db") == "postgresql://me:***@host:5/db"
    assert without_password("postgresql://me@host/db?x=1") == "postgresql://me@host/db?x=1"
    assert without_password("out/a.db") == "out/a.db"
