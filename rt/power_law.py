"""Sums of falling power laws and a floor, fitted to many versions of the same points at a time.

    f(x) = sum over t of A_t exp(-a_t x_t) + C,    x_t the log of a resource

Shapes: x f64[T, P] (T terms, P points), y f64[B, P] (B versions of log f), weights f64[B, P] or
[P], parameters theta f64[B, K] with K = 2 T + 1 in the order log A_1, log a_1, log A_2, log a_2,
..., C. A and a are positive by the exponential, C >= 0 by its bound. y should lie near 0 and x
around 0: see `BOUNDS`.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOUNDS = {"A": (1e-6, 2.0), "a": (0.01, 10.0), "C": (0.0, 1.0)}
"""Of the parameters, where the largest f is about 1 and x is centred."""
AT_BOUND = 1e-3
"""A parameter that lies within this share of its bounds' distance (C: of 1; A, a: of their log)
counts as at it."""
ITERATIONS, TOLERANCE = 300, 1e-10
SHARES, EXPONENTS, FLOORS = (0.2, 0.5, 0.8), (0.1, 0.3, 0.7, 1.5), (0.0, 0.5, 0.9, 0.98)
COARSE = ((0.0, 0.3), (0.5, 0.7), (0.9, 1.2))
"""Floor and exponent of each."""


def limits(terms: int) -> tuple[Array, Array]:
    """The least and the greatest theta, f64[K] each."""
    a, b, c = BOUNDS["A"], BOUNDS["a"], BOUNDS["C"]
    low, high = ([np.log(a[end]), np.log(b[end])] * terms + [c[end]] for end in (0, 1))
    return np.array(low), np.array(high)


def at_bound(theta: Array) -> NDArray[np.int8]:
    """-1 where a parameter is at its lower bound, 1 at its upper, 0 between; like theta."""
    low, high = limits(theta.shape[-1] // 2)
    margin = AT_BOUND * (high - low)
    return np.where(theta <= low + margin, -1, np.where(theta >= high - margin, 1, 0)).astype(
        np.int8
    )


def values(theta: Array, x: Array) -> Array:
    """f at x f64[T, P]: f64[B, P]."""
    return _parts(theta, x).sum(axis=1) + theta[:, -1:]


def starts(terms: int, floor: float, coarse: bool = False) -> Array:
    """A grid of theta to start from, f64[S, K]; coarse: three that are far from each other. floor:
    the least f of the points."""
    shares = SHARES if terms > 1 else (1.0,)
    every = [*itertools.product(shares, FLOORS, itertools.product(EXPONENTS, repeat=terms))]
    if coarse:
        every = [(shares[len(shares) // 2], level, (a,) * terms) for level, a in COARSE]
    grid = []
    for share, level, exponents in every:
        rest = max(1 - level, 0.01) * floor
        pairs = zip((share, 1 - share), exponents, strict=False)
        first = [value for part, a in pairs for value in (np.log(part * rest), np.log(a))]
        grid.append([*first, level * floor])
    low, high = limits(terms)
    return np.clip(np.array(grid), low, high)


def minimise(x: Array, y: Array, weights: Array, start: Array, delta: float) -> tuple[Array, Array]:
    """The theta near `start` f64[B, K] where the weighted sum of Huber losses of log f - y is
    least, and that sum f64[B].

    Levenberg's and Marquardt's method with weights that are made anew in each step (iteratively
    reweighted least squares), for all versions side by side. A parameter at a bound that the sum
    pushes outwards stays there while the others move.
    """
    theta, (low, high) = start.copy(), limits(len(x))
    weights = np.broadcast_to(weights, y.shape)
    cost = huber(np.log(values(theta, x)) - y, weights, delta)
    damping = np.full(len(theta), 1e-3)
    active = np.arange(len(theta))
    for _ in range(ITERATIONS):
        if not len(active):
            break
        old, target, weight = theta[active], y[active], weights[active]
        step = _step(old, x, target, weight, delta, damping[active])
        new = np.clip(old + step, low, high)
        new_cost = huber(np.log(values(new, x)) - target, weight, delta)
        before, better = cost[active], new_cost < cost[active]
        theta[active[better]], cost[active[better]] = new[better], new_cost[better]
        damping[active] *= np.where(better, 0.2, 6.0)
        little = better & (before - new_cost <= TOLERANCE * before + 1e-26)
        active = active[~little & (damping[active] < 1e10)]
    return theta, cost


def best_of(x: Array, y: Array, weights: Array, first: Array, delta: float) -> tuple[Array, Array]:
    """`minimise` from each theta of `first` f64[S, K] for each version; the best, f64[B, K], and
    its sum f64[B]."""
    count, versions = len(first), len(y)
    many = np.broadcast_to(weights, y.shape)
    theta, cost = minimise(
        x,
        np.repeat(y, count, axis=0),
        np.repeat(many, count, axis=0),
        np.tile(first, (versions, 1)),
        delta,
    )
    cost = cost.reshape(versions, count)
    best = cost.argmin(axis=1)
    rows = np.arange(versions)
    return theta.reshape(versions, count, -1)[rows, best], cost[rows, best]


def huber(residual: Array, weights: Array, delta: float) -> Array:
    """The weighted sum over the points of Huber's loss, f64[B]."""
    size = np.abs(residual)
    square = 0.5 * np.minimum(size, delta) ** 2
    loss: Array = (weights * (square + delta * np.maximum(size - delta, 0))).sum(axis=1)
    return loss


def _parts(theta: Array, x: Array) -> Array:
    """The terms without the floor, f64[B, T, P]."""
    log_size, exponent = theta[:, :-1:2, None], np.exp(theta[:, 1::2, None])
    return np.exp(log_size - exponent * x)


def _step(theta: Array, x: Array, y: Array, weights: Array, delta: float, damping: Array) -> Array:
    parts = _parts(theta, x)
    total = parts.sum(axis=1) + theta[:, -1:]
    residual = np.log(total) - y
    weight = weights * delta / np.maximum(np.abs(residual), delta)
    slopes = np.empty((*theta.shape, y.shape[1]))  # f64[B, K, P]
    slopes[:, :-1:2] = parts
    slopes[:, 1::2] = -parts * np.exp(theta[:, 1::2, None]) * x
    slopes[:, -1] = 1.0
    slopes /= total[:, None]
    weighted = slopes * weight[:, None]
    gradient = (weighted @ residual[..., None])[..., 0]
    hessian = weighted @ slopes.transpose(0, 2, 1)
    low, high = limits(len(x))
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    free = ~held
    hessian *= free[:, :, None] & free[:, None, :]
    diagonal = np.einsum("bkk->bk", hessian)
    diagonal += damping[:, None] * diagonal + np.where(held, 1.0, 1e-14)
    step: Array = np.linalg.solve(hessian, -np.where(held, 0.0, gradient)[..., None])[..., 0]
    return np.clip(step, -2.0, 2.0)
