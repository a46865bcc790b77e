"""SQLite files. Their columns hold values of any type, so types are read off all of the values.

Texts that are dates throughout become times, as do whole numbers in a column that is declared as
one (seconds or milliseconds since 1970).
"""

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from plurel.errors import InputError
from plurel.export_keys import quoted
from rt.importing.tables import BATCH_ROWS, MOMENT, Column, Reference, SourceTable
from rt.importing.values import moments, to_array

_LEFT_OUT = {"view": "a view", "virtual": "a virtual table", "shadow": "part of a virtual table"}
_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
_SECONDS, _MILLISECONDS = (10**8, 10**10), (10**11, 10**13)
_FACTS = (
    "count({c})",
    "count(*) FILTER (WHERE typeof({c}) = 'integer')",
    "count(*) FILTER (WHERE typeof({c}) = 'real')",
    "count(*) FILTER (WHERE typeof({c}) = 'text')",
    f"count(*) FILTER (WHERE typeof({{c}}) = 'text' AND {{c}} GLOB '{_DATE}' "
    "AND julianday({c}) IS NOT NULL)",
    "min({c})",
    "max({c})",
)


@dataclass(frozen=True)
class _Facts:
    """What a column holds: numbers of values by type, and the extremes."""

    given: int
    whole: int
    real: int
    text: int
    dates: int
    low: Any
    high: Any


