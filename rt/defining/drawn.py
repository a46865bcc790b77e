"""Forecasts drawn at random for a database: what real tasks ask, for generated databases.

A table whose rows have times, and which leads by one or two foreign keys to another, holds events
of that one's rows. A forecast asks of an entity after a seed time t, over (t, t + window]: are
there events (of a certain kind), how many, the mean, sum or largest of a number. Windows are cut so
that train has 4 to 20 seed times; half of the forecasts ask only about entities with events in the
last windows. What comes out is checked on the labels alone: enough of each split, and no class of a
binary one below `RAREST`.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from plurel.atomic import check_place
from plurel.errors import InputError
from plurel.export_keys import quoted
from plurel.manifest import MANIFEST
from plurel.rng import stream
from rt.defining.definitions import Definition, database_columns, to_manifest
from rt.defining.forecast_sql import DatabaseColumns
from rt.defining.write import NewTask, make_task, write_tasks
from rt.labels import SPLITS
from rt.relbench_folder import open_dataset

SEED_TIMES = (4, 20)
"""Of train, fewest and most."""
MOST_LABELS = 40_000
"""Entities times seed times of train, beyond which there are fewer seed times."""
FEWEST = {"train": 100, "val": 20, "test": 20}
"""Labels by split."""
RAREST = 0.05
"""Share of the rarer class in train."""
PAST_WINDOWS = 3
TRIES = 5
"""Draws for each task that is wanted."""
_NAME = re.compile(r"drawn-\d+")


@dataclass(frozen=True)
class Way:
    """Events of a table's rows: `via` foreign keys from the events to the entity."""

    events: str
    via: tuple[str, ...]
    entity: str


def draw_tasks(
    folder: str | Path, count: int, *, seed: int = 0, overwrite: bool = False
) -> list[NewTask]:
    """Draw `count` different forecasts for a RelBench folder and write them into it as tasks called
    `drawn-0`, `drawn-1`, ...; fewer, or none, where the database doesn't give as many. A function
    of the database's name and contents and of the seed. With `overwrite` they take the place of all
    that were drawn before.

    Raises InputError for a folder that is no database, a count below 1, and tasks that are there
    already unless `overwrite` is given.
    """
    if count < 1:
        raise InputError(f"the number of forecasts must be 1 or more, not {count}")
    folder = Path(folder)
    for number in range(count):
        check_place(folder / "tasks" / _task_name(number), MANIFEST, overwrite)
    database = database_columns(folder)
    dataset = open_dataset(folder)
    draws = stream(seed, "forecasts", folder.name)
    made: list[NewTask] = []
    asked: set[str] = set()
    for line in _lines(folder, database, dataset.val_timestamp, draws, count * TRIES):
        if len(made) == count:
            break
        if line in asked:
            continue
        asked.add(line)
        name = _task_name(len(made))
        try:
            # looking for leaks takes a quarter of the time, and nobody reads what it finds
            manifest = to_manifest(name, Definition(predict=line), database)
            task = make_task(dataset, manifest, leaks=False)
        except InputError:
            continue  # no labels of a split, or all the same
        if _usable(task):
            made.append(task)
    write_tasks(folder, made, overwrite=overwrite)
    for name in _drawn(folder)[len(made) :] if overwrite else ():
        shutil.rmtree(folder / "tasks" / name)
    return made


def _task_name(number: int) -> str:
    """What a drawn forecast is called."""
    return f"drawn-{number}"


