"""Values as Python's database drivers hand them out, as Arrow arrays."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from plurel.errors import InputError
from rt.importing.tables import MOMENT, Column

_ARROW_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError)
_DATE = r"^\s*\d{4}-\d{2}-\d{2}\s*([ T].*)?$"


def to_array(values: Sequence[Any], column: Column, where: str) -> pa.Array:
    """One column of a piece of rows. Raises InputError, naming `where` and the column, for a value
    that its type can't hold."""
    try:
        return pa.array(values, column.type)
    except _ARROW_ERRORS:
        pass  # not what Arrow takes by itself: one by one
    convert = _converter(column.type)
    value: Any = None
    try:
        converted = []
        for value in values:
            converted.append(None if value is None else convert(value))
        return pa.array(converted, column.type)
    except _ARROW_ERRORS:
        raise InputError(
            f"{where}: column {column.name} holds {str(value)[:80]!r}, which is no {column.type}; "
            "mend the value or leave the column out in the plan"
        ) from None


def moments(texts: pa.Array) -> pa.Array | None:
    """Texts as times in UTC; None unless all of them are ISO dates, alone or with a time of day."""
    if not pc.all(pc.match_substring_regex(texts, _DATE), min_count=0).as_py():
        return None
    try:
        return texts.cast(MOMENT)
    except pa.ArrowException:
        pass  # zones, and other spellings of ISO 8601
    try:
        return pa.array([None if v is None else moment(v) for v in texts.to_pylist()], MOMENT)
    except _ARROW_ERRORS:
        return None


def moment(value: Any) -> dt.datetime:
    """A date, time or ISO text as a datetime in UTC without a zone; ValueError for others."""
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value.strip())
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    offset = value.utcoffset()
    return value if offset is None else value.replace(tzinfo=None) - offset


def text(value: Any) -> str:
    """A value of any kind as text; lists and objects as JSON."""
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def _whole(value: Any) -> int:
    number = int(value)
    if number != value and not isinstance(value, str):
        raise ValueError("a fraction")
    return number


def _number(value: Any) -> float:
    return value.total_seconds() if isinstance(value, dt.timedelta) else float(value)


def _clock(value: Any) -> dt.time:
    if isinstance(value, dt.timedelta):  # MySQL
        return (dt.datetime.min + value).time()
    value = dt.time.fromisoformat(value) if isinstance(value, str) else value
    return dt.time(value.hour, value.minute, value.second, value.microsecond)


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind):
        return _whole
    if pa.types.is_floating(kind):
        return _number
    if pa.types.is_decimal(kind):
        return Decimal
    if pa.types.is_timestamp(kind):
        return moment
    if pa.types.is_time(kind):
        return _clock
    return bytes if pa.types.is_binary(kind) else text
