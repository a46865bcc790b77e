"""Scores by RelBench's own metrics: AUROC for binary tasks, NMAE for regression (MAE divided by
the standard deviation of the train labels); beside NMAE the MAE and R2 on the original scale."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import Table, TaskType

from plurel.errors import InputError

Protocol = Literal["split", "rolling"]
PROTOCOLS: tuple[Protocol, ...] = ("split", "rolling")
"""What a prediction may know: nothing after the timestamp that opens its split (RelBench's rule),
or everything known by the row's own time. Every score says which."""
BETTER = {"roc_auc": "higher", "nmae": "lower"}
_SCORED = (TaskType.BINARY_CLASSIFICATION, TaskType.REGRESSION)


class NoScore(InputError):
    """Labels of which no score is defined."""


def check_any(task: str, split: str, num_rows: int) -> None:
    """NoScore for a split without labels."""
    if not num_rows:
        raise NoScore(f"task {task}: its {split} split has no labels to score")


def target_values(task: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """The labels of a label table as numbers (booleans 0 and 1)."""
    return frame[task.target_col].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)


def scored_by(
    task: Any, frame: pd.DataFrame
) -> tuple[Literal["auroc", "nmae"], NDArray[np.float64], float]:
    """A task's metric, the labels f64[N] of a label table, and what errors are divided by: 1, for
    NMAE the deviation of the train labels."""
    values = target_values(task, frame)
    if task.task_type is TaskType.BINARY_CLASSIFICATION:
        return "auroc", values, 1.0
    return "nmae", values, float(task.nmae_std)


def relbench_score(task: Any, table: Table, prediction: NDArray[np.float64]) -> tuple[str, float]:
    """(metric's name, value) of predictions in the order of the label table.

    Raises InputError where the score is not defined: another task type, no rows, predictions
    that are not finite, a binary target with one class, a regression whose train labels are all
    equal.
    """
    target = target_values(task, table.df)
    _check(task, target, np.asarray(prediction))
    frame = table.df.assign(**{task.target_col: target})
    scored = Table(frame, table.fkey_col_to_pkey_table, table.pkey_col, table.time_col)
    ((name, value),) = task.evaluate(np.asarray(prediction, dtype=np.float64), scored).items()
    return name, float(value)


def all_metrics(task: Any, table: Table, prediction: NDArray[np.float64]) -> dict[str, float]:
    """{"auroc"} of a binary task or {"mae", "nmae", "r2"} of a regression, of predictions in the
    order of the label table; R2 is 1 - (squared error) / (that of the labels' mean).

    Raises InputError as `relbench_score` does; R2 is left out where all labels are equal.
    """
    name, value = relbench_score(task, table, prediction)
    if name == "roc_auc":
        return {"auroc": value}
    target = target_values(task, table.df)
    error = np.asarray(prediction, dtype=np.float64) - target
    metrics = {"mae": float(np.abs(error).mean()), "nmae": value}
    spread = float(np.square(target - target.mean()).sum())
    if spread > 0:
        metrics["r2"] = 1 - float(np.square(error).sum()) / spread
    return metrics


def _check(task: Any, target: NDArray[np.float64], prediction: NDArray[np.float64]) -> None:
    name = task.name
    if task.task_type not in _SCORED:
        raise InputError(
            f"task {name}: RelBench has no metric for {task.task_type.value}; leave it out"
        )
    if len(target) == 0:
        raise NoScore(f"task {name}: the label table is empty")
    if prediction.shape != target.shape:
        raise InputError(f"task {name}: {prediction.shape} predictions for {len(target)} labels")
    if not np.isfinite(prediction).all():
        bad = int(np.flatnonzero(~np.isfinite(prediction))[0])
        raise InputError(f"task {name}: the prediction of row {bad} is not finite")
    if task.task_type is TaskType.BINARY_CLASSIFICATION:
        if len(np.unique(target)) < 2:
            raise NoScore(
                f"task {name}: all {len(target)} labels are of one class, AUROC is not defined; "
                "score more rows, or leave the task out"
            )
    elif not task.nmae_std > 0:
        raise NoScore(f"task {name}: the train labels are all equal, NMAE is not defined")
