"""Types of SQL columns, from what sqlglot has parsed to what can be generated."""

import re
from dataclasses import replace
from itertools import pairwise

from sqlglot import exp

from plurel.sql_model import Base, SqlType, Value

D = exp.DType

_INTEGERS: dict[D, tuple[int, int]] = {
    kind: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    for kind, bits in (
        *((D.TINYINT, 8), (D.SMALLINT, 16), (D.MEDIUMINT, 24), (D.INT, 32), (D.BIGINT, 64)),
        *((D.SMALLSERIAL, 16), (D.SERIAL, 32), (D.BIGSERIAL, 64), (D.INT128, 64), (D.INT256, 64)),
    )
} | {
    kind: (0, (1 << bits) - 1)
    for kind, bits in (
        *((D.UTINYINT, 8), (D.USMALLINT, 16), (D.UMEDIUMINT, 24), (D.UINT, 32), (D.UBIGINT, 63)),
    )
}
_PLAIN: dict[D, tuple[Base, str]] = {
    D.BOOLEAN: ("boolean", ""),
    D.FLOAT: ("float", ""),
    D.DOUBLE: ("float", ""),
    D.UDOUBLE: ("float", ""),
    D.DATE: ("date", ""),
    D.DATE32: ("date", ""),
    D.TIME: ("time", ""),
    D.TIMETZ: ("time", ""),
    **dict.fromkeys(
        (
            *(D.DATETIME, D.DATETIME2, D.DATETIME64, D.SMALLDATETIME, D.TIMESTAMP),
            *(D.TIMESTAMPTZ, D.TIMESTAMPLTZ, D.TIMESTAMPNTZ, D.TIMESTAMP_S, D.TIMESTAMP_MS),
        ),
        ("timestamp", ""),
    ),
    **dict.fromkeys(
        (
            *(D.CHAR, D.NCHAR, D.VARCHAR, D.NVARCHAR, D.BPCHAR, D.TEXT, D.NAME),
            *(D.TINYTEXT, D.MEDIUMTEXT, D.LONGTEXT),
        ),
        ("text", "words"),
    ),
    D.UUID: ("text", "uuid"),
    D.JSON: ("text", "json"),
    D.JSONB: ("text", "json"),
    D.XML: ("text", "xml"),
    D.HSTORE: ("text", "hstore"),
    D.INET: ("text", "inet"),
    D.INTERVAL: ("text", "interval"),
    D.ARRAY: ("text", "array"),
    D.GEOMETRY: ("text", "point"),
    D.GEOGRAPHY: ("text", "point"),
    D.POINT: ("text", "point"),
    **dict.fromkeys(
        (*(D.BINARY, D.VARBINARY, D.BLOB, D.TINYBLOB, D.MEDIUMBLOB, D.LONGBLOB, D.IMAGE),),
        ("binary", ""),
    ),
}
_BY_NAME: dict[str, tuple[Base, str]] = {
    "citext": ("text", "words"),
    "char": ("text", "words"),
    "clob": ("text", "words"),
    "tsvector": ("text", "words"),
    "cidr": ("text", "inet"),
    "macaddr": ("text", "macaddr"),
    "varbit": ("text", "bits"),
    "image": ("binary", ""),
    "oid": ("integer", ""),
}
_DECIMALS = (D.DECIMAL, D.UDECIMAL, D.DECIMAL32, D.DECIMAL64, D.DECIMAL128, D.BIGDECIMAL)
_FREE = (D.GEOMETRY, D.GEOGRAPHY, D.POINT, D.USERDEFINED)
"""Types that take names in their parentheses, as PostGIS's geometry(Point, 4326)."""
_MONEY = (D.MONEY, D.SMALLMONEY)
_SETS_UP_TO = 4
_EXACT = 2**53
"""Decimals are kept as floats: beyond this many steps not every one of them is a number."""


