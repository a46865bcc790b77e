"""How a table of the source becomes one of the folder: names, numbers for keys, order of rows.

RelBench numbers primary keys 0..n-1 in the order of rows, and writes names of columns into queries
and expressions; so every name becomes an identifier here.
"""

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from rt.importing.names import ORIGINAL
from rt.importing.plan import KeyPlan, Plan, TablePlan
from rt.importing.staging import Staging
from rt.importing.tables import MOMENT

SURROGATE = "primary_key"
"""The name that RelBench itself gives to numbers of rows."""
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{24,}")


@dataclass(frozen=True)
class Output:
    """A column of the folder. sql: its value, of the row `s`, of a referenced one `m0`, `m1`, or of
    the order of rows, `o`; None: the number of the row."""

    name: str
    type: pa.DataType
    sql: str | None


@dataclass(frozen=True)
class Link:
    """A foreign key as it is resolved: its column in the folder, and where it leads."""

    output: str
    key: KeyPlan


@dataclass(frozen=True)
class TableLayout:
    """One table of the folder. `source` is its name in the source; time: None or a column; renamed:
    the names of columns that had to change, by their old names; dropped: a key whose values were
    not kept as a column, or ""; named_by: the columns of the source's primary key, whose place a
    number takes."""

    source: str
    name: str
    primary_key: str | None
    time: str | None
    outputs: tuple[Output, ...]
    links: tuple[Link, ...]
    renamed: dict[str, str]
    dropped: str
    named_by: tuple[str, ...]


class _Names:
    """Names of one kind that are identifiers and differ without regard to case."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in reserved}

    def take(self, wanted: str, *, column: bool = True) -> str:
        base = identifier(wanted)
        if column and keyword.iskeyword(base):  # RelBench reads Python expressions over columns
            base += "_"
        name, number = base, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name.lower())
        return name


def identifier(name: str) -> str:
    """The name as one that needs no quotes."""
    made = re.sub(r"\W+", "_", name.strip()) or "column"
    return made if made.isidentifier() else f"_{made}"


def table_names(plan: Plan) -> dict[str, str]:
    """The name in the folder of each table."""
    names = _Names()
    return {name: names.take(name, column=False) for name in plan.tables}


def lay_out(plan: Plan, name: str, staging: Staging) -> TableLayout:
    """The columns of a table whose plan has been checked."""
    return _Layout(plan, name, staging).made()


class _Layout:
    """Collects the columns of one table, in the order of the source's."""

    def __init__(self, plan: Plan, name: str, staging: Staging) -> None:
        self._plan, self._name, self._staging = plan, name, staging
        self._table: TablePlan = plan.tables[name]
        self._names = _Names()
        self._outputs: list[Output] = []
        self._links: list[Link] = []
        self._renamed: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._dropped = ""
        self._primary: str | None = None
        self._time: str | None = None

    def made(self) -> TableLayout:
        own = self._own_key()
        # names of the source come first: what is added here makes way
        kept = [c for c in self._staging.tables[self._name].names if c not in self._table.leave_out]
        names = {column: self._names.take(column) for column in kept}
        self._renamed = {old: new for old, new in names.items() if old != new}
        if own is None and self._needs_key():
            self._primary = self._names.take(SURROGATE)
            self._outputs.append(Output(self._primary, pa.int64(), None))
        for column in kept:
            self._add(column, names[column], own)
        for key in self._table.foreign_keys:
            if len(key.columns) > 1:
                self._link(key, self._names.take(f"{key.references}_key"))
        self._add_time(names)
        return TableLayout(
            self._name,
            table_names(self._plan)[self._name],
            self._primary,
            self._time,
            tuple(self._outputs),
            tuple(self._links),
            self._renamed,
            self._dropped,
            self._table.primary_key,
        )

    def _own_key(self) -> str | None:
        """The column that becomes the number of the row: a single one that references nothing."""
        key = self._table.primary_key
        referencing = any(other.columns == key for other in self._table.foreign_keys)
        return key[0] if len(key) == 1 and not referencing else None

    def _needs_key(self) -> bool:
        referenced = any(key.references == self._name for _, key in self._plan.references())
        return bool(self._table.primary_key) or referenced

    def _add(self, column: str, name: str, own: str | None) -> None:
        place = self._staging.columns(self._name, [column])[0]
        kind = self._staging.type(self._name, column)
        value = Output(name, _written(kind), f"s.{place}")
        if column == own:
            self._primary = name
            self._outputs.append(Output(name, pa.int64(), None))
            if self._keeps(column, kind) or column == self._table.time_column:
                kept = self._names.take(f"{column}{ORIGINAL}")
                self._outputs.append(Output(kept, value.type, value.sql))
                self._kept[column] = kept
            else:
                self._dropped = column
            return
        keys = [key for key in self._table.foreign_keys if key.columns == (column,)]
        for i, key in enumerate(keys):
            self._link(key, name if not i else self._names.take(f"{column}_{key.references}"))
        if not keys and (self._keeps(column, kind) or not self._names_a_row(self._name, column)):
            self._outputs.append(value)

    def _names_a_row(self, table: str, column: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a column's values are keys of single rows, as those of an order's number in a
        part of one of its lines: followed through the references of several columns."""
        plan = self._plan.tables[table]
        if plan.primary_key == (column,):
            return True
        if any(key.columns == (column,) for key in plan.foreign_keys):
            return True
        return any(
            self._names_a_row(key.references, key.to[key.columns.index(column)], seen | {table})
            for key in plan.foreign_keys
            if column in key.columns and key.references not in seen | {table}
        )

    def _link(self, key: KeyPlan, name: str) -> None:
        self._outputs.append(Output(name, pa.int64(), f"m{len(self._links)}.row"))
        self._links.append(Link(name, key))

    def _keeps(self, column: str, kind: pa.DataType) -> bool:
        """Whether a key's values stay: as the plan says, else texts that are no random numbers."""
        if self._table.keep_key is not None:
            return self._table.keep_key
        if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return False
        table = self._staging.tables[self._name]
        _, low, high = self._staging.facts(self._name)[table.position(column)]
        return not all(isinstance(end, str) and _UUID.fullmatch(end) for end in (low, high))

    def _add_time(self, names: dict[str, str]) -> None:
        if not self._staging.num_rows[self._name]:
            return  # RelBench can't tell the time of a table without rows
        if self._table.time_column is not None:
            # a key that is the time as well: its number is none
            self._time = self._kept.get(self._table.time_column, names[self._table.time_column])
        elif self._table.time_from:
            self._time = self._names.take(_time_name(self._plan, self._name))
            self._outputs.append(Output(self._time, MOMENT, "o.time"))


def _time_name(plan: Plan, name: str) -> str:
    """The name of the time column that a table takes its times from, of several the first."""
    table = plan.tables[name]
    if table.time_column is not None:
        return table.time_column
    return _time_name(plan, plan.time_sources(name)[0].references)


def _written(kind: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_decimal(kind) else kind
