"""PostgreSQL, and any other database that SQLAlchemy reaches by a URL.

All tables are read in one transaction, in PostgreSQL as of one moment. Rows arrive through a cursor
on the server, so that memory holds one piece of them.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Inspector, make_url
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from plurel.errors import InputError
from plurel.export_postgres import SCHEMES
from rt.importing.duck import unique_names
from rt.importing.server_types import arriving
from rt.importing.tables import BATCH_ROWS, Column, Reference, SourceTable
from rt.importing.values import to_array

_SECRETS = ("password", "passwd", "pwd", "sslpassword", "token", "secret", "api_key")
_LOGIN = re.compile(r"(?P<user>[^:/@]*://[^:/@]*):(?P<password>.*)@", re.DOTALL)
_OPTION = re.compile(rf"([?&](?:{'|'.join(_SECRETS)})=)([^&]*)", re.IGNORECASE)
_OPTIONS = re.compile(r"\?([\w.-]+=[^&?]*(&[\w.-]+=[^&?]*)*)?")
_TELLING = 4
"""Letters from which on a password in a message is one."""
_CONNECT_SECONDS = 10
_INHERITED = """
    SELECT n.nspname, c.relname, p.relname FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class p ON p.oid = i.inhparent"""
_ESTIMATES = """
    SELECT n.nspname, c.relname, c.reltuples::bigint FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')"""

Place = tuple[str, str]
"""Schema and table."""


