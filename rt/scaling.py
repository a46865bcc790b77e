"""Scaling laws of finished runs: the loss as a function of databases and tokens.

Forms, as published for this task (PluRel, arXiv 2602.04029):

    N      L = A N^-a + C              runs of the largest budget
    S      L = B S^-b + C              runs on the most databases
    joint  L = A N^-a + B S^-b + C     all runs

Units: N in databases; S in billions of tokens (cells without padding, all ranks together) that a
run has seen; L in the unit of the loss. A is the first term at N = 1, B the second at S = 1.
The forms of one variable take the runs where the other resource is least of a bottleneck.

Method: Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3, approach 3). Taken from there: the
joint form, Huber's loss of the residuals of log L, positive A, B, a and b through exponentials, the
best of a grid of starts. Different here:

* Huber's loss turns linear at 0.01 (a residual of 1 %), not 0.001: seeds differ by more than that,
  and with 0.001 the exponents came out 10 to 20 % worse on made-up sweeps.
* C >= 0 is a bound, so that C may be 0; there C is an exponential too.
* N and S are centred in log space, and the sum is minimised to convergence by the method of
  Levenberg and Marquardt with an exact gradient (`rt.power_law`); there by L-BFGS, which stopped
  early (Besiroglu et al. 2024, arXiv 2404.10102).

Intervals are percentiles over refits, each begun at the full fit and at three far from it,
with ends moved out for the few degrees of freedom (`rt.scaling_notes.percentiles`):

* `residuals`: the full fit times the exponential of a residual drawn from all runs; residuals are
  centred and enlarged by sqrt(P / (P - K)) for P runs and K parameters. It assumes that all runs
  scatter alike, and does without a second seed.
* `runs`: the runs of each (N, S) are drawn again. A plain draw of n from n understates their
  variance by (n - 1) / n, a half for two seeds; so n - 1 are drawn, each with the weight
  n / (n - 1) (Rao, Wu and Yue 1992).
* `auto`: `runs` where every (N, S) has three or more, else `residuals`. On 200 made-up sweeps of
  four N intervals of 95 % held the truth in 93 to 98 % of cases by `residuals` with one or two
  seeds, by `runs` in 82 to 95 % with two seeds, which leave two ways to draw each pair, and in 92
  to 97 % with three or four.

Nothing depends on the order of the runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from plurel.errors import InputError
from plurel.rng import stream
from rt import power_law
from rt.power_law import Array
from rt.scaling_notes import Estimate, Scatter, estimates, notes_on_runs, percentiles, scatter
from rt.scaling_points import Form, Points, not_a_bottleneck

HUBER = 0.01
ENOUGH_SEEDS = 3
CHUNK = 100

Resampling = Literal["auto", "runs", "residuals"]
RESAMPLINGS: tuple[Resampling, ...] = get_args(Resampling)
Method = Literal["runs", "residuals", "none"]


class TooFewRunsError(InputError):
    """A form has more parameters than the runs can tell."""


@dataclass(frozen=True)
class Fit:
    """A form fitted to `points`.

    method: of the intervals; none: there are none. notes: what a reader must know, in words.
    theta f64[K], samples f64[B, K]: in the scale of `rt.power_law`, from which `centre` f64[T] and
    `level` lead back. free: degrees of freedom of the intervals.
    """

    form: Form
    points: Points
    estimates: dict[str, Estimate]
    scatter: Scatter
    method: Method
    confidence: float
    notes: tuple[str, ...]
    theta: Array
    samples: Array
    centre: Array
    level: float
    free: int

    def curve(self, databases: Array, tokens: Array) -> tuple[Array, Array, Array]:
        """L and the ends of its interval at each (databases, tokens), f64[Q] each."""
        x = self.form.log_resources(databases, tokens) - self.centre[:, None]
        value = self.level * power_law.values(self.theta[None], x)[0]
        if not len(self.samples):
            return value, value, value
        low, high = percentiles(
            self.level * power_law.values(self.samples, x), self.confidence, self.free
        )
        return value, low, high


def fit(
    points: Points,
    form: Form,
    *,
    delta: float = HUBER,
    resampling: Resampling = "auto",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> Fit:
    """Fit a form to the points that it is for, as the module says. progress: is called with the
    number of refits that were done since the last call. Raises TooFewRunsError."""
    points = not_a_bottleneck(points, form)
    _check_enough(points, form)
    level, parameters = float(points.loss.max()), len(form.parameters)
    x, y = form.log_resources(points.databases, points.tokens), np.log(points.loss / level)
    centre = x.mean(axis=1)
    x = x - centre[:, None]
    least = float(points.loss.min()) / level
    grid = power_law.starts(len(x), least)
    theta = power_law.best_of(x, y[None], np.ones(1), grid, delta)[0]
    fitted = np.log(power_law.values(theta, x))[0]
    method = _method(points, parameters, resampling)
    samples = np.empty((0, parameters))
    if method != "none":
        draws = stream(seed, "scaling", form.name)
        if method == "runs":
            targets, weights = draw_runs(points, y, resamples, draws)
        else:
            targets, weights = draw_residuals(y, fitted, parameters, resamples, draws)
        first = np.concatenate([theta, power_law.starts(len(x), least, coarse=True)])
        samples = _refit(x, targets, weights, first, delta, progress)
    free = len(points) - (len(points.cells()) if method == "runs" else parameters)
    told, notes = estimates(form, theta[0], samples, centre, level, confidence, free)
    found = scatter(points, y, fitted, parameters)
    notes += notes_on_runs(points, y, parameters, method, found)
    known = (form, points, told, found, method, confidence, tuple(notes))
    return Fit(*known, theta[0], samples, centre, level, free)


def draw_runs(
    points: Points, y: Array, resamples: int, draws: np.random.Generator
) -> tuple[Array, Array]:
    """Targets and weights f64[B, P] of resamples of the runs of each (N, S); a run that is alone
    stays as it is."""
    weights = np.ones((resamples, len(points)))
    for cell in points.cells():
        n = len(cell)
        if n > 1:
            weights[:, cell] = draws.multinomial(n - 1, [1 / n] * n, size=resamples) * n / (n - 1)
    return np.broadcast_to(y, weights.shape), weights


def draw_residuals(
    y: Array, fitted: Array, parameters: int, resamples: int, draws: np.random.Generator
) -> tuple[Array, Array]:
    """Targets f64[B, P] made of the fit and drawn residuals, and weights of 1."""
    count = len(y)
    residuals = y - fitted
    residuals = (residuals - residuals.mean()) * np.sqrt(count / (count - parameters))
    targets = fitted + residuals[draws.integers(count, size=(resamples, count))]
    return targets, np.ones(targets.shape)


def _check_enough(points: Points, form: Form) -> None:
    counts = {
        "N": (len(np.unique(points.databases)), "numbers of databases"),
        "S": (len(np.unique(points.budget)), "budgets"),
    }
    at = {"N": " at the largest budget", "S": " on the most databases"}.get(form.name, "")
    for *_, resource in form.letters:
        found, what = counts[resource]
        if found < 3:
            raise TooFewRunsError(f"needs 3 or more {what}{at}, the runs have {found}")
    found, need = len(points.cells()), len(form.parameters)
    if found < need:
        raise TooFewRunsError(f"needs {need} or more pairs of N and S, the runs have {found}")


def _method(points: Points, parameters: int, asked: Resampling) -> Method:
    counts = [len(cell) for cell in points.cells()]
    if asked == "runs" or (asked == "auto" and min(counts) >= ENOUGH_SEEDS):
        return "runs" if max(counts) > 1 else "none"
    return "residuals" if len(points) > parameters else "none"


def _refit(
    x: Array,
    targets: Array,
    weights: Array,
    first: Array,
    delta: float,
    progress: Callable[[int], object],
) -> Array:
    found = []
    for start in range(0, len(targets), CHUNK):
        part = slice(start, start + CHUNK)
        found.append(power_law.best_of(x, targets[part], weights[part], first, delta)[0])
        progress(len(found[-1]))
    return np.concatenate(found)
