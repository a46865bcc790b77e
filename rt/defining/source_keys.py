"""Filters on keys that an import numbered anew: they mean the keys of the source.

An import (`rt.importing`) numbers the rows of each table in the order of their times, references
with them, and keeps what the rows were called in `keys/<table>.parquet`. Labels are made by SQL
over the folder alone: so a comparison of such a column with values is looked up in that file when a
task is defined, and its SQL names the numbers of the rows that it holds of.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import sqlglot
from numpy.typing import NDArray
from sqlglot import exp
from sqlglot.errors import SqlglotError

from plurel.errors import InputError
from plurel.manifest import PROVENANCE, TableKeys, read_yaml
from rt.importing.duck import connect, line, text_literal
from rt.importing.layout import identifier, table_names
from rt.importing.names import KEYS, PLAN
from rt.importing.plan import Plan
from rt.importing.plan_yaml import read_plan

_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Like,
             exp.ILike)  # fmt: skip
"""Comparisons of a key with values that are looked up; none is true of a null."""
_MOST = 10_000
"""Numbers, or spans of them, beyond which a filter is no longer written out."""


@dataclass(frozen=True)
class NumberedKey:
    """A column whose values are numbers that the import gave to rows of `table`, in the place of
    the columns `parts` of the source. kept: the file of these, in the order of the rows; None where
    they are not there."""

    table: str
    parts: tuple[str, ...]
    kept: Path | None


Numbered = Mapping[str, NumberedKey]
"""Of one table: by the column's name in small letters, as SQL reads it."""


def numbered_keys(folder: Path, tables: Mapping[str, TableKeys]) -> dict[str, Numbered]:
    """Per table of a RelBench folder the keys that an import numbered anew: none where the source
    had the same numbers, nor in a folder that was made otherwise."""
    elsewhere = _elsewhere(folder)
    kept = {name: folder / KEYS / f"{name}.parquet" for name in tables}
    keys = {
        name: NumberedKey(name, tuple(pq.read_schema(file).names), file)
        for name, file in kept.items()
        if file.is_file()
    }
    found: dict[str, Numbered] = {}
    for name, table in tables.items():
        own = {table.primary_key: name} if table.primary_key else {}
        numbered = {}
        for column, parent in {**table.foreign_keys, **own}.items():
            to = next(
                (to for start, to in elsewhere.get((name, parent), {}).items()
                 if column.lower().startswith(start)), None,
            )  # fmt: skip
            if to is not None:
                numbered[column.lower()] = NumberedKey(parent, to, None)
            elif parent in keys:
                numbered[column.lower()] = keys[parent]
        found[name] = numbered
    return found


def _elsewhere(folder: Path) -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
    """Per table and parent the references to columns that are not the parent's primary key, whose
    values are not kept: how the column's name begins in the folder, and those columns."""
    made_by = folder / PROVENANCE
    if not made_by.is_file() or "import" not in read_yaml(made_by) or not (folder / PLAN).is_file():
        return {}
    plan: Plan = read_plan(folder / PLAN)
    names, found = table_names(plan), dict[tuple[str, str], dict[str, tuple[str, ...]]]()
    for name, key in plan.references():
        parent = plan.tables.get(key.references)
        if parent is None or not key.accept or not key.to or key.to == parent.primary_key:
            continue
        start = key.columns[0] if len(key.columns) == 1 else f"{key.references}_key"
        place = names[name], names[key.references]
        found.setdefault(place, {})[identifier(start).lower()] = key.to
    return found


def by_rows(condition: str, table: str, numbered: Numbered) -> str:
    """A filter of a table with numbers of rows in the place of keys of the source; as it stands
    where it names none. Raises InputError for keys that are not there or can't be looked up."""
    tree = sqlglot.parse_one(f"SELECT 1 WHERE {condition}", dialect="duckdb")
    where, changed = tree.find(exp.Where), False
    assert where is not None
    for part in list(_parts(where.this)):
        columns = [c for c in part.find_all(exp.Column) if c.name.lower() in numbered]
        if not columns or _is_about_rows(part, columns, numbered):
            continue
        name = f"{table}.{columns[0].name}"
        try:
            part.replace(_looked_up(part, columns[0], numbered[columns[0].name.lower()], name))
        except InputError as error:
            raise InputError(f"the filter {condition!r}: {error}") from None
        changed = True
    return where.this.sql(dialect="duckdb") if changed else condition