def shown(url: str | URL) -> str:
    """A URL as it may be shown and kept: without passwords, wherever they stand in it."""
    try:
        parsed = make_url(_escaped(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError):
        return str(url).partition("://")[0] + "://..."
    secret = [key for key in parsed.query if key.lower() in _SECRETS]
    return parsed.difference_update_query(secret).render_as_string(hide_password=True)


class ServerSource:
    """The tables of some schemas, by default those of the connection's own."""

    def __init__(self, url: str, schemas: Sequence[str] = ()) -> None:
        self.label = shown(url)
        self._url = url
        try:
            self._engine = sa.create_engine(_driver_url(_escaped(url)), poolclass=sa.NullPool)
            self._postgres = self._engine.dialect.name == "postgresql"
            self._connection = self._connect()
        except (ArgumentError, ValueError, NoSuchModuleError, ImportError) as error:
            raise self._error(
                error, "give a URL such as postgresql://user@host/name, and install its driver"
            ) from None
        except SQLAlchemyError as error:
            raise self._error(error, _remedy(error)) from None
        try:
            self._schemas = self._known(schemas)
        except InputError:
            self.close()
            raise
        self._places: dict[str, Place] = {}
        self._sql: dict[str, str] = {}

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        if self._postgres:  # one moment for all tables, and nothing can be changed
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        connection.begin()
        return connection

    def _known(self, schemas: Sequence[str]) -> list[str]:
        try:
            inspector = sa.inspect(self._connection)
            if not schemas:
                return [inspector.default_schema_name or ""]
            known = inspector.get_schema_names()
        except SQLAlchemyError as error:
            raise self._error(error, "check the server") from None
        for schema in schemas:
            if schema not in known:
                there = ", ".join(name for name in known if name != "information_schema")
                raise InputError(f"{self.label}: no schema {schema!r}; there are {there}")
        return list(schemas)

    def tables(self) -> list[SourceTable]:
        try:
            with warnings.catch_warnings():
                # types that SQLAlchemy does not know arrive as text; a message says so
                warnings.simplefilter("ignore", sa.exc.SAWarning)
                return list(self._tables(sa.inspect(self._connection)))
        except SQLAlchemyError as error:
            raise self._error(error, "check the server and your rights there") from None

    def _tables(self, inspector: Inspector) -> Iterator[SourceTable]:
        left_out: dict[Place, str] = {}
        places: list[Place] = []
        for schema in self._schemas:
            found = inspector.get_table_names(schema=schema or None)
            views = [
                *inspector.get_view_names(schema=schema or None),
                *(inspector.get_materialized_view_names(schema=schema) if self._postgres else ()),
            ]
            left_out |= {(schema, view): "a view" for view in views}
            places += [(schema, table) for table in sorted({*found, *views})]
        if self._postgres:
            rows = self._connection.exec_driver_sql(_INHERITED)
            left_out |= {(row[0], row[1]): f"part of {row[2]}" for row in rows}
        names = unique_names(places)
        self._places = {name: place for place, name in names.items()}
        estimates = self._estimates()
        for place in places:
            yield self._table(inspector, place, names, (estimates.get(place), left_out.get(place)))

    def _estimates(self) -> dict[Place, int]:
        if not self._postgres:
            return {}
        rows = self._connection.exec_driver_sql(_ESTIMATES)
        return {(row[0], row[1]): row[2] for row in rows if row[2] > 0}

    def _table(
        self,
        inspector: Inspector,
        place: Place,
        names: dict[Place, str],
        about: tuple[int | None, str | None],
    ) -> SourceTable:
        schema, table = place[0] or None, place[1]
        columns = self._columns(inspector.get_columns(table, schema=schema), place, names[place])
        primary: list[str] = []
        references = []
        if about[1] != "a view":
            primary = inspector.get_pk_constraint(table, schema=schema)["constrained_columns"]
            for key in inspector.get_foreign_keys(table, schema=schema):
                parent = (key["referred_schema"] or place[0], key["referred_table"])
                found = names.get(parent) or _without_case(names).get(_small(parent))
                if found is not None:
                    reference = Reference(
                        tuple(key["constrained_columns"]),
                        found,
                        tuple(key["referred_columns"]),
                    )
                    references.append(reference)
        references.sort(key=lambda reference: reference.columns)
        return SourceTable(
            names[place], columns, tuple(primary), tuple(references), about[0], about[1] or ""
        )

    def _columns(
        self, found: Sequence[ReflectedColumn], place: Place, name: str
    ) -> tuple[Column, ...]:
        made = [
            arriving(column["name"], column["type"], self._quoted(column["name"]), self._postgres)
            for column in found
        ]
        where = ".".join(self._quoted(part) for part in place if part)
        self._sql[name] = f"SELECT {', '.join(sql for _, sql in made) or '1'} FROM {where}"
        return tuple(column for column, _ in made)

    def _quoted(self, name: str) -> str:
        preparer = self._engine.dialect.identifier_preparer
        quoted = preparer.quote_identifier(name)
        # doubled for drivers that fill in parameters; there are none here
        return quoted.replace("%%", "%") if getattr(preparer, "_double_percents", 0) else quoted

    def batches(self, table: SourceTable) -> Iterator[pa.RecordBatch]:
        where = f"{self.label}: table {table.name}"
        names = [f"c{i}" for i in range(len(table.columns))]
        try:
            # no text() and no types: values come as the driver has them; a % stays one
            connection = self._connection.execution_options(
                stream_results=True, max_row_buffer=BATCH_ROWS, no_parameters=True
            )
            result = connection.exec_driver_sql(self._sql[table.name])
            for rows in result.partitions(BATCH_ROWS):
                columns: Iterator[tuple[Any, ...]] = zip(*rows, strict=True)
                arrays = [
                    to_array(values, column, where)
                    for values, column in zip(columns, table.columns, strict=True)
                ]
                yield pa.record_batch(arrays, names)
        except SQLAlchemyError as error:
            raise self._error(error, f"check table {table.name} and your rights there") from None

    def _error(self, error: Exception, remedy: str) -> InputError:
        original = getattr(error, "orig", None) or error
        lines = dict.fromkeys(text.strip() for text in str(original).splitlines() if text.strip())
        reason = " ".join(lines) or type(original).__name__
        return InputError(f"{self.label}: {_without_passwords(reason, self._url)}; {remedy}")

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


def _small(place: Place) -> Place:
    return place[0].lower(), place[1].lower()


def _without_case(names: dict[Place, str]) -> dict[Place, str]:
    """For databases whose keys spell tables otherwise than the tables themselves."""
    return {_small(place): name for place, name in names.items()}


def _driver_url(url: str) -> str:
    """The URL with the driver that this project uses, and a limit to the wait for a server."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return url
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    options.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    options.setdefault("client_encoding", "utf8")
    return f"postgresql+psycopg://{place}?{urlencode(options)}"


def _escaped(url: str) -> str:
    """The URL with its password escaped, which ends at the last @ before the options."""
    url = _OPTION.sub(lambda found: found[1] + found[2].replace("@", "%40"), url)
    head, options = _parted(url)
    found = _LOGIN.match(head)
    if found is None:
        return url
    password = quote(unquote(found["password"]), safe="")
    return f"{found['user']}:{password}@{head[found.end() :]}{options}"


def _parted(url: str) -> tuple[str, str]:
    """The URL up to its options, and these from their ? on: names with values, to its end. A ? that
    is followed by anything else, or after which the server comes, is one of the password."""
    for found in re.finditer(r"\?", url):
        head, options = url[: found.start()], url[found.start() :]
        if _OPTIONS.fullmatch(options) and ("@" in head or "@" not in options):
            return head, options
    return url, ""


def _without_passwords(text: str, url: str) -> str:
    """A message without the URL's passwords: as they stand in the URL, and as words, unless they
    are so short that they stand in other words' places."""
    text = text.replace(url, shown(url))
    try:
        parsed = make_url(_escaped(url))
    except (ArgumentError, ValueError):
        return text
    values = [str(v) for key, v in parsed.query.items() if key.lower() in _SECRETS]
    given = [secret for secret in (parsed.password, *values) if secret]
    for secret in (*given, *map(quote, given)):
        if len(secret) >= _TELLING:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def _remedy(error: Exception) -> str:
    if "password" in str(error):
        return "put the right one into the environment variable PGPASSWORD, or into ~/.pgpass"
    return "check that the server runs there and that the name is right"
