"""Gradient-boosted trees on flat tables: LightGBM (Ke et al., NeurIPS 2017), with the number of
trees and a few settings chosen on held-out rows.

The same seed gives the same trees for any number of threads (`deterministic`, `force_col_wise`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.rng import stream

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]

MIN_ROUNDS, MAX_ROUNDS = 20, 400
SMOOTH = 15
PATIENCE = 50
"""Trees without a better score on the held-out rows after which no more are added."""
DEFAULT_ROUNDS = 100
"""Trees where the held-out rows have no score."""
MAX_CODES = 100
"""Categories of a column that are told apart: the most frequent of the training rows."""
FEW_ROWS = 10_000
"""Training rows up to which predictions are the mean of NUM_MODELS models."""
NUM_MODELS = 3

_COMMON = {
    "learning_rate": 0.04, "bagging_freq": 1, "bagging_fraction": 0.7, "max_bin": 127,
    "min_data_per_group": 20, "cat_smooth": 20.0, "deterministic": True, "force_col_wise": True,
    "verbose": -1,
}  # fmt: skip
_SHAPES: tuple[dict[str, Any], ...] = (
    {"num_leaves": 6, "min_data_in_leaf": 20, "feature_fraction": 0.3, "lambda_l2": 5.0},
    {"num_leaves": 20, "min_data_in_leaf": 40, "feature_fraction": 0.3, "lambda_l2": 5.0},
    {"num_leaves": 63, "min_data_in_leaf": 80, "feature_fraction": 0.5, "lambda_l2": 1.0},
)


@dataclass(frozen=True)
class Flat:
    """N rows: f32[N, F], NaN for missing; which columns hold identities of categories, bool[F];
    labels f64[N]."""

    matrix: Matrix
    categories: NDArray[np.bool_]
    label: Floats

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Choice:
    """What the held-out rows decided: which training table, LightGBM's settings, how many trees;
    score on them, higher is better, minus infinity where there is none."""

    variant: str
    settings: dict[str, Any]
    rounds: int
    score: float


@dataclass(frozen=True)
class Booster:
    """How models are fitted. binary: probabilities, chosen by AUROC; otherwise numbers, by the mean
    absolute error. name: of the task, which names the random streams."""

    binary: bool
    name: str
    seed: int = 0
    num_threads: int = 1

    def choose(self, variants: Mapping[str, Flat], held_out: Flat) -> Choice:
        """The best of a few settings on the held-out rows; of several training tables the first
        that no later one beats by more than a standard error."""
        best = Choice(next(iter(variants)), self._settings()[0], DEFAULT_ROUNDS, -np.inf)
        if not _has_score(held_out.label, binary=self.binary):
            return best
        for variant, train in variants.items():
            if not _has_score(train.label, binary=self.binary):
                continue
            found = self._best_settings(variant, train, held_out)
            if found.score > best.score + self._chance(best.score, held_out.label):
                best = found
        return best

    def _best_settings(self, variant: str, train: Flat, held_out: Flat) -> Choice:
        codes = Codes(train)
        data = self._data(codes, train)
        held = data.create_valid(codes(held_out.matrix), held_out.label)
        found = []
        for settings in self._settings():
            curve = self._curve(settings, data, held)
            rounds = MIN_ROUNDS + int(np.argmax(curve[MIN_ROUNDS - 1 :]))
            found.append(Choice(variant, settings, rounds, float(curve[rounds - 1])))
        return max(found, key=lambda choice: choice.score)

    def _chance(self, score: float, label: Floats) -> float:
        """About a standard error of the score: less of a difference says nothing."""
        if not np.isfinite(score):
            return 0.0
        if self.binary:
            smaller = min((label == 0).sum(), (label != 0).sum())
            return float(np.sqrt(max(score * (1 - score), 0.01) / smaller))
        return float(np.abs(label - np.median(label)).std() / np.sqrt(len(label)))

    def fit_predict(self, choice: Choice, train: Flat, matrix: Matrix) -> Floats:
        """f64[Q]: predictions of models with the chosen settings, fitted on all of `train`; where
        its labels are all equal, that label."""
        if not _has_score(train.label, binary=self.binary):
            return np.full(len(matrix), train.label.mean())
        codes = Codes(train)
        data, rows = self._data(codes, train), codes(matrix)
        models = NUM_MODELS if len(train) <= FEW_ROWS else 1
        found = [
            _lightgbm()
            .train({**choice.settings, "seed": self._number("fit", number)}, data, choice.rounds)
            .predict(rows)
            for number in range(models)
        ]
        return np.mean(found, axis=0)

    def _curve(self, settings: dict[str, Any], data: Any, held_out: Any) -> Floats:
        """f64[R]: the score on the held-out rows, higher is better, by number of trees, smoothed
        over SMOOTH of them: the best of many noisy scores is luck."""
        lightgbm = _lightgbm()
        scores: dict[str, dict[str, list[float]]] = {}
        lightgbm.train(
            {**settings, "seed": self._number("choose")}, data, MAX_ROUNDS,
            valid_sets=[held_out], valid_names=["held out"],
            callbacks=[
                lightgbm.early_stopping(PATIENCE, verbose=False),
                lightgbm.record_evaluation(scores),
            ],
        )  # fmt: skip
        (curve,) = scores["held out"].values()
        sign = 1 if self.binary else -1
        return sign * pd.Series(curve).rolling(SMOOTH, center=True, min_periods=1).mean().to_numpy()

    def _settings(self) -> list[dict[str, Any]]:
        common: dict[str, Any] = {**_COMMON, "num_threads": self.num_threads}
        if self.binary:
            return [{**common, "objective": "binary", "metric": "auc", **s} for s in _SHAPES]
        common["metric"] = "l1"
        medians = [{**common, "objective": "l1", **shape} for shape in _SHAPES]
        return [*medians, {**common, "objective": "l2", **_SHAPES[1]}]

    def _data(self, codes: "Codes", train: Flat) -> Any:
        return _lightgbm().Dataset(
            codes(train.matrix),
            train.label,
            categorical_feature=codes.columns,
            params={"max_bin": _COMMON["max_bin"], "verbose": -1},
            free_raw_data=False,
        )

    def _number(self, *names: str | int) -> int:
        return int(stream(self.seed, "boosting", self.name, *names).integers(2**31 - 1))


class Codes:
    """Categories as small numbers, by their frequency in the training rows; the rare, and those
    that training rows lack, are missing."""

    def __init__(self, train: Flat) -> None:
        self.columns = [int(column) for column in np.flatnonzero(train.categories)]
        self._known: dict[int, Matrix] = {}
        for column in self.columns:
            cells = train.matrix[:, column]
            values, counts = np.unique(cells[~np.isnan(cells)], return_counts=True)
            self._known[column] = np.sort(values[np.lexsort((values, -counts))[:MAX_CODES]])

    def __call__(self, matrix: Matrix) -> Matrix:
        """f32[N, F]: a copy with codes in the category columns."""
        coded = matrix.copy()
        for column, known in self._known.items():
            cells = matrix[:, column]
            at = np.minimum(np.searchsorted(known, cells), max(len(known) - 1, 0))
            found = known[at] == cells if len(known) else np.zeros(len(cells), bool)
            coded[:, column] = np.where(found, at, np.nan)
        return coded


def _has_score(label: Floats, *, binary: bool) -> bool:
    """Whether labels differ, without which there is nothing to fit or to choose by."""
    return len(label) > (0 if not binary else 1) and (label != label[0]).any()


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise InputError(
            "the baselines of boosted trees need lightgbm: pip install lightgbm"
        ) from None
    return lightgbm
