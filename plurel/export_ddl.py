"""CREATE TABLE statements of a database in three dialects, compiled by SQLAlchemy.

SQLite takes a reference to a table that is not there yet. PostgreSQL doesn't, but adds keys to
filled tables. DuckDB does neither, so a key into a later table stays undeclared there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect as Compiler
from sqlalchemy.schema import AddConstraint, CreateTable, ExecutableDDLElement

from plurel.errors import InputError
from plurel.export_keys import SelfReferences, quoted
from plurel.export_source import Column, ForeignKey, Source, SourceTable

Dialect = Literal["sqlite", "duckdb", "postgresql"]
DIALECTS: tuple[Dialect, ...] = ("sqlite", "duckdb", "postgresql")

_MAX_BYTES = 63  # of a name in PostgreSQL, which cuts longer ones


@dataclass(frozen=True)
class TableSql:
    """One table's name, list of columns and statements, without semicolons.

    create: CREATE TABLE with the keys that can stand in it; add_keys: the others, to be added
    when the rows are there.
    """

    name: str
    columns: str
    create: str
    add_keys: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All that a writer needs. statements, references: per table. undeclared: table names and
    foreign keys that hold, but that the dialect can't declare."""

    source: Source
    dialect: Dialect
    references: dict[str, SelfReferences]
    undeclared: tuple[tuple[str, ForeignKey], ...]
    statements: dict[str, TableSql]

    def __iter__(self) -> Iterator[tuple[SourceTable, TableSql]]:
        """The tables in loading order with their statements."""
        return ((table, self.statements[table.name]) for table in self.source.tables)


def make_plan(
    source: Source,
    references: dict[str, SelfReferences],
    dialect: Dialect,
    *,
    schema: str | None = None,
    keys_after: bool = False,
) -> Plan:
    """The statements that make a database. schema: PostgreSQL's, by default the current one.

    keys_after: all foreign keys are added after the rows, which is faster in PostgreSQL; else only
    those to later tables are. Raises InputError for names that PostgreSQL would cut.
    """
    if dialect == "postgresql":
        _check_lengths(source, schema)
    undeclared = _undeclared(source, references) if dialect == "duckdb" else ()
    metadata = sa.MetaData(schema=None if schema is None else _name(schema))
    made = {table.name: _table(table, metadata) for table in source.tables}
    prefix = "" if schema is None else f"{quoted(schema)}."
    statements = {}
    for table in source.tables:
        inside: list[sa.ForeignKeyConstraint] = []
        after: list[sa.ForeignKeyConstraint] = []
        for key in table.foreign_keys:
            if (table.name, key) not in undeclared:
                is_after = dialect == "postgresql" and (keys_after or key.late)
                (after if is_after else inside).append(_reference(table, key, made))
        create = CreateTable(made[table.name], include_foreign_key_constraints=inside)
        statements[table.name] = TableSql(
            prefix + quoted(table.name),
            ", ".join(quoted(column.name) for column in table.columns),
            _compiled(create, dialect),
            tuple(_compiled(AddConstraint(key), dialect) for key in after),
        )
    return Plan(source, dialect, references, undeclared, statements)


def _undeclared(
    source: Source, references: dict[str, SelfReferences]
) -> tuple[tuple[str, ForeignKey], ...]:
    """What DuckDB can't declare: keys to later tables, and circles of rows."""
    return tuple(
        (table.name, key)
        for table in source.tables
        for key in table.foreign_keys
        if key.late or key in references[table.name].circular
    )


def _table(table: SourceTable, metadata: sa.MetaData) -> sa.Table:
    columns = [
        sa.Column(
            _name(column.name),
            _type(column),
            nullable=not (column.required or column.name in table.primary_key),
            autoincrement=False,
        )
        for column in table.columns
    ]
    constraints: list[sa.Constraint] = [sa.UniqueConstraint(*key) for key in table.unique]
    if table.primary_key:  # in its own order
        constraints.append(sa.PrimaryKeyConstraint(*table.primary_key))
    return sa.Table(_name(table.name), metadata, *columns, *constraints)


def _reference(
    table: SourceTable, key: ForeignKey, made: dict[str, sa.Table]
) -> sa.ForeignKeyConstraint:
    """A key to a later table can be deferred, so that rows of both can come in one transaction."""
    parent = made[key.parent]
    constraint = sa.ForeignKeyConstraint(
        list(key.columns),
        [parent.c[name] for name in key.parent_columns],
        deferrable=True if key.late else None,
    )
    made[table.name].append_constraint(constraint)
    return constraint


def _type(column: Column) -> sa.types.TypeEngine[Any]:
    kind, test = column.type, pa.types
    if test.is_boolean(kind):
        return sa.Boolean()
    if test.is_integer(kind):
        # exactly INTEGER, and SQLite's primary key is its row number
        return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    if test.is_floating(kind):
        return sa.Double()
    if test.is_decimal(kind):
        return sa.Numeric(kind.precision, kind.scale)
    if test.is_timestamp(kind):
        return sa.TIMESTAMP(timezone=kind.tz is not None)
    if test.is_date(kind):
        return sa.Date()
    if test.is_time(kind):
        return sa.Time()
    return sa.LargeBinary() if test.is_large_binary(kind) else sa.Text()


def _name(name: str) -> sa.sql.quoted_name:
    return sa.sql.quoted_name(name, quote=True)


def _compiled(statement: ExecutableDDLElement, dialect: Dialect) -> str:
    compiler: Compiler = (
        sqlite.dialect() if dialect == "sqlite" else postgresql.dialect(paramstyle="named")
    )
    lines = str(statement.compile(dialect=compiler)).strip().splitlines()
    return "\n".join(line.rstrip().replace("\t", "  ") for line in lines)


def _check_lengths(source: Source, schema: str | None) -> None:
    names = [(f"schema {schema!r}", schema or "")]
    for table in source.tables:
        names.append((f"{table.path}: table '{table.name}'", table.name))
        names += [(f"{table.path}: column '{c.name}'", c.name) for c in table.columns]
    for what, name in names:
        if len(name.encode()) > _MAX_BYTES:
            raise InputError(
                f"{what}: PostgreSQL's names have at most {_MAX_BYTES} bytes; shorten it"
            )
