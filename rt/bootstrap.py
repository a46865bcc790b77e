"""Bootstrap intervals of scores, and of differences of scores of the same rows.

An interval is that of the mean over seeds of a metric, by the percentiles of resamples of the rows
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). All models and
baselines of a task are resampled alike, so that the interval of a difference is that of pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from plurel.rng import stream

Metric = Literal["auroc", "nmae"]
Floats = NDArray[np.float64]
BLOCK = 1 << 22
"""Numbers of resampled rows that are in memory at a time."""


@dataclass(frozen=True)
class TaskPredictions:
    """Predictions of one task's N rows. truth f64[N], 0 or 1 for auroc; scale: that errors are
    divided by, the train labels' standard deviation, for nmae; predictions: by model, f64[R, N] for
    R seeds (R = 1 for what has no seed)."""

    name: str
    metric: Metric
    truth: Floats
    predictions: Mapping[str, Floats]
    scale: float = 1.0


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its interval."""

    value: float
    low: float
    high: float

    def record(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


class Bootstrap:
    """The metric of each model of a task on resamples of its rows, which are drawn once for all."""

    def __init__(self, task: TaskPredictions, *, resamples: int = 1000, seed: int = 0) -> None:
        rows = len(task.truth)
        draws = stream(seed, "bootstrap", task.name)
        parts: dict[str, list[Floats]] = {name: [] for name in task.predictions}
        left = resamples
        while left:
            count = min(left, max(1, BLOCK // rows))
            chosen = draws.integers(rows, size=(count, rows))
            for name, predictions in task.predictions.items():
                parts[name].append(_metric(task, predictions, chosen))
            left -= count
        whole = np.arange(rows)[None]
        self._sign = 1 if task.metric == "auroc" else -1
        self._found = {
            name: (_metric(task, predictions, whole)[0], np.concatenate(parts[name]))
            for name, predictions in task.predictions.items()
        }

    def scores(self, level: float = 0.95) -> dict[str, Interval]:
        """The metric of each model. Resamples with one class count for nothing."""
        return {n: _interval(value, drawn, level) for n, (value, drawn) in self._found.items()}

    def better_than(self, model: str, level: float = 0.95) -> dict[str, Interval]:
        """How much better each model is than this one (more AUROC, less NMAE)."""
        base, base_drawn = self._found[model]
        return {
            name: _interval(self._sign * (value - base), self._sign * (drawn - base_drawn), level)
            for name, (value, drawn) in self._found.items()
        }


def interval_of_mean(
    values: Floats, name: str, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The mean of N values, by resamples of the N; two lists of one length and name are resampled
    alike, so that the interval of their difference is that of pairs."""
    draws = stream(seed, "bootstrap", name)
    chosen = draws.integers(len(values), size=(resamples, len(values)))
    return _interval(values.mean(), values[chosen].mean(1), level)


def _interval(value: float, drawn: Floats, level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))


def _metric(task: TaskPredictions, predictions: Floats, chosen: NDArray[np.int64]) -> Floats:
    """f64[K]: the mean over seeds of the metric on each of K lists of rows [K, N]."""
    truth = task.truth[chosen]
    of_seeds = [
        _auroc(truth, one[chosen])
        if task.metric == "auroc"
        else np.abs(one[chosen] - truth).mean(1) / task.scale
        for one in predictions
    ]
    return np.mean(of_seeds, axis=0)


def _auroc(truth: Floats, score: Floats) -> Floats:
    """The share of pairs of rows of both classes that are in order, ties half (Mann and Whitney
    1947); NaN where there is one class."""
    positives = truth.sum(1)
    negatives = truth.shape[1] - positives
    ranks = (rankdata(score, axis=1) * truth).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def intervals(task: TaskPredictions, first: str | None, resamples: int) -> dict[str, Any]:
    """Of each model {"intervals": {name: record}} and, where a first one is named, {"better_by":
    {name: record of how much better that one is}}, as plain values for JSON."""
    drawn = Bootstrap(task, resamples=resamples)
    scores = drawn.scores()
    entry = {"intervals": {model: found.record() for model, found in scores.items()}}
    if first is not None:
        entry["better_by"] = {
            model: {"value": -found.value, "low": -found.high, "high": -found.low}
            for model, found in drawn.better_than(first).items()
            if model != first
        }
    return entry