class SqliteSource:
    """A SQLite file, opened read-only. named: views that are wanted, whose values are looked at."""

    def __init__(self, path: Path, named: Collection[str] = ()) -> None:
        self.label = str(path)
        self._named = named
        self._scale: dict[tuple[str, str], int] = {}
        self._connection = sqlite3.connect(f"file:{_escaped(path)}?mode=ro", uri=True)
        # bytes that are no UTF-8 must not end the import
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            self._ask("SELECT count(*) FROM sqlite_master")
        except InputError:
            self._connection.close()
            raise

    def tables(self) -> list[SourceTable]:
        rows = self._ask("SELECT name, type FROM pragma_table_list WHERE schema = 'main'")
        kinds = {name: kind for name, kind in rows if not name.startswith("sqlite_")}
        order = [row[0] for row in self._ask("SELECT name FROM sqlite_master ORDER BY rowid")]
        names = sorted(kinds, key=order.index)
        return [self._table(name, _LEFT_OUT.get(kinds[name], ""), names) for name in names]

    def _table(self, name: str, left_out: str, names: list[str]) -> SourceTable:
        # hidden columns of virtual tables have 1; generated ones 2 or 3
        info = [row for row in self._ask(f"PRAGMA table_xinfo({quoted(name)})") if row[6] != 1]
        if left_out and name not in self._named:
            columns = tuple(Column(row[1], pa.string()) for row in info)
            return SourceTable(name, columns, left_out=left_out)
        facts, num_rows = self._facts(name, [row[1] for row in info])
        columns = tuple(
            self._column(name, row[1], row[2].upper(), fact)
            for row, fact in zip(info, facts, strict=True)
        )
        keyed = sorted((row[5], row[1]) for row in info if row[5])
        primary = tuple(column for _, column in keyed)
        return SourceTable(
            name, columns, primary, tuple(self._references(name, names)), num_rows, left_out
        )

    def _references(self, name: str, names: list[str]) -> Iterator[Reference]:
        lowered = {other.lower(): other for other in names}
        keys: dict[int, list[Any]] = {}
        for row in self._ask(f"PRAGMA foreign_key_list({quoted(name)})"):
            keys.setdefault(row[0], []).append(row)
        for _, rows in sorted(keys.items(), reverse=True):  # SQLite counts from the last one
            rows.sort(key=lambda row: row[1])
            mine = self._ask(f"PRAGMA table_xinfo({quoted(name)})")
            own_spelled = {row[1].lower(): row[1] for row in mine}
            columns = tuple(own_spelled[row[3].lower()] for row in rows)
            # SQLite takes references to tables and columns that are not there
            given = [str(row[4]) for row in rows if row[4] is not None]
            parent = lowered.get(rows[0][2].lower())
            if parent is None:
                yield Reference(columns, rows[0][2], tuple(given), missing=True)
                continue
            info = self._ask(f"PRAGMA table_xinfo({quoted(parent)})")
            own = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
            spelled = {row[1].lower(): row[1] for row in info}
            named = [spelled.get(column.lower(), column) for column in given]
            yield Reference(columns, parent, tuple(named or own))

    def _facts(self, name: str, columns: list[str]) -> tuple[list[_Facts], int]:
        """One pass over the table for many columns at a time."""
        facts, num_rows = [], 0
        for start in range(0, len(columns), 100):  # SQLite has a limit of 2,000 results
            some = columns[start : start + 100]
            asked = [fact.format(c=quoted(column)) for column in some for fact in _FACTS]
            sql = f"SELECT count(*), {', '.join(asked)} FROM {quoted(name)}"
            num_rows, *found = self._ask(sql)[0]
            width = len(_FACTS)
            facts += [_Facts(*found[i : i + width]) for i in range(0, len(found), width)]
        return facts, num_rows

    def _column(self, table: str, name: str, declared: str, fact: _Facts) -> Column:
        timed = "DATE" in declared or "TIME" in declared
        if fact.given == 0:
            return Column(name, _empty_type(declared, timed))
        if fact.whole == fact.given:
            if "BOOL" in declared and fact.low in (0, 1) and fact.high in (0, 1):
                return Column(name, pa.bool_())
            for (low, high), scale in ((_SECONDS, 10**6), (_MILLISECONDS, 10**3)):
                if timed and low <= fact.low and fact.high < high:
                    self._scale[table, name] = scale
                    return Column(name, MOMENT, "counts since 1970 became times")
            return Column(name, pa.int64())
        if fact.whole + fact.real == fact.given:
            return Column(name, pa.float64())
        if fact.text == fact.given:
            if fact.dates == fact.given:
                return Column(name, MOMENT)
            note = "not all are dates: text" if timed else ""
            return Column(name, pa.string(), note)
        if fact.whole + fact.real + fact.text == 0:
            return Column(name, pa.binary())
        return Column(name, pa.string(), "several types in one column became text")

    def batches(self, table: SourceTable) -> Iterator[pa.RecordBatch]:
        columns = ", ".join(quoted(column) for column in table.names)
        where = f"{self.label}: table {table.name}"
        try:
            cursor = self._connection.execute(f"SELECT {columns} FROM {quoted(table.name)}")
            while rows := cursor.fetchmany(BATCH_ROWS):
                arrays = [
                    self._array(values, column, table.name, where)
                    for values, column in zip(zip(*rows, strict=True), table.columns, strict=True)
                ]
                yield pa.record_batch(arrays, [f"c{i}" for i in range(len(arrays))])
        except sqlite3.Error as error:
            raise InputError(f"{where}: {error}") from None

    def _array(self, values: tuple[Any, ...], column: Column, table: str, where: str) -> pa.Array:
        scale = self._scale.get((table, column.name))
        if scale is not None:
            return pc.multiply(pa.array(values, pa.int64()), scale).cast(MOMENT)
        if column.type == MOMENT:
            found = moments(pa.array(values, pa.string()))
            if found is not None:
                return found
        return to_array(values, column, where)

    def _ask(self, sql: str) -> list[Any]:
        try:
            return self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{self.label}: {error}; is it a SQLite file?") from None

    def close(self) -> None:
        self._connection.close()


def _empty_type(declared: str, timed: bool) -> pa.DataType:
    """The type of a column without values, by SQLite's own rules for declared types."""
    if timed:
        return MOMENT
    if "INT" in declared:
        return pa.int64()
    numeric = ("REAL", "FLOA", "DOUB", "NUM", "DEC")
    return pa.float64() if any(word in declared for word in numeric) else pa.string()


def _escaped(path: Path) -> str:
    """A path as it stands in SQLite's URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
