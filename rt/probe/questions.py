"""The tasks of a database, as questions for boosted trees."""

from dataclasses import dataclass, replace

import numpy as np

from plurel.errors import InputError
from plurel.rng import stream
from rt.boosted import BoostedSettings, Plan, Question, Rows, sample, task_question
from rt.joined.anchors import Tables
from rt.joined.features import View
from rt.joined.tables import NO_TIME, Floats, Ints, without_column
from rt.labels import RawTask
from rt.numeric import semantic_type
from rt.raw import RawDatabase
from rt.relbench_folder import open_dataset, open_task
from rt.tasks import COLUMN_TASK_TYPES

SHARES = (0.5, 0.7)
"""Where the rows that choose begin, and those of the test."""
MIN_ROWS = 30
"""Rows with a value that a task needs to fit, and to be tested on."""
MIN_OF_CLASS = 5
"""Of each class, there and there."""


@dataclass(frozen=True)
class Target:
    """A column that can be a task; binary: its cells are truth values."""

    table: str
    column: str
    binary: bool

    @property
    def name(self) -> str:
        """As `rt.tasks.column_tasks` calls it."""
        return f"{self.table}.{self.column}"


def targets(database: RawDatabase, tables: Tables, seed: int) -> list[Target]:
    """The boolean and number columns that vary, in an order drawn with the seed. tables: those of
    `rt.joined`, which leave out columns that are constant up to the validation timestamp."""
    found = []
    for table in database.tables:
        varying = {column.name for column in tables[table.name].columns}
        for column in table.features:
            kind = semantic_type(table.source.schema.field(column).type)
            if kind in COLUMN_TASK_TYPES and column in varying:
                found.append(Target(table.name, column, kind == "boolean"))
    order = stream(seed, "probe", database.name, "columns").permutation(len(found))
    return [found[number] for number in order]


def column_question(
    database: RawDatabase, tables: Tables, target: Target, settings: BoostedSettings
) -> Question:
    """A column from the rest of the database. InputError where it has too few values."""
    (column,) = (c for c in tables[target.table].columns if c.name == target.column)
    rows, timed = _known_rows(tables, target.table, column.values)
    draws = stream(settings.seed, "probe", database.name, target.name)
    plan = _split_by_time(rows) if timed else _split_at_random(rows, draws)
    view = View(
        without_column(tables, target.table, target.column), target.table, labels=None,
        own_row=True, max_features=settings.max_features,
    )  # fmt: skip
    fit, held_out = (sample(part, settings.max_rows, draws) for part in (plan.fit, plan.held_out))
    plan = replace(plan, fit=fit, held_out=held_out)
    name = f"{database.name}/{target.name}"
    return _testable(Question(name, target.binary, view, plan), settings)


def declared_question(
    database: RawDatabase, task: RawTask, settings: BoostedSettings
) -> Question:  # fmt: skip
    """A task that the database declares, on its test split. InputError where it has no times or too
    few labels."""
    dataset = open_dataset(database.folder)
    opened = open_task(dataset, task.name)
    question = task_question(dataset, opened, "test", horizon=task.horizon, settings=settings)
    return _testable(replace(question, name=f"{database.name}/{task.name}"), settings)


def _known_rows(tables: Tables, table: str, values: Floats) -> tuple[Rows, bool]:
    """The rows with a value, and whether they have times; those that have none stand at the latest
    time in the database."""
    time = tables[table].time
    timed = bool((time != NO_TIME).any())
    if not timed:
        time = np.full(len(time), _latest(tables))
    row = np.flatnonzero(~np.isnan(values) & (time != NO_TIME))
    return Rows(row, time[row], values[row]), timed


def _latest(tables: Tables) -> int:
    times = [int(table.time.max()) for table in tables.values() if len(table)]
    latest = max(times, default=NO_TIME)
    return 0 if latest == NO_TIME else latest


def _split_by_time(rows: Rows) -> Plan:
    """Rows of one time are never in two parts."""
    if not len(rows):
        return Plan(rows, rows, 0, rows, 0)
    chosen, tested = (int(t) for t in np.quantile(rows.time, SHARES, method="lower"))
    return Plan(
        fit=rows.take(rows.time < chosen),
        held_out=rows.take((rows.time >= chosen) & (rows.time < tested)),
        cutoff=chosen,
        scored=rows.take(rows.time >= tested),
        scored_cutoff=tested,
    )


def _split_at_random(rows: Rows, draws: np.random.Generator) -> Plan:
    order: Ints = draws.permutation(len(rows))
    bounds = [int(share * len(rows)) for share in SHARES]
    fit, held_out, scored = (rows.take(np.sort(part)) for part in np.split(order, bounds))
    now = int(rows.time[0]) if len(rows) else 0
    return Plan(fit, held_out, now, scored, now)


def _testable(question: Question, settings: BoostedSettings) -> Question:
    """The question with at most `max_rows` test rows, all of them with labels."""
    plan, draws = question.plan, stream(settings.seed, "probe", question.name, "test")
    known = plan.scored.take(~np.isnan(plan.scored.label))
    plan = replace(plan, scored=sample(known, settings.max_rows, draws))
    for part, rows in (("to fit", plan.fit), ("to test on", plan.scored)):
        if len(rows) < MIN_ROWS:
            raise InputError(f"{len(rows)} rows {part}, of {MIN_ROWS} that are needed")
        smaller = min((rows.label != 0).sum(), (rows.label == 0).sum())
        if question.binary and smaller < MIN_OF_CLASS:
            raise InputError(
                f"{smaller} rows {part} of one class, of {MIN_OF_CLASS} that are needed"
            )
        if not question.binary and (rows.label == rows.label[0]).all():
            raise InputError(f"all rows {part} have one value")
    return replace(question, plan=plan)