def _drawn(folder: Path) -> list[str]:
    """The drawn tasks of a folder, in their order."""
    found = [path.name for path in (folder / "tasks").glob("*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda name: int(name.rpartition("-")[2]))


def _usable(task: NewTask) -> bool:
    """Whether there is enough to learn from and to score."""
    target = task.manifest.target_col
    for split in SPLITS:
        values = task.labels[split][target]
        if len(values) < FEWEST[split] or values.nunique() < 2:
            return False
    if task.manifest.task_type != "binary_classification":
        return True
    share = float(task.labels["train"][target].astype(float).mean())
    return RAREST <= share <= 1 - RAREST


def _lines(
    folder: Path,
    database: DatabaseColumns,
    val_timestamp: pd.Timestamp,
    draws: np.random.Generator,
    tries: int,
) -> Iterator[str]:
    """Forecasts in the language of `rt.defining.language`."""
    ways = _ways(database)
    paths = {way.events: folder / "db" / f"{way.events}.parquet" for way in ways}
    earliest = {
        name: _earliest(path, str(database.keys[name].time_column)) for name, path in paths.items()
    }
    for _ in range(tries if ways else 0):
        way = ways[int(draws.integers(len(ways)))]
        path, first = paths[way.events], earliest[way.events]
        if not first <= val_timestamp:
            continue
        past = (val_timestamp - first).total_seconds()
        entities = pq.read_metadata(folder / "db" / f"{way.entity}.parquet").num_rows
        most = min(SEED_TIMES[1], max(SEED_TIMES[0], MOST_LABELS // max(1, entities)))
        window = int(past / draws.integers(SEED_TIMES[0], most + 1))
        if window < 1:
            continue
        yield _line(way, window, path, database, draws)


def _earliest(path: Path, column: str) -> pd.Timestamp:
    """The first time of a column; NaT for none."""
    return pd.to_datetime(pq.read_table(path, columns=[column])[column].to_pandas()).min()


def _ways(database: DatabaseColumns) -> list[Way]:
    """Every way from events to entities, by one foreign key or two."""
    found = []
    for events, keys in database.keys.items():
        if keys.time_column is None:
            continue
        for first, near in keys.foreign_keys.items():
            found.append(Way(events, (first,), near))
            found += [
                Way(events, (first, second), far)
                for second, far in database.keys[near].foreign_keys.items()
            ]
    return [way for way in found if database.keys[way.entity].primary_key is not None]


def _line(
    way: Way, window: int, path: Path, database: DatabaseColumns, draws: np.random.Generator
) -> str:
    kinds = database.columns[way.events]
    keys = database.keys[way.events]
    others = {keys.primary_key, keys.time_column, *keys.foreign_keys}
    numbers = [name for name, kind in kinds.items() if kind == "number" and name not in others]
    booleans = [name for name, kind in kinds.items() if kind == "boolean" and name not in others]
    where = _filter(numbers, booleans, path, draws) if draws.random() < 0.3 else ""
    kind = draws.choice(["any", "count", *(["value"] if numbers else [])])
    via = f" via {'.'.join(map(quoted, way.via))}"
    table = quoted(way.events)
    span = f"{window} seconds"
    if kind == "value":
        column = quoted(numbers[int(draws.integers(len(numbers)))])
        aggregate = draws.choice(["mean", "sum", "max"])
        target = f"{aggregate}({table}.{column}{where}{via}, {span})"
    else:
        target = f"count({table}{where}{via}, {span}){' > 0' if kind == 'any' else ''}"
    line = f"{target} for {quoted(way.entity)}"
    if draws.random() < 0.5:
        line += f" if exists({table}{via}, past {PAST_WINDOWS * window} seconds)"
    return line


def _filter(numbers: list[str], booleans: list[str], path: Path, draws: np.random.Generator) -> str:
    """A condition on one column of the events that a good share of them meets; "" if there is no
    column for one."""
    columns = [*numbers, *booleans]
    if not columns:
        return ""
    column = columns[int(draws.integers(len(columns)))]
    if column in booleans:
        return f" where {quoted(column)} = {draws.choice(['true', 'false'])}"
    values = pq.read_table(path, columns=[column])[column].to_pandas().astype(float).dropna()
    if values.empty:
        return ""
    bound = float(values.quantile(draws.uniform(0.3, 0.7), interpolation="lower"))
    return f" where {quoted(column)} {draws.choice(['>', '<='])} {bound!r}"
