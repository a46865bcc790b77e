"""Tasks by a few lines of YAML, or by the same in Python, as RelBench's task manifests.

    churn:                                   # a forecast in a line (rt.defining.language)
      predict: count(orders, 30 days) = 0 for customers if exists(orders, past 90 days)
    late:                                    # a column to complete
      complete: orders.late
      hide: [orders.delivered_at, reviews.text]
    refunds:                                 # a forecast by SQL over timestamps(timestamp)
      sql: SELECT t.timestamp AS time, ... INTERVAL '{timedelta}' ...
      entity: customers
      columns: {time: time, entity: customer, target: refunds}
      window: 30 days
      type: regression

Every task may have a description, `hide` (columns that give the answer away) and, for forecasts,
`seeds`: how many seed times of validation and test are scored, one window apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from relbench.manifest import TaskManifest

from plurel.errors import InputError
from plurel.manifest import read_tables, read_yaml
from rt.config import from_dict, require, to_dict
from rt.defining.forecast_sql import DatabaseColumns, Kind, forecast_labels
from rt.defining.language import UNITS, checked_seconds, duration, parse_forecast
from rt.defining.source_keys import numbered_keys
from rt.numeric import semantic_type

DEFINITION = "definition.yaml"
"""In the folder of a task: the definition by which it was made, as a file of one task."""
TYPES = {
    "binary": "binary_classification",
    "regression": "regression",
    "multiclass": "multiclass_classification",
}
_KINDS: dict[str, Kind] = {
    "number": "number", "boolean": "boolean", "datetime": "time", "text": "text"
}  # fmt: skip
"""By semantic type."""
_COMPLETED = {
    "number": ("regression", "binary"), "boolean": ("binary",), "text": ("multiclass",),
}  # fmt: skip
"""What columns can be the target of, by what their values are; the first is taken by itself."""


@dataclass(frozen=True)
class LabelColumns:
    """What a query calls the seed time, the entity's key and the label."""

    time: str = "timestamp"
    entity: str = "entity"
    target: str = "target"


@dataclass(frozen=True)
class Definition:
    """One task: one of `predict`, `complete` (<table>.<column>) and `sql`, which needs `entity`
    (a table), `window` and `type`. type: binary, regression or multiclass, where it is not clear;
    hide: <table>.<column> that the task must not see."""

    predict: str | None = None
    complete: str | None = None
    sql: str | None = None
    entity: str | None = None
    columns: LabelColumns = field(default_factory=LabelColumns)
    window: str | None = None
    type: str | None = None
    hide: tuple[str, ...] = ()
    seeds: int = 1
    description: str = ""

    def __post_init__(self) -> None:
        given = [n for n in ("predict", "complete", "sql") if getattr(self, n) is not None]
        if len(given) != 1:
            raise InputError("give one of predict, complete and sql")
        for name in ("entity", "window"):
            value = getattr(self, name)
            if (value is not None) != (self.sql is not None):
                raise InputError(f"{name} belongs to sql" + ("" if value else ": give it"))
        require(
            self.type is None or self.type in TYPES, "type", f"one of {', '.join(TYPES)}", self.type
        )
        require(self.seeds > 0, "seeds", "1 or more", self.seeds)
        require(
            self.seeds == 1 or self.complete is None, "seeds", "left out with complete", self.seeds
        )


def read_definitions(path: Path) -> dict[str, Definition]:
    """The tasks of a YAML file by name; InputError that names the file and the task."""
    found = {}
    for name, values in read_yaml(path).items():
        try:
            found[str(name)] = from_dict(Definition, values if isinstance(values, Mapping) else {})
        except InputError as error:
            raise InputError(f"{path}: task {name}: {error}") from None
    return found


def write_definitions(path: Path, definitions: Mapping[str, Definition]) -> None:
    """The same back as a YAML file, without what is as by default."""
    plain, usual = {}, to_dict(Definition(predict=""))
    for name, definition in definitions.items():
        values = to_dict(definition)
        plain[name] = {k: v for k, v in values.items() if v is not None and v != usual[k]}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def database_columns(folder: Path) -> DatabaseColumns:
    """The tables, keys and columns of a RelBench folder."""
    _, keys = read_tables(folder)
    columns = {}
    for name, table in keys.items():
        file = folder / "db" / f"{name}.parquet"
        try:
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file}: can't be read ({reason}); write the folder again") from None
        table.check(name, schema.names, folder / "manifest.yaml", file)
        columns[name] = kinds_of(schema)
    return DatabaseColumns(keys, columns, numbered_keys(folder, keys))


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """What the values of each column are."""
    return {column.name: _kind(column.type) for column in schema}


def to_manifest(name: str, definition: Definition, database: DatabaseColumns) -> TaskManifest:
    """The task manifest of a definition; InputError where the database doesn't have its parts."""
    try:
        _check_name(name, database)
        hidden = [_hidden(pair, database, definition.complete) for pair in definition.hide]
        if definition.complete is not None:
            manifest = _completion(name, definition, database)
        elif definition.predict is not None:
            manifest = _forecast(name, definition, database)
        else:
            manifest = _query(name, definition, database)
    except InputError as error:
        raise InputError(f"task {name}: {error}") from None
    manifest.description = definition.description or None
    manifest.remove_columns = hidden
    return manifest


