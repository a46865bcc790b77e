"""Filters of forecasts: SQL conditions on the columns of one table, checked."""

import re
from collections.abc import Collection

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from plurel.errors import InputError
from plurel.export_keys import quoted
from plurel.nearest import instead

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
"""What underlines text on a terminal."""
_OF_A_FILTER = ("kind", "expressions", "where")


def check_filter(condition: str, table: str, columns: Collection[str]) -> None:
    """InputError unless this is an SQL condition on columns of the table alone."""
    try:
        words = sqlglot.tokenize(condition, dialect="duckdb")
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {condition}", dialect="duckdb")
        duckdb.extract_statements(f"SELECT 1 WHERE {condition}")
    except (SqlglotError, duckdb.Error) as error:
        reason = " ".join(_ANSI.sub("", str(error)).split())[:120]
        hint = _quotes(condition, columns)
        raise InputError(f"the filter {condition!r} is not SQL ({reason}){hint}") from None
    if any(word.comments or word.token_type.name == "SEMICOLON" for word in words):
        raise InputError(f"the filter {condition!r} must be one condition, without comments")
    if not isinstance(tree, exp.Select) or len(list(tree.find_all(exp.Select))) > 1:
        raise InputError(f"the filter {condition!r} may use columns of {table!r}, no other SELECT")
    more = [name for name, part in tree.args.items() if part and name not in _OF_A_FILTER]
    if more:  # LIMIT, GROUP BY and the like would change more than which rows there are
        raise InputError(f"the filter {condition!r} must be a condition alone, without {more[0]}")
    for column in tree.find_all(exp.Column):
        if column.table and column.table != table:
            raise InputError(
                f"the filter {condition!r} names {column.table}.{column.name}: only columns of "
                f"{table!r} are there"
            )
        if column.name.lower() not in {name.lower() for name in columns}:
            hint = instead(column.name, columns)
            raise InputError(f"table {table!r} has no column {column.name!r}{hint}")


def _quotes(condition: str, columns: Collection[str]) -> str:
    """Advice for names of columns that SQL reads as words of its own; "" for none."""
    for name in columns:
        if not re.search(rf'(?<![\w"\']){re.escape(name)}(?![\w"\'])', condition, re.IGNORECASE):
            continue
        try:
            duckdb.extract_statements(f"SELECT 1 WHERE {name} = 1")
        except duckdb.Error:
            return f": write {quoted(name)}, in double quotes, since it means something else in SQL"
    return ""