def compared_keys(sql: str, numbered: Mapping[str, Numbered]) -> list[str]:
    """The names of numbered keys that a query compares with values, as far as can be seen."""
    names = {name for keys in numbered.values() for name in keys}
    if not names or not sql:
        return []
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:  # DuckDB knows more SQL
        return []
    found = [
        column.name
        for part in tree.find_all(*_COMPARED)
        if not isinstance(part, exp.Like | exp.ILike) and part.find(exp.Literal)
        for column in _sides(part)
        if column.name.lower() in names
    ]
    return list(dict.fromkeys(found))


def _parts(condition: exp.Expr) -> Iterator[exp.Expr]:
    """What `and`, `or`, `not` and parentheses put together."""
    if isinstance(condition, exp.And | exp.Or | exp.Not | exp.Paren):
        for side in (condition.this, condition.args.get("expression")):
            if side is not None:
                yield from _parts(side)
    else:
        yield condition


def _sides(part: exp.Expr) -> list[exp.Column]:
    """The columns that stand by themselves on a side of a comparison."""
    sides = (part.this, part.args.get("expression"))
    return [side for side in sides if isinstance(side, exp.Column)]


def _is_about_rows(part: exp.Expr, columns: list[exp.Column], numbered: Numbered) -> bool:
    """Whether numbers of rows say the same as keys: null or not, the same row or another one."""
    if isinstance(part, exp.Is):
        return isinstance(part.expression, exp.Null)
    tables = {numbered[column.name.lower()].table for column in columns}
    same = isinstance(part, exp.EQ | exp.NEQ) and len(_sides(part)) == len(columns) == 2
    return same and len(tables) == 1


def _looked_up(part: exp.Expr, column: exp.Column, key: NumberedKey, name: str) -> exp.Expr:
    """The comparison of a key with values as one of numbers of rows."""
    if key.kept is None or len(key.parts) != 1:
        raise InputError(
            f"{name} holds numbers that the import gave to rows of {key.table}, in the place of "
            f"{', '.join(key.parts)}: filter by other columns"
        )
    lone = _sides(part) == [column] == list(part.find_all(exp.Column))
    if not isinstance(part, _COMPARED) or not lone:
        raise InputError(
            f"{name} holds numbers that the import gave to the keys of {key.table}: only a "
            f"comparison with values is looked up, such as {column.name} = {_example(key)}"
        )
    asked = part.copy()
    for place in asked.find_all(exp.Column):
        place.replace(exp.column(key.parts[0], quoted=True))
    rows = _rows(asked.sql(dialect="duckdb"), key)
    if not len(rows):
        raise InputError(
            f"no row of {key.table} has that key in the source, where one is {_example(key)}"
        )
    made = sqlglot.parse_one(_spans(column.sql(dialect="duckdb"), rows, name), dialect="duckdb")
    made.add_comments([part.sql(dialect="duckdb")])
    return made


def _rows(condition: str, key: NumberedKey) -> NDArray[np.int64]:
    """The rows whose keys meet a condition, rising."""
    rows = f"read_parquet({text_literal(key.kept)}, file_row_number = true)"
    connection = connect()
    try:
        found = connection.execute(
            f"SELECT file_row_number FROM {rows} WHERE {condition} ORDER BY 1"
        ).fetchnumpy()["file_row_number"]
    except duckdb.Error as error:
        raise InputError(
            f"{line(error)}; a key of {key.table} in the source is such as {_example(key)}"
        ) from None
    finally:
        connection.close()
    return np.asarray(found, np.int64)


def _example(key: NumberedKey) -> str:
    """A key of the source as it stands in SQL."""
    if key.kept is None or len(key.parts) != 1:
        return "..."
    (first,) = pq.read_table(key.kept)[0].slice(0, 1).to_pylist() or [0]
    return str(first) if isinstance(first, int) else text_literal(first)


def _spans(column: str, rows: NDArray[np.int64], name: str) -> str:
    """That a column is one of these numbers, in parentheses."""
    spans = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    if len(spans) > _MOST:
        raise InputError(
            f"{name}: {len(rows):,} keys of the source meet it, here and there in the order of "
            "rows, which is too much to write out: filter by another column"
        )
    single = [str(span[0]) for span in spans if len(span) == 1]
    found = [f"{column} IN ({', '.join(single)})"] if single else []
    found += [f"{column} BETWEEN {span[0]} AND {span[-1]}" for span in spans if len(span) > 1]
    return f"({' OR '.join(found)})"
