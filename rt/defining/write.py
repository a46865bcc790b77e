"""Making the labels of new tasks by RelBench's own code, checking them, and writing the tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from relbench.base import Database, Table
from relbench.load import build_task
from relbench.manifest import TaskManifest

from plurel.atomic import check_place, new_folder
from plurel.errors import InputError
from plurel.folder import write_parquet
from plurel.manifest import MANIFEST, read_yaml
from rt.defining.definitions import (
    DEFINITION,
    Definition,
    database_columns,
    to_manifest,
    write_definitions,
)
from rt.defining.leaks import FEWEST_ROWS, Leak, find_leaks
from rt.defining.source_keys import compared_keys
from rt.labels import SPLITS
from rt.relbench_folder import one_line, open_dataset
from rt.text_table import aligned

MOST_SEED_TIMES = 100_000
"""Of train: more are a window in the wrong unit."""


@dataclass(frozen=True)
class NewTask:
    """A task with its label rows by split (time, entity, label), what may give them away, and the
    keys that its own SQL compares with values though an import numbered them anew. definition:
    what it was made by, if that is to be kept."""

    manifest: TaskManifest
    labels: Mapping[str, pd.DataFrame]
    leaks: Sequence[Leak]
    compared: Sequence[str] = ()
    definition: Definition | None = None

    def warnings(self) -> list[str]:
        """What a reader should know before using the task."""
        target, found = self.manifest.target_col, [str(leak) for leak in self.leaks]
        found += [
            f"the SQL compares {name} with a value: its values are numbers that the import gave to "
            "rows, not keys of the source"
            for name in self.compared
        ]
        for split in SPLITS[1:]:
            values = self.labels[split][target]
            if self.manifest.task_type != "regression" and values.nunique() < 2:
                found.append(
                    f"all {len(values)} labels of {split} are of one class: no AUROC there"
                )
        for split, frame in self.labels.items():
            twice = int(frame.duplicated(frame.columns.difference([target]).tolist()).sum())
            if twice:
                found.append(f"{twice} labels of {split} are of an entity and time that has one")
        kind = self.manifest.kind, self.manifest.task_type
        if (
            kind == ("autocomplete", "regression")
            and self.labels["train"][target].isin([0, 1]).all()
        ):
            found.append("all labels are 0 and 1: with type: binary it is a yes or no")
        fewest = min(len(self.labels[split]) for split in SPLITS[:2])
        if fewest < FEWEST_ROWS:
            found.append(f"{fewest} labels are too few to look for leaks ({FEWEST_ROWS})")
        return found


def add_tasks(
    folder: str | Path,
    definitions: Mapping[str, Definition],
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[NewTask]:
    """Make the tasks of a RelBench folder and write them into it, each whole or not at all, once
    the labels of all have been made. dry_run: write nothing.

    Raises InputError, naming the task, for parts that the database doesn't have, labels that
    can't be made, a split without labels, a binary or multiclass target of one class, and a task
    that is there already unless `overwrite` is given.
    """
    folder = Path(folder)
    database = database_columns(folder)
    manifests = [to_manifest(name, one, database) for name, one in definitions.items()]
    _check_types(folder, manifests)
    for manifest in manifests:
        check_place(folder / "tasks" / manifest.name, MANIFEST, overwrite)
    dataset = open_dataset(folder)
    made = []
    for manifest, definition in zip(manifests, definitions.values(), strict=True):
        compared = compared_keys(definition.sql, database.numbered) if definition.sql else ()
        task = make_task(dataset, manifest)
        made.append(replace(task, compared=compared, definition=definition))
    if not dry_run:
        write_tasks(folder, made, overwrite=overwrite)
    return made


def _check_types(folder: Path, manifests: Sequence[TaskManifest]) -> None:
    """InputError for a column that would be completed as two types: a store holds it once."""
    new = {manifest.name for manifest in manifests}
    there = sorted((folder / "tasks").glob(f"*/{MANIFEST}"))
    every = [(path.parent.name, read_yaml(path)) for path in there if path.parent.name not in new]
    every += [(manifest.name, manifest.to_dict()) for manifest in manifests]
    first: dict[tuple[Any, Any], tuple[str, str]] = {}
    for name, task in every:
        if task.get("kind") != "autocomplete":
            continue
        table, column, kind = task["entity_table"], task["target_col"], str(task["task_type"])
        other, other_kind = first.setdefault((table, column), (name, kind))
        if kind != other_kind and name in new:
            wanted, taken = (what.replace("_", " ") for what in (kind, other_kind))
            remedy = f"make {other} again with that type, or remove {folder / 'tasks' / other}"
            raise InputError(
                f"task {name}: complete: {table}.{column} is completed by task {other} as "
                f"{taken}, and a database can't have it as {wanted} as well: "
                + ("give both one type" if other in new else remedy)
            )


def write_tasks(folder: Path, made: Sequence[NewTask], *, overwrite: bool = False) -> None:
    """Write tasks into a RelBench folder; InputError for one that is there already, unless
    `overwrite` is given, before any is written."""
    for task in made:
        check_place(folder / "tasks" / task.manifest.name, MANIFEST, overwrite)
    for task in made:
        place = folder / "tasks" / task.manifest.name
        with new_folder(place, marker=MANIFEST, overwrite=overwrite) as partial:
            if task.manifest.kind == "forecast":  # the labels of other tasks are columns
                for split, frame in task.labels.items():
                    what = f"task {task.manifest.name}, {split} labels"
                    write_parquet(frame, partial / f"{split}.parquet", what)
            task.manifest.save(partial / MANIFEST)
            if task.definition is not None:
                write_definitions(partial / DEFINITION, {task.manifest.name: task.definition})


def describe(task: NewTask) -> str:
    """The task's SQL, its labels by split, and warnings, for people."""
    manifest, target = task.manifest, str(task.manifest.target_col)
    lines = [f"{manifest.name}: {manifest.task_type.replace('_', ' ')} of {manifest.entity_table}"]
    if manifest.sql is not None:
        lines += ["", *(f"    {line}" for line in manifest.sql.splitlines()), ""]
    rows = [["split", "labels", "entities", "first", "last", *_summary_names(manifest.task_type)]]
    for split, frame in task.labels.items():
        times = frame[manifest.time_col] if manifest.time_col in frame else frame.iloc[:, 0]
        entities = frame[manifest.entity_col].nunique() if manifest.entity_col else len(frame)
        values = [
            f"{len(frame):,}",
            f"{entities:,}",
            f"{times.min():%Y-%m-%d}",
            f"{times.max():%Y-%m-%d}",
        ]
        rows.append([split, *values, *_summary(manifest.task_type, frame[target])])
    lines += [f"    {line}" for line in aligned(rows, left=1)]
    lines += [f"    warning: {warning}" for warning in task.warnings()]
    return "\n".join(lines)


