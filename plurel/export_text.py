"""Batches of rows as text: literals for INSERT, PostgreSQL's COPY format, CSV, and Python values.

Columns are rendered whole by Arrow; only binary columns go through Python.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from plurel.errors import InputError
from plurel.export_ddl import Dialect
from plurel.export_source import SourceTable

_COPY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_STATEMENT_ROWS = 500
_STATEMENT_CHARACTERS = 1 << 18


def python_columns(batch: pa.RecordBatch) -> list[list[Any]]:
    """Values for sqlite3: booleans as 0 and 1, times and decimals as text."""
    return [_plain_times(column).to_pylist() for column in batch.columns]


def insert_statements(
    batch: pa.RecordBatch, table: SourceTable, into: str, dialect: Dialect
) -> Iterator[str]:
    """INSERT statements of up to 500 rows. into: the table's name and columns as SQL.

    Raises InputError for texts with NUL, which SQL can't write.
    """
    refuse_nul(batch, table)
    columns = [_literals(column, dialect) for column in batch.columns]
    rows = _joined(columns, ", ").to_pylist()
    chosen: list[str] = []
    size = 0
    for row in rows:
        chosen.append(f"({row})")
        size += len(row)
        if len(chosen) == _STATEMENT_ROWS or size > _STATEMENT_CHARACTERS:
            yield _insert(into, chosen)
            chosen, size = [], 0
    if chosen:
        yield _insert(into, chosen)


def copy_rows(batch: pa.RecordBatch, table: SourceTable) -> bytes:
    """The rows in the text format of PostgreSQL's COPY ... FROM STDIN."""
    refuse_nul(batch, table)
    columns = [pc.fill_null(_copied(column), "\\N") for column in batch.columns]
    rows = _joined(columns, "\t").to_pylist()
    return "".join(f"{row}\n" for row in rows).encode()


def csv_batch(batch: pa.RecordBatch, table: SourceTable, dialect: Dialect) -> pa.RecordBatch:
    """The batch with what Arrow's CSV writer can't write as the database reads it as text."""
    refuse_nul(batch, table)
    columns = []
    for column in batch.columns:
        if pa.types.is_large_binary(column.type):
            column = _mapped(column, _BINARY_TEXT[dialect])
        elif pa.types.is_decimal(column.type):
            column = column.cast(pa.string())
        columns.append(column)
    return pa.record_batch(columns, names=batch.schema.names)


def refuse_nul(batch: pa.RecordBatch, table: SourceTable) -> None:
    """InputError if a text holds the character NUL."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = pa.types.is_large_string(column.type)
        if texts and pc.any(pc.match_substring(column, "\0")).as_py():
            raise InputError(
                f"{table.path}: column '{name}' of table '{table.name}' holds the character NUL, "
                "which SQL text can't carry; remove it"
            )


def _insert(into: str, rows: list[str]) -> str:
    return f"INSERT INTO {into} VALUES\n" + ",\n".join(rows) + ";\n"


def _plain_times(column: pa.Array) -> pa.Array:
    """Dates, times, timestamps and decimals as text, booleans as numbers; others as they are."""
    kind, test = column.type, pa.types
    if test.is_boolean(kind):
        return column.cast(pa.int8())
    if test.is_timestamp(kind) and kind.tz:
        return pc.replace_substring_regex(column.cast(pa.large_string()), "Z$", "+00:00")
    if test.is_temporal(kind) or test.is_decimal(kind):
        return column.cast(pa.large_string())
    return column


def _literals(column: pa.Array, dialect: Dialect) -> pa.Array:
    """SQL literals, never null."""
    kind, test = column.type, pa.types
    if test.is_boolean(kind):
        text = pc.if_else(column, "TRUE", "FALSE")
    elif test.is_integer(kind):
        text = column.cast(pa.large_string())
    elif test.is_floating(kind):
        text = _float_literals(column, dialect)
    elif test.is_large_binary(kind):
        text = _mapped(column, _BINARY_LITERALS[dialect])
    else:
        text = pc.replace_substring(_plain_times(column).cast(pa.large_string()), "'", "''")
        # a shell that reads line by line would drop it
        function = "char" if dialect == "sqlite" else "chr"
        text = pc.replace_substring(text, "\r", f"' || {function}(13) || '")
        text = _joined(["'", text, "'"])
    return pc.fill_null(text.cast(pa.large_string()), "NULL")


def _float_literals(column: pa.Array, dialect: Dialect) -> pa.Array:
    """Shortest digits that give the same number again; an exponent keeps them from being taken for
    decimals. SQLite has no word for infinity, but a number beyond its range is."""
    text = column.cast(pa.large_string())
    text = pc.if_else(pc.match_substring(text, "e"), text, _joined([text, "e0"]))
    words = ("9e999", "-9e999") if dialect == "sqlite" else ("'infinity'", "'-infinity'")
    above, below = (pa.scalar(word, pa.large_string()) for word in words)
    return pc.if_else(pc.is_inf(column), pc.if_else(pc.greater(column, 0), above, below), text)


def _joined(parts: Sequence[pa.Array | str], separator: str = "") -> pa.Array:
    """Element by element the parts in one text; null where one is null."""
    texts = [pa.scalar(p, pa.large_string()) if isinstance(p, str) else p for p in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar(separator, pa.large_string()))


def _copied(column: pa.Array) -> pa.Array:
    if pa.types.is_large_binary(column.type):
        column = _mapped(column, _BINARY_TEXT["postgresql"])
    text = _plain_times(column).cast(pa.large_string())
    if pa.types.is_large_string(column.type):
        for character, escape in _COPY_ESCAPES.items():
            text = pc.replace_substring(text, character, escape)
    return text


def _mapped(column: pa.Array, render: Callable[[bytes], str]) -> pa.Array:
    values = [None if value is None else render(value) for value in column.to_pylist()]
    return pa.array(values, pa.large_string())


def _hex_text(value: bytes) -> str:
    return f"\\x{value.hex()}"


def _hex_pairs(value: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in value)


_BINARY_TEXT: dict[Dialect, Callable[[bytes], str]] = {
    "sqlite": bytes.hex,
    "duckdb": _hex_pairs,
    "postgresql": _hex_text,
}
_BINARY_LITERALS: dict[Dialect, Callable[[bytes], str]] = {
    "sqlite": lambda value: f"X'{value.hex()}'",
    "duckdb": lambda value: f"'{_hex_pairs(value)}'::BLOB",
    "postgresql": lambda value: f"'{_hex_text(value)}'",
}
