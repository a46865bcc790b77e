"""How the types of a server's columns arrive: SQLAlchemy's types to ours."""

from typing import Any

import pyarrow as pa
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql

from rt.importing.tables import CLOCK, LARGE_WHOLE, MOMENT, Column


def arriving(name: str, kind: Any, column: str, is_postgres: bool) -> tuple[Column, str]:
    """A column of SQLAlchemy's type `kind`, and the expression to select; `column` is its name in
    quotes. PostgreSQL converts on the server, others give what their driver makes of the type."""
    if isinstance(kind, postgresql.DOMAIN):
        kind = kind.data_type
    found, expression = _common(kind, column)
    if found is None:
        found, expression = _others(kind, column)
    if is_postgres:
        expression = _in_postgres(kind, found, column)
    note = _note(kind, found)
    return Column(name, found, note), expression


def _common(kind: Any, column: str) -> tuple[pa.DataType | None, str]:
    plain = (
        (sql.Boolean, pa.bool_()),
        (sql.BigInteger, pa.int64()),
        (sql.Integer, pa.int64()),
        (sql.LargeBinary, pa.binary()),
        (sql._Binary, pa.binary()),
        (sql.DateTime, MOMENT),
        (sql.Date, MOMENT),
        (sql.Time, CLOCK),
        (sql.Interval, pa.float64()),
        (postgresql.INTERVAL, pa.float64()),
        (postgresql.MONEY, pa.float64()),
    )
    for test, found in plain:
        if isinstance(kind, test):
            return found, column
    return None, column


def _others(kind: Any, column: str) -> tuple[pa.DataType, str]:
    if isinstance(kind, sql.Float):
        return pa.float64(), column
    if not isinstance(kind, sql.Numeric):
        return pa.string(), column
    if kind.scale == 0 and kind.precision is not None:
        return (pa.int64() if kind.precision <= 18 else LARGE_WHOLE), column
    return pa.float64(), column


def _in_postgres(kind: Any, found: pa.DataType, column: str) -> str:
    """PostgreSQL's expression: no infinite times, no zones, decimals as floats, padding cut off."""
    if found == MOMENT:
        zoned = getattr(kind, "timezone", False)
        moment = f"{column} AT TIME ZONE 'UTC'" if zoned else f"{column}::timestamp"
        # microseconds since 1970 also hold years that Python's dates don't
        micros = f"(extract(epoch FROM {moment}) * 1000000)::bigint"
        return f"CASE WHEN isfinite({column}) THEN {micros} END"
    if isinstance(kind, sql.Interval | postgresql.INTERVAL):
        return f"extract(epoch FROM {column})::float8"
    if isinstance(kind, postgresql.MONEY):
        return f"{column}::numeric::float8"
    if pa.types.is_floating(found):
        return f"{column}::float8" if not isinstance(kind, sql.Float) else column
    if found == CLOCK:
        return f"{column}::time"
    if isinstance(kind, sql.CHAR):
        return f"rtrim({column})"
    if isinstance(kind, postgresql.ARRAY):
        return f"to_json({column})::text"
    return f"{column}::text" if found == pa.string() else column


def _note(kind: Any, found: pa.DataType) -> str:
    if isinstance(kind, sql.Interval | postgresql.INTERVAL):
        return "intervals became seconds"
    known = (sql.String, sql.Uuid, sql.Enum)
    if found != pa.string() or isinstance(kind, known):
        return ""
    if isinstance(kind, sql.NullType):
        return "a type that is not known here became text"
    return f"{type(kind).__name__} became text"