def make_task(dataset: Any, manifest: TaskManifest, *, leaks: bool = True) -> NewTask:
    """The task's labels and, unless `leaks` is off, the columns that may give them away;
    InputError, naming the task, as `add_tasks` says. dataset: RelBench's."""
    name = manifest.name
    what = f"task {name}: its labels can't be made"
    remedy = "mend the definition, or choose other val and test timestamps in manifest.yaml"
    labels: dict[str, pd.DataFrame] = {}
    with one_line(what, remedy):
        # as a regression RelBench would make the train labels once more, for their deviation
        plain = replace(manifest, task_type="binary_classification")
        task = build_task(dataset, plain if manifest.kind == "forecast" else manifest)
        make_table = task.make_table

        def checked(db: Database, timestamps: Any) -> Table:
            # RelBench's own messages about tables without rows or columns say neither
            table = make_table(db, timestamps)
            _check_table(name, SPLITS[len(labels)], table.df, manifest)
            if manifest.kind == "forecast":
                _check_rows(name, table.df, manifest, db, pd.DatetimeIndex(timestamps))
            return table

        task.make_table = checked
        database: Database = task.get_db(upto_test_timestamp=False)
        if manifest.kind == "forecast":
            _check_seed_times(name, dataset.val_timestamp - database.min_timestamp, task.timedelta)
        for split in SPLITS:
            labels[split] = task.get_table(split, mask_input_cols=False, db=database).df
    for split, frame in labels.items():
        _check_labels(name, split, frame[manifest.target_col], manifest.task_type)
    return NewTask(manifest, labels, find_leaks(task, database, labels) if leaks else ())


def _check_table(name: str, split: str, frame: pd.DataFrame, manifest: TaskManifest) -> None:
    """InputError for a table of labels that lacks columns or rows."""
    wanted = (manifest.time_col, manifest.entity_col, manifest.target_col)
    missing = [column for column in wanted if column and column not in frame]
    if missing:
        raise InputError(
            f"task {name}: the SQL gives no column {', '.join(missing)}, only "
            f"{', '.join(map(str, frame.columns))}: name them in columns"
        )
    if not len(frame):
        raise InputError(
            f"task {name}: no labels in {split}; check the filters, the window, and the val and "
            "test timestamps in manifest.yaml"
        )


