"""A forecast as the SQL of a RelBench task: checked against the tables, columns and keys.

RelBench runs it on DuckDB with a relation timestamps(timestamp) of seed times, every table as a
view, and the window in place of {timedelta} (relbench.manifest.TaskManifest).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from plurel.errors import InputError
from plurel.export_keys import quoted
from plurel.manifest import TableKeys
from plurel.nearest import nearest
from rt.defining.filters import check_filter
from rt.defining.language import Aggregate, Forecast, duration
from rt.defining.source_keys import Numbered, by_rows

Kind = Literal["number", "boolean", "text", "time"]
TaskType = Literal["binary_classification", "regression", "multiclass_classification"]
ALWAYS = ("count", "exists", "distinct", "sum")
"""Aggregates of no rows at all that have a value; of the others a label needs a row."""
NUMERIC = ("sum", "mean", "min", "max")
SEED_TIMES = "timestamps"
"""What RelBench calls the relation of seed times."""


@dataclass(frozen=True)
class DatabaseColumns:
    """keys: of each table; columns: of each table the columns and what their values are; numbered:
    of each table the keys that an import numbered anew, of which filters name those of the source.
    """

    keys: Mapping[str, TableKeys]
    columns: Mapping[str, Mapping[str, Kind]]
    numbered: Mapping[str, Numbered] = field(default_factory=dict)

    def table(self, name: str) -> str:
        """The table of this name; InputError if there is none."""
        if name not in self.columns:
            raise InputError(f"there is no table {name!r}{_near(name, self.columns)}")
        return name

    def check_names(self) -> None:
        """InputError for a table that would hide the seed times from SQL."""
        for name in self.columns:
            if name.lower() == SEED_TIMES:
                raise InputError(
                    f"the table {name!r} has the name that forecasts need for their seed times: "
                    "rename it in the database"
                )

    def column(self, table: str, name: str) -> Kind:
        """What the values of a column are; InputError if there is none."""
        columns = self.columns[self.table(table)]
        if name not in columns:
            raise InputError(f"table {table!r} has no column {name!r}{_near(name, columns)}")
        return columns[name]


@dataclass(frozen=True)
class Labels:
    """SQL that makes labels, and the names and type of what it gives."""

    sql: str
    entity_column: str
    time_column: str
    target_column: str
    task_type: TaskType


def forecast_labels(forecast: Forecast, database: DatabaseColumns) -> Labels:
    """The SQL of a forecast. Raises InputError for what the database does not have, for a way from
    the events to the entity that is missing or not the only one, and for events without a time."""
    entity = database.table(forecast.entity)
    database.check_names()
    key = database.keys[entity].primary_key
    if key is None:
        raise InputError(f"table {entity!r} has no primary key: forecasts need one")
    value, task_type = _value(forecast.target, database)
    time, target = _free("timestamp", key), _free("target", key)
    target_events = _events(forecast.target, entity, database)
    conditions = [*_existing(entity, database), *_condition(forecast, entity, database)]
    lines = [
        f"SELECT t.timestamp AS {quoted(time)}, e.{quoted(key)} AS {quoted(key)},",
        f"  {value} AS {quoted(target)}",
        "FROM timestamps t",
        f"CROSS JOIN {_filtered(entity, forecast.filter, database)} e",
        f"LEFT JOIN ({target_events}) v ON v.entity = e.{quoted(key)}",
        "  AND v.at > t.timestamp AND v.at <= t.timestamp + INTERVAL '{timedelta}'",
        *(["WHERE " + "\n  AND ".join(conditions)] if conditions else []),
        f"GROUP BY t.timestamp, e.{quoted(key)}",
    ]
    if forecast.target.name not in ALWAYS:
        lines.append("HAVING COUNT(v.value) > 0")
    return Labels("\n".join(lines), key, time, target, task_type)


def paths(
    table: str, entity: str, database: DatabaseColumns, longest: int = 4
) -> Iterator[tuple[str, ...]]:
    """Chains of foreign keys that lead from a table to the entity's, the shortest first, each table
    at most once. A table leads to itself by its own keys."""
    chains: list[tuple[tuple[str, ...], str, frozenset[str]]] = [((), table, frozenset({table}))]
    for _ in range(longest):
        longer = []
        for keys, at, seen in chains:
            for column, parent in database.keys[at].foreign_keys.items():
                if parent == entity:
                    yield (*keys, column)
                elif parent not in seen:
                    longer.append(((*keys, column), parent, seen | {parent}))
        chains = longer


def _value(target: Aggregate, database: DatabaseColumns) -> tuple[str, TaskType]:
    """The SQL of a label, and the type of its task."""
    kind, call = "number", f"{target.name}({target.table}.{target.column})"
    if target.column is not None:
        kind = database.column(target.table, target.column)
        keys = database.keys[target.table]
        if target.name != "distinct" and target.column in (keys.primary_key, *keys.foreign_keys):
            raise InputError(
                f"{call}: {target.column} is a key, whose values are no numbers to predict; take "
                f"distinct, or count or exists of {target.table} where {target.column} = ..."
            )
        if target.name in NUMERIC and kind not in ("number", "boolean"):
            raise InputError(
                f"{call}: its values are {kind}s; give a column of numbers, or take first, last or "
                "distinct"
            )
        if target.name in ("first", "last") and kind == "time" and target.comparison is None:
            raise InputError(
                f"{call}: times are not predicted; give a column of numbers, texts or booleans"
            )
    value = _aggregated(target)
    if target.comparison is not None:
        sign, literal = target.comparison
        return f"CAST(({value}) {sign} {literal} AS INTEGER)", "binary_classification"
    if target.name == "exists" or (target.name in ("first", "last") and kind == "boolean"):
        return f"CAST({value} AS INTEGER)", "binary_classification"
    if target.name in ("first", "last") and kind == "text":
        return value, "multiclass_classification"
    return f"CAST({value} AS DOUBLE)", "regression"


def _aggregated(aggregate: Aggregate, events: str = "v") -> str:
    """The SQL of an aggregate over rows of `_events`."""
    value, order = f"{events}.value", f"({events}.at, {events}.tie)"
    return {
        "count": f"COUNT({events}.entity)",
        "exists": f"COUNT({events}.entity) > 0",
        "distinct": f"COUNT(DISTINCT {value})",
        "sum": f"COALESCE(SUM({value}), 0)",
        "mean": f"AVG({value})",
        "min": f"MIN({value})",
        "max": f"MAX({value})",
        "first": f"ARG_MIN({value}, {order})",
        "last": f"ARG_MAX({value}, {order})",
    }[aggregate.name]


def _events(aggregate: Aggregate, entity: str, database: DatabaseColumns) -> str:
    """SELECT entity, at, value, tie: the events of an aggregate; tie tells those of one time
    apart."""
    table = database.table(aggregate.table)
    chain = _chain(aggregate, entity, database)
    tables = [table]
    for column in chain[:-1]:
        tables.append(database.keys[tables[-1]].foreign_keys[column])
    timed = next((n for n, name in enumerate(tables) if database.keys[name].time_column), None)
    if timed is None:
        raise InputError(
            f"{table!r}: neither it nor a table on the way to {entity!r} has a time column, so its "
            "rows are no events"
        )
    at = f"r{timed}.{quoted(str(database.keys[tables[timed]].time_column))}"
    value = "1" if aggregate.column is None else f"r0.{quoted(aggregate.column)}"
    if aggregate.name in NUMERIC and database.column(table, str(aggregate.column)) == "boolean":
        value = f"CAST({value} AS INTEGER)"
    tie = database.keys[table].primary_key
    lines = [
        f"SELECT r{len(chain) - 1}.{quoted(chain[-1])} AS entity, {at} AS at, {value} AS value, "
        + (f"r0.{quoted(tie)} AS tie" if tie else f"{value} AS tie"),
        f"FROM {_filtered(table, aggregate.filter, database)} r0",
    ]
    for number, name in enumerate(tables[1:], start=1):
        key = quoted(str(database.keys[name].primary_key))
        reference = f"r{number - 1}.{quoted(chain[number - 1])}"
        lines.append(f"JOIN {quoted(name)} r{number} ON {reference} = r{number}.{key}")
    return " ".join(lines)


def _chain(aggregate: Aggregate, entity: str, database: DatabaseColumns) -> tuple[str, ...]:
    """The foreign keys from the events to the entity."""
    table = aggregate.table
    if not aggregate.via:
        found = list(paths(table, entity, database))
        shortest = [chain for chain in found if len(chain) == len(found[0])]
        if not found:
            raise InputError(
                f"no foreign keys lead from {table!r} to {entity!r}: count rows that reference it"
            )
        if len(shortest) > 1:
            ways = " or ".join(f"via {'.'.join(chain)}" for chain in shortest)
            raise InputError(
                f"{len(shortest)} ways lead from {table!r} to {entity!r}: write {table} {ways}"
            )
        return found[0]
    at = table
    for column in aggregate.via:
        keys = database.keys[at].foreign_keys
        if column not in keys:
            raise InputError(f"via: {column!r} is no foreign key of {at!r}{_near(column, keys)}")
        at = keys[column]
    if at != entity:
        raise InputError(
            f"via {'.'.join(aggregate.via)} leads from {table!r} to {at!r}, not to {entity!r}"
        )
    return aggregate.via


def _filtered(table: str, condition: str, database: DatabaseColumns) -> str:
    """A table, or its rows that pass the filter."""
    if not condition:
        return quoted(table)
    check_filter(condition, table, database.columns[table])
    rows = by_rows(condition, table, database.numbered.get(table, {}))
    return f"(SELECT * FROM {quoted(table)} WHERE {rows})"


def _existing(entity: str, database: DatabaseColumns) -> list[str]:
    """That the entity is there at the seed time, where its table has times. Not if its own is
    null: RelBench has such rows for test labels alone, so that they would be of test only."""
    time = database.keys[entity].time_column
    return [f"e.{quoted(time)} <= t.timestamp"] if time else []


def _condition(forecast: Forecast, entity: str, database: DatabaseColumns) -> list[str]:
    """What must hold of the entity's past."""
    condition = forecast.condition
    if condition is None:
        return []
    if condition.name != "exists" and condition.comparison is None:
        raise InputError(
            f"if {condition.name}(...): compare it with a value, such as {condition.name}(...) > 0"
        )
    _value(condition, database)
    sign, literal = condition.comparison or ("=", "TRUE")
    key = quoted(str(database.keys[entity].primary_key))
    return [
        f"(SELECT {_aggregated(condition, 'p')} FROM ({_events(condition, entity, database)}) p "
        f"WHERE p.entity = e.{key} AND p.at <= t.timestamp "
        f"AND p.at > t.timestamp - INTERVAL '{duration(condition.seconds)}') {sign} {literal}"
    ]


def _free(name: str, taken: str) -> str:
    """A name that SQL, to which upper case is lower case, does not take for the other one."""
    return name if name.lower() != taken.lower() else f"{name}_"


def _near(name: str, known: Mapping[str, object]) -> str:
    near = nearest(name, known)
    if near is not None:
        return f": did you mean {near!r}?"
    return f": choose one of {', '.join(known) or 'none'}"