def _check_name(name: str, database: DatabaseColumns) -> None:
    """InputError for a name that can't be a folder's or is a table's."""
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise InputError("its name must be that of a folder: letters, digits, -, _ and .")
    if name.lower() in {table.lower() for table in database.columns}:
        raise InputError(
            "there is a table of that name, as which its labels would be shown: choose another"
        )


def _hidden(name: str, database: DatabaseColumns, completed: str | None) -> list[str]:
    """[table, column] of a column to hide; InputError for one that a database can't be without."""
    table, column = _column(name, database)
    keys = database.keys[table]
    if column in (keys.primary_key, keys.time_column, *keys.foreign_keys):
        raise InputError(f"hide: {table}.{column} is a key or the time, which holds rows together")
    if completed is not None and (table, column) == _column(completed, database):
        raise InputError(f"hide: {table}.{column} is what is completed, which is hidden anyway")
    return [table, column]


def _forecast(name: str, definition: Definition, database: DatabaseColumns) -> TaskManifest:
    forecast = parse_forecast(str(definition.predict))
    labels = forecast_labels(forecast, database)
    task_type = TYPES[definition.type] if definition.type else labels.task_type
    return TaskManifest(
        name=name, kind="forecast", task_type=task_type, entity_table=forecast.entity,
        entity_col=labels.entity_column, target_col=labels.target_column,
        time_col=labels.time_column, timedelta=duration(forecast.target.seconds),
        num_eval_timestamps=definition.seeds, sql=labels.sql,
    )  # fmt: skip


def _query(name: str, definition: Definition, database: DatabaseColumns) -> TaskManifest:
    entity, columns = database.table(str(definition.entity)), definition.columns
    database.check_names()
    _check_query(str(definition.sql))
    if definition.type is None:
        raise InputError(f"sql needs a type: {', '.join(TYPES)}")
    if database.keys[entity].primary_key is None:
        raise InputError(f"entity: table {entity!r} has no primary key")
    return TaskManifest(
        name=name, kind="forecast", task_type=TYPES[definition.type], entity_table=entity,
        entity_col=columns.entity, target_col=columns.target, time_col=columns.time,
        timedelta=_window(str(definition.window)), num_eval_timestamps=definition.seeds,
        sql=definition.sql,
    )  # fmt: skip


def _check_query(sql: str) -> None:
    """InputError unless a text is one query of DuckDB's: nothing that writes."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"sql is no SQL of DuckDB ({reason})") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError("sql must be one SELECT")


def _completion(name: str, definition: Definition, database: DatabaseColumns) -> TaskManifest:
    table, column = _column(str(definition.complete), database)
    kind, keys = database.columns[table][column], database.keys[table]
    if column in (keys.primary_key, keys.time_column, *keys.foreign_keys):
        raise InputError(f"complete: {table}.{column} is a key or the time; name another column")
    if keys.time_column is None:
        raise InputError(
            f"complete: table {table!r} has no time column, by which its rows would be split into "
            "train, val and test: name one in the plan of the import (time_column, or time_from), "
            "or ask about the rows by a forecast"
        )
    if kind == "time":
        raise InputError(f"complete: {table}.{column} holds times, which are not predicted")
    chosen = definition.type or _COMPLETED[kind][0]
    if chosen not in _COMPLETED[kind]:
        raise InputError(
            f"complete: {table}.{column} holds {kind}s: its type can be "
            f"{' or '.join(_COMPLETED[kind])}, not {chosen}"
        )
    return TaskManifest(
        name=name, kind="autocomplete", entity_table=table, target_col=column,
        task_type=TYPES[chosen],
    )  # fmt: skip


def _column(name: str, database: DatabaseColumns) -> tuple[str, str]:
    """(table, column) of "<table>.<column>"; either may hold dots."""
    places = [i for i, letter in enumerate(name) if letter == "."]
    for place in places:
        if name[:place] in database.columns:
            database.column(name[:place], name[place + 1 :])
            return name[:place], name[place + 1 :]
    if not places:
        raise InputError(f"{name!r} must be <table>.<column>")
    database.table(name[: places[0]])
    raise InputError(f"{name!r} must be <table>.<column>")


def _window(text: str) -> str:
    """A length of time as "30 days", checked."""
    words = text.split()
    if len(words) == 2 and words[0].isdecimal() and words[1].removesuffix("s") in UNITS:
        seconds = checked_seconds(int(words[0]) * UNITS[words[1].removesuffix("s")], text)
        if seconds > 0:
            return duration(seconds)
    raise InputError(f"window must be such as 30 days, not {text!r}")


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        return "text"  # SQL has no sums or means of them
    return _KINDS[semantic_type(kind)]