def _check_seed_times(name: str, past: pd.Timedelta, window: pd.Timedelta) -> None:
    """InputError for a window so short that labels would never be done."""
    count = past // window
    if count > MOST_SEED_TIMES:
        raise InputError(
            f"task {name}: a window of {window} makes {count:,} seed times of train, more than "
            f"{MOST_SEED_TIMES:,}: choose a longer one"
        )


def _check_rows(
    name: str, frame: pd.DataFrame, manifest: TaskManifest, db: Database, seeds: pd.DatetimeIndex
) -> None:
    """InputError for label rows of other times or entities than those asked about, and for columns
    that nothing would know of a row to predict."""
    time, entity = frame[manifest.time_col], frame[manifest.entity_col]
    more = frame.columns.difference([manifest.time_col, manifest.entity_col, manifest.target_col])
    if len(more):
        raise InputError(
            f"task {name}: the SQL also gives {', '.join(map(str, more))}, which would be features "
            "of labels: leave out all but time, entity and target"
        )
    if not pd.api.types.is_datetime64_any_dtype(time.dtype) or not time.isin(seeds).all():
        raise InputError(
            f"task {name}: the SQL gives {manifest.time_col} = {time[~time.isin(seeds)].iloc[0]}, "
            "which is no seed time: select timestamps.timestamp as it is"
        )
    table = db.table_dict[str(manifest.entity_table)]
    known = entity.isin(table.df[table.pkey_col])
    # RelBench leaves out labels of rows that are not there yet, whose keys are larger
    later = pd.to_numeric(entity, errors="coerce") >= len(table.df)
    if not known.any() or not (known | later).all():
        wrong = entity[~known & ~later] if known.any() else entity
        raise InputError(
            f"task {name}: the SQL gives {manifest.entity_col} = {wrong.iloc[0]}, which is no key "
            f"of {manifest.entity_table}"
        )


def _check_labels(name: str, split: str, values: pd.Series, task_type: str) -> None:
    """InputError for labels that nothing can be learned from or scored on."""
    if not len(values):
        raise InputError(f"task {name}: none of the {split} labels is of a row that is there")
    if values.isna().any():
        raise InputError(f"task {name}: {int(values.isna().sum())} labels of {split} are null")
    _check_values(name, values, task_type)
    if split == "train" and values.nunique() < 2:
        raise InputError(
            f"task {name}: all {len(values)} labels of train are {values.iloc[0]}: there is "
            "nothing to learn"
        )


def _check_values(name: str, values: pd.Series, task_type: str) -> None:
    """InputError for labels that are not what the type of the task says."""
    if task_type == "binary_classification":
        wrong = values[~values.isin([0, 1])]
        if len(wrong):
            raise InputError(
                f"task {name}: labels of a binary task must be 0 and 1, not {wrong.iloc[0]}"
            )
    if task_type == "multiclass_classification":
        wrong = values[[not isinstance(value, str | Real | np.generic) for value in values]]
        if len(wrong):
            raise InputError(f"task {name}: labels must be texts or numbers, not {wrong.iloc[0]}")
    if task_type == "regression":
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        is_time = pd.api.types.is_datetime64_any_dtype(values) or values.dtype.kind == "m"
        wrong = values if is_time else values[~np.isfinite(numbers)]
        if len(wrong):
            raise InputError(
                f"task {name}: labels of a regression must be finite numbers, not {wrong.iloc[0]}"
            )


def _summary_names(task_type: str) -> list[str]:
    return {
        "binary_classification": ["positive"],
        "regression": ["mean", "deviation", "largest"],
    }.get(task_type, ["classes", "most frequent"])


def _summary(task_type: str, values: pd.Series) -> list[str]:
    if task_type == "binary_classification":
        return [f"{float(values.astype(float).mean()):.1%}"]
    if task_type == "regression":
        numbers = values.astype(float)
        return [f"{numbers.mean():.4g}", f"{numbers.std():.4g}", f"{numbers.max():.4g}"]
    counts = values.value_counts(normalize=True)
    return [f"{len(counts):,}", f"{counts.index[0]} ({counts.iloc[0]:.0%})"]
