"""A database as a schema of a PostgreSQL server, in one transaction.

The keys are added when the rows are there, so that the server itself checks every reference.
Needs psycopg (extra `postgres`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from plurel.errors import InputError
from plurel.export_ddl import Plan
from plurel.export_files import COMMENT, Progress
from plurel.export_keys import quoted
from plurel.export_text import copy_rows

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")

_CONNECT_SECONDS = 10


def check_server(url: str, schema: str, *, overwrite: bool) -> None:
    """InputError if the server can't be reached or the schema can't be made there."""
    with _session(url) as cursor:
        _is_there(cursor, schema, overwrite)


def write_postgres(
    plan: Plan, url: str, schema: str, *, overwrite: bool, progress: Progress
) -> None:
    """Make the schema and fill it; others see it once all is there and checked.

    A schema of that name is replaced only with `overwrite` and only if this function made it.
    Raises InputError with what the server, or psycopg, says.
    """
    with _session(url) as cursor:
        if _is_there(cursor, schema, overwrite):
            cursor.execute(f"DROP SCHEMA {quoted(schema)} CASCADE")
        cursor.execute(f"CREATE SCHEMA {quoted(schema)}")
        comment = (COMMENT + plan.source.name).replace("'", "''")
        cursor.execute(f"COMMENT ON SCHEMA {quoted(schema)} IS '{comment}'")
        for _, sql in plan:
            cursor.execute(sql.create)
        for table, sql in plan:
            with cursor.copy(f"COPY {sql.name} ({sql.columns}) FROM STDIN") as copy:
                for batch in table.batches():
                    copy.write(copy_rows(batch, table))
                    progress(batch.num_rows)
        for _, sql in plan:
            for key in sql.add_keys:
                cursor.execute(key)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


@contextmanager
def _session(url: str) -> Iterator[Any]:
    """A cursor in one transaction, which is undone if the block ends with an error."""
    psycopg = _psycopg()
    try:
        with psycopg.connect(_conninfo(url)) as connection, connection.cursor() as cursor:
            yield cursor
    except psycopg.Error as error:
        raise InputError(f"{without_password(url)}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What the server says, each sentence once, and how a password is given."""
    lines = dict.fromkeys(line.strip() for line in str(error).splitlines() if line.strip())
    reason = " ".join(lines) or type(error).__name__
    if "password" in reason:
        reason += "; put the right one into the environment variable PGPASSWORD, or into ~/.pgpass"
    return reason


def _is_there(cursor: Any, schema: str, overwrite: bool) -> bool:
    """Whether the schema exists; InputError if it does and may not be replaced."""
    cursor.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
        (schema,),
    )
    found = cursor.fetchone()
    if found is None:
        return False
    if not (found[0] or "").startswith(COMMENT):
        raise InputError(f"schema {schema!r} exists and is not an export; choose another one")
    if not overwrite:
        raise InputError(f"schema {schema!r} exists already; give --overwrite or choose another")
    return True


def _conninfo(url: str) -> str:
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    scheme, _, rest = url.partition("://")
    plain = f"postgresql://{rest}" if scheme in SCHEMES else url
    settings: dict[str, Any] = conninfo_to_dict(plain)
    settings.setdefault("connect_timeout", _CONNECT_SECONDS)
    return make_conninfo(**{**settings, "client_encoding": "utf8"})


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "PostgreSQL needs psycopg, which is missing; run: pip install psycopg[binary]"
        ) from None
    return psycopg
