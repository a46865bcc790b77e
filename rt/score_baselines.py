"""Scores of baselines alone: a raw folder is enough, without a checkpoint or a store."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from plurel.errors import InputError
from rt.boosted import BoostedSettings, every_baseline
from rt.evaluate import Selection, at_positions, baseline_entry, choose_rows, split_labels
from rt.labels import RawTask, read_tasks
from rt.raw import RawDatabase, read_database
from rt.relbench_folder import open_dataset
from rt.scores import check_any
from rt.tasks import TASK_TYPES


def score_baselines(
    raw_folder: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    selection: Selection | None = None,
    settings: BoostedSettings | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Scores of every baseline on `tasks` (all binary and regression tasks of the folder if None),
    in the form of `rt.evaluate.evaluate_table`; "skipped": tasks whose labels have no score, and
    why (where tasks are named this is an error).

    Raises InputError for unknown tasks, damaged folders, and where no task can be scored.
    """
    selection = selection or Selection()
    database = read_database(Path(raw_folder))
    dataset = open_dataset(raw_folder)
    head = {"database": database.name, **asdict(selection)}
    result: dict[str, Any] = {**head, "tasks": {}, "skipped": {}}
    for raw in tqdm(_named(database, tasks), "baselines", unit="task", disable=not show_progress):
        try:
            result["tasks"][raw.name] = _entry(dataset, database.name, raw, selection, settings)
        except InputError as error:
            if tasks is not None:
                raise
            result["skipped"][raw.name] = str(error)
    if not result["tasks"]:
        reasons = "; ".join(result["skipped"].values()) or "it declares none"
        raise InputError(f"{raw_folder}: no binary or regression task to score: {reasons}")
    return result


def _entry(
    dataset: Any, database: str, raw: RawTask, selection: Selection,
    settings: BoostedSettings | None,
) -> dict[str, Any]:  # fmt: skip
    task, whole = split_labels(dataset, raw.name, selection.split)
    check_any(raw.name, selection.split, len(whole.df))
    rows = choose_rows(task, whole, database, selection)
    found = every_baseline(
        dataset, task, selection.split, horizon=raw.horizon, protocol=selection.protocol,
        settings=settings,
    )  # fmt: skip
    return baseline_entry(rows, at_positions(found, rows.positions))


def _named(database: RawDatabase, names: Sequence[str] | None) -> list[RawTask]:
    """The binary and regression tasks, or those of the given names, in their order."""
    found, skipped = read_tasks(database)
    tasks = {task.name: task for task in found if task.task_type in TASK_TYPES}
    for name in names or ():
        if name in skipped:
            raise InputError(
                f"{database.folder}: task '{name}' can't be scored, since {skipped[name]}"
            )
        if name not in tasks:
            known = ", ".join(tasks) or "none"
            raise InputError(
                f"{database.folder}: no binary or regression task '{name}'; it has: {known}"
            )
    return list(tasks.values()) if names is None else [tasks[name] for name in names]