def read_type(kind: exp.Expr | None, dialect: str) -> SqlType | None:
    """The type, or None for one that is not known (it may be an enum or a domain of the file)."""
    if kind is None:
        return SqlType("text", "")  # SQLite: a column without a type holds anything
    spelled = kind.sql(dialect=dialect)
    if not isinstance(kind, exp.DataType):
        known = _BY_NAME.get(kind.name.lower()) or _BY_NAME.get(spelled.lower())
        return SqlType(known[0], spelled, form=known[1]) if known else None
    if kind.this not in _FREE and not all(map(_is_size, kind.expressions)):
        return None
    numbers = [int(item.name) for item in kind.expressions if re.fullmatch(r"\d+", item.name)]
    found = _parametrised(kind, numbers, dialect)
    if found is None and kind.this in _PLAIN:
        base, form = _PLAIN[kind.this]
        found = SqlType(base, form=form or "words")
        if base in ("text", "binary") and numbers:
            found = replace(found, length=numbers[0])
        elif kind.this in (D.CHAR, D.NCHAR):
            found = replace(found, length=1)
    if found is None:
        known = _BY_NAME.get(type_name(kind))
        found = SqlType(known[0], form=known[1] or "words") if known else None
    return None if found is None else replace(found, spelled=spelled)


def _is_size(parameter: exp.Expr) -> bool:
    """Whether this may stand in a type's parentheses: a number, or a value of an enum."""
    named = isinstance(parameter, exp.DataTypeParam) and not re.fullmatch(
        r"\d+|max", parameter.name, re.IGNORECASE
    )
    return not named


def type_name(kind: exp.Expr) -> str:
    """The last part of a type's name in lower case, without schema, quotes and parameters."""
    name = kind.args["kind"] if isinstance(kind.args.get("kind"), exp.Expr) else kind
    text = name.name or name.sql()
    return re.split(r"[.(]", text.replace('"', "") if "." not in text else text.split(".")[-1])[
        0
    ].lower()


def _parametrised(kind: exp.DataType, numbers: list[int], dialect: str) -> SqlType | None:
    """Types whose parameters matter: integers, decimals, bits, enums and sets."""
    this = kind.this
    if this == D.TINYINT and dialect == "mysql" and numbers == [1]:
        return SqlType("boolean")
    if this in _INTEGERS:
        low, high = _INTEGERS[this]
        return SqlType("integer", low=low, high=high)
    if this == D.YEAR:
        return SqlType("integer", low=1901, high=2155, form="year")
    if this in _DECIMALS or (this in (D.FLOAT, D.DOUBLE) and len(numbers) == 2):
        return decimal_type(numbers, unsigned=this == D.UDECIMAL)
    if this in _MONEY:
        return decimal_type([12, 2])
    if this == D.BIT:
        if not numbers or numbers == [1]:
            return SqlType("boolean" if dialect == "mysql" else "text", length=1, form="bits")
        return SqlType("text", min_length=numbers[0], length=numbers[0], form="bits")
    if this in (D.ENUM, D.SET):
        names = tuple(item.name for item in kind.expressions)
        return category(names if this == D.ENUM else _subsets(names))
    return None


def decimal_type(numbers: list[int], unsigned: bool = False) -> SqlType:
    """DECIMAL(precision, scale); without parameters two digits after the point."""
    precision, scale = [*numbers, 0][:2] if numbers else (12, 2)
    bound = min(10**precision - 1, _EXACT) / 10**scale
    return SqlType("decimal", low=0.0 if unsigned else -bound, high=bound, scale=scale)


def category(values: tuple[Value, ...]) -> SqlType:
    """A type of named values, each once, in the order in which they are named."""
    return SqlType("category", values=tuple(dict.fromkeys(values)))


def _subsets(names: tuple[str, ...]) -> tuple[str, ...]:
    """What a MySQL SET may hold: subsets joined by commas; of large sets those of one or two."""
    if len(names) <= _SETS_UP_TO:
        picks = range(1, 1 << len(names))
        return tuple(
            ",".join(n for bit, n in enumerate(names) if pick >> bit & 1) for pick in picks
        )
    return names + tuple(",".join(pair) for pair in pairwise(names))


def step(kind: SqlType) -> float:
    """The distance between neighbouring values of a type with an order; 0 for floats."""
    return {
        "integer": 1.0,
        "decimal": 10.0**-kind.scale,
        "date": 86_400.0,
        "timestamp": 1.0,
        "time": 1.0,
    }.get(kind.base, 0.0)
