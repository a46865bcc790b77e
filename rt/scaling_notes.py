"""What a fitted scaling law tells: its parameters in published units, and what a reader must know
about them, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import norm
from scipy.stats import t as t_distribution

from rt import power_law
from rt.power_law import Array
from rt.scaling_points import Form, Points

WIDE = 10.0
"""A parameter whose interval spans more than this factor is not identified."""
UNLIKELY = 0.01
"""The level of the tests behind the notes."""


@dataclass(frozen=True)
class Estimate:
    """A parameter in the published units, the ends of its interval (None: there is none), and
    whether the runs tell it at all."""

    value: float
    low: float | None
    high: float | None
    identified: bool


@dataclass(frozen=True)
class Scatter:
    """Of log L. r2: the share of the variance that the form explains (None: there is none to
    explain). spread: of the residuals, corrected for the number of parameters (None: as many as
    runs). seed_spread: about the means of the (N, S) (None: no second seed). fits: False if the
    form misses these means by more than `seed_spread` explains."""

    r2: float | None
    spread: float | None
    seed_spread: float | None
    fits: bool


def percentiles(values: Array, confidence: float, free: int) -> Array:
    """The ends of the interval of each column, f64[2, ...]. free: degrees of freedom of the scatter
    behind the resamples. From few runs it comes out too low as often as too high, so the ends lie
    further out than their share: where a normal curve reaches as far as Student's with `free`
    (Hesterberg 2014, arXiv 1411.5279, expanded percentile interval)."""
    share = norm.cdf(t_distribution.ppf(0.5 - confidence / 2, free))
    found: Array = np.percentile(values, [100 * share, 100 - 100 * share], axis=0)
    return found


def published_units(theta: Array, centre: Array, level: float) -> Array:
    """theta f64[B, K] as A, a, B, b, C: f64[B, K]."""
    values = theta.copy()
    values[:, 1::2] = np.exp(theta[:, 1::2])
    values[:, :-1:2] = level * np.exp(theta[:, :-1:2] + values[:, 1::2] * centre)
    values[:, -1] = level * theta[:, -1]
    return values


def estimates(
    form: Form,
    theta: Array,
    samples: Array,
    centre: Array,
    level: float,
    confidence: float,
    free: int,
) -> tuple[dict[str, Estimate], list[str]]:
    """Each parameter, and notes on those that the runs do not tell. theta f64[K], samples
    f64[B, K] as in `rt.power_law`; free: as in `percentiles`."""
    value = published_units(theta[None], centre, level)[0]
    count = len(theta)
    ends, factor, in_the_middle = np.full((2, count), np.nan), np.full(count, np.nan), np.empty(0)
    if len(samples):
        ends = percentiles(published_units(samples, centre, level), confidence, free)
        factor = np.divide(ends[1], ends[0], out=np.full(count, np.inf), where=ends[0] > 0)
        low, high = percentiles(samples[:, :-1:2], confidence, free)
        in_the_middle = np.exp(high - low)
    bound = power_law.at_bound(theta)
    known = factor <= WIDE  # false without an interval
    known[:-1] &= bound[:-1] == 0
    known[1::2] &= bound[:-1:2] == 0
    found = {
        name: Estimate(
            float(value[i]),
            float(ends[0, i]) if len(samples) else None,
            float(ends[1, i]) if len(samples) else None,
            bool(known[i]),
        )
        for i, name in enumerate(form.parameters)
    }
    notes = _notes_on_terms(form, bound, factor > WIDE, in_the_middle > WIDE, confidence)
    return found, notes + _notes_on_floor(found["C"], bound[-1])


def _notes_on_terms(
    form: Form,
    bound: NDArray[np.int8],
    wide: NDArray[np.bool_],
    wide_in_the_middle: NDArray[np.bool_],
    confidence: float,
) -> list[str]:
    """wide [K]: whose interval is wide; wide_in_the_middle [T]: likewise of A N^-a in the middle of
    the runs, for N = 1 may be far from them. Without intervals none is."""
    notes = []
    for term, (size, exponent, resource) in enumerate(form.letters):
        size_at, exponent_at = 2 * term, 2 * term + 1
        if bound[size_at] < 0:
            notes.append(
                f"the loss does not fall with {resource}: {size} and {exponent} say nothing"
            )
            continue
        if bound[exponent_at]:
            at = power_law.BOUNDS["a"][bound[exponent_at] > 0]
            notes.append(f"{exponent} is at the end of the search, {at:g}: it is not identified")
        names = [n for n, at in ((size, size_at), (exponent, exponent_at)) if wide[at]]
        if names:
            told = f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} not identified"
            text = f"{told}: the {confidence:.0%} interval spans more than a factor of {WIDE:g}"
            if wide[size_at] and not wide_in_the_middle[term]:
                where = f"{resource} = 1{' billion' if resource == 'S' else ''}"
                text += f"; {size} is the term at {where}, in the middle of the runs it is narrower"
            notes.append(text)
    return notes


def _notes_on_floor(floor: Estimate, bound: int) -> list[str]:
    if bound < 0:
        return ["C is 0, the least it may be: these runs show no floor"]
    if floor.low is not None and floor.high is not None and not floor.identified:
        return [
            "C is not identified: its interval begins near 0, so these runs do not tell how low "
            "the floor is, nor the exponents that go with it"
        ]
    return []


def scatter(points: Points, y: Array, fitted: Array, parameters: int) -> Scatter:
    """How well fitted f64[P] agrees with y f64[P], both logs of the loss."""
    squares, total = float(((y - fitted) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    cells = points.cells()
    within = sum(float(((y[cell] - y[cell].mean()) ** 2).sum()) for cell in cells)
    free, within_free = len(y) - parameters, len(y) - len(cells)
    misfit_free, likely = len(cells) - parameters, 1.0
    if within > 0 and misfit_free > 0:
        ratio = max(squares - within, 0.0) / misfit_free / (within / within_free)
        likely = float(f_distribution.sf(ratio, misfit_free, within_free))
    return Scatter(
        r2=1 - squares / total if total > 0 else None,
        spread=float(np.sqrt(squares / free)) if free > 0 else None,
        seed_spread=float(np.sqrt(within / within_free)) if within_free > 0 else None,
        fits=likely >= UNLIKELY,
    )


def notes_on_runs(
    points: Points, y: Array, parameters: int, method: str, found: Scatter
) -> list[str]:
    """What the choice of runs means for the fit. method: of `rt.scaling.fit`."""
    cells = points.cells()
    notes = []
    if method == "none":
        notes.append("no intervals: they need a second seed, or more runs than parameters")
    elif method == "runs" and min(map(len, cells)) == 1:
        alone = sum(len(cell) == 1 for cell in cells)
        notes.append(f"intervals are too narrow: {alone} of {len(cells)} (N, S) have one run only")
    if len(cells) == parameters:
        notes.append("as many (N, S) as parameters: R2 and residuals say nothing about the form")
    if not found.fits:
        notes.append(
            "the form misses the means of the (N, S) by more than the seeds explain: its "
            "parameters sum up these runs, and may not hold beyond them"
        )
    return notes + _notes_on_seeds(points, y, cells)


def _notes_on_seeds(points: Points, y: Array, cells: Sequence[np.ndarray]) -> list[str]:
    deviations = np.concatenate([y[cell] - y[cell].mean() for cell in cells])
    seeds = np.concatenate([points.seed[cell] for cell in cells])
    compared = np.repeat([len(cell) > 1 for cell in cells], [len(cell) for cell in cells])
    names = np.unique(seeds[compared])
    shifts = []
    for name in names:
        own = deviations[compared & (seeds == name)]
        error = own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 3 else 0.0
        if error > 0 and 2 * t_distribution.sf(abs(own.mean()) / error, len(own) - 1) < (
            UNLIKELY / len(names)
        ):
            shifts.append(f"seed {name} by {own.mean():+.2%}")
    if not shifts:
        return []
    return [
        f"seeds differ in all runs alike ({', '.join(shifts)} from the mean of their (N, S)): each "
        "measures on rows of its own, which the interval of C does not take into account"
    ]
