"""Source generators: the values of nodes without parents, row after row (PluRel, 2602.04029).

A source hands out its rows in order, `take(count)` the next `count` of them; what it hands out
does not depend on how the rows are split into calls, because every kind of draw has a generator
of its own. Numeric sources give float32, categorical ones int64 codes.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from plurel.config import SCMParams
from plurel.schema import TableKind

F64 = NDArray[np.float64]
Rng = np.random.Generator

MIXED_KINDS = ("uniform", "gaussian", "beta")
MIN_STD = 1e-6


class NumericSource(Protocol):
    """A source of numbers: the next `count` rows, float64 [count]."""

    def take(self, count: int) -> F64: ...


class CategoricalSource(Protocol):
    """A source of categories: the next `count` rows, int64 [count]."""

    def take(self, count: int) -> NDArray[np.int64]: ...


@dataclass
class Uniform:
    """Uniform in [low, high)."""

    low: float
    high: float
    rng: Rng

    def take(self, count: int) -> F64:
        return self.low + (self.high - self.low) * self.rng.random(count)


@dataclass
class Gaussian:
    """Normal around the middle of the range, a quarter of its width wide, clipped to it."""

    low: float
    high: float
    rng: Rng

    def take(self, count: int) -> F64:
        std = max((self.high - self.low) / 4.0, MIN_STD)
        values = (self.low + self.high) / 2.0 + std * self.rng.standard_normal(count)
        return np.clip(values, self.low, self.high)


@dataclass
class Beta:
    """Beta(alpha, beta) stretched over [low, high]."""

    low: float
    high: float
    alpha: float
    beta: float
    rng: Rng

    def take(self, count: int) -> F64:
        return self.low + (self.high - self.low) * self.rng.beta(self.alpha, self.beta, count)


@dataclass
class Mixed:
    """Each row comes from one of the parts, picked with equal chances."""

    parts: list[NumericSource]
    rng: Rng

    def take(self, count: int) -> F64:
        values = np.stack([part.take(count) for part in self.parts])
        picks = (self.rng.random(count) * len(self.parts)).astype(np.int64)
        return values[picks, np.arange(count)]


@dataclass
class Series:
    """(trend + cycle + noise) / 3 of the row index r of num_rows.

    trend = trend_scale (r / num_rows)^trend_alpha + low, cut at high; cycle = cycle_scale
    sin(pi r / period) and noise, an AR(1) process from 0, are clipped to [low, high]; the
    process itself runs unclipped.
    """

    num_rows: int
    low: float
    high: float
    trend_scale: float
    trend_alpha: float
    cycle_scale: float
    period: float
    noise_scale: float
    rho: float
    rng: Rng
    row: int = 0
    state: F64 = field(default_factory=lambda: np.zeros(1))

    def take(self, count: int) -> F64:
        rows = np.arange(self.row, self.row + count)
        self.row += count
        trend = self.trend_scale * (rows / self.num_rows) ** self.trend_alpha + self.low
        cycle = self.cycle_scale * np.sin(rows / self.period * np.pi)
        innovations = self.noise_scale * self.rng.standard_normal(count)
        noise, self.state = lfilter([1.0], [1.0, -self.rho], innovations, zi=self.state)
        values = np.minimum(trend, self.high)
        values += np.clip(cycle, self.low, self.high)
        values += np.clip(noise, self.low, self.high)
        return values / 3.0


@dataclass
class Independent:
    """Independent categories with fixed probabilities, float64 [categories]."""

    probabilities: F64
    rng: Rng

    def take(self, count: int) -> NDArray[np.int64]:
        bounds = np.cumsum(self.probabilities)[:-1]
        return np.searchsorted(bounds, self.rng.random(count), side="right").astype(np.int64)


@dataclass
class SoftmaxSeries:
    """Categories drawn with the softmax over one series each as probabilities."""

    series: list[Series]
    rng: Rng

    def take(self, count: int) -> NDArray[np.int64]:
        logits = np.stack([series.take(count) for series in self.series])
        bounds = np.cumsum(np.exp(logits - logits.max(axis=0)), axis=0)
        thresholds = self.rng.random(count) * bounds[-1]
        return (bounds[:-1] <= thresholds).sum(axis=0)


def draw_range(params: SCMParams, rng: Rng) -> tuple[float, float]:
    """[low, high]: two uniform draws, sorted, times a scale."""
    scale = float(params.ts_value_scale_choices.sample(rng))
    low, high = np.sort(rng.random(2)) * scale
    return float(low), float(high)


def draw_series(num_rows: int, role: TableKind, params: SCMParams, rng: Rng) -> Series:
    """A time series; entity tables have noise only, by the defaults of the config."""
    low, high = draw_range(params, rng)
    if role == "activity":
        trend_scale = float(params.activity_table_ts_trend_scale_choices.sample(rng))
        cycle_scale = float(params.activity_table_ts_cycle_scale_choices.sample(rng))
        noise_scale = params.activity_table_ts_noise_scale
    else:
        trend_scale = params.entity_table_ts_trend_scale
        cycle_scale = params.entity_table_ts_cycle_scale
        noise_scale = params.entity_table_ts_noise_scale
    return Series(
        num_rows=num_rows,
        low=low,
        high=high,
        trend_scale=trend_scale,
        trend_alpha=float(params.ts_trend_alpha_choices.sample(rng)),
        cycle_scale=cycle_scale,
        period=float(np.ceil(num_rows * float(params.ts_cycle_freq_perc_choices.sample(rng)))),
        noise_scale=noise_scale,
        rho=float(params.ts_ar_rho_choices.sample(rng)),
        rng=rng,
    )


def draw_numeric_source(
    num_rows: int, role: TableKind, params: SCMParams, rng: Rng, kind: str | None = None
) -> NumericSource:
    """A source of numbers of the given kind, or of a drawn one."""
    kind = kind or params.source_gen_type_choices.sample(rng)
    if kind == "ts":
        return draw_series(num_rows, role, params, rng)
    if kind == "mixed":
        names = [MIXED_KINDS[pick] for pick in rng.integers(3, size=int(rng.integers(2, 4)))]
        *children, picker = rng.spawn(len(names) + 1)
        return Mixed(
            [
                draw_numeric_source(num_rows, role, params, child, name)
                for name, child in zip(names, children, strict=True)
            ],
            picker,
        )
    low, high = draw_range(params, rng)
    if kind == "uniform":
        return Uniform(low, high, rng)
    if kind == "gaussian":
        return Gaussian(low, high, rng)
    alpha = float(params.source_beta_alpha_choices.sample(rng))
    beta = float(params.source_beta_beta_choices.sample(rng))
    return Beta(low, high, alpha, beta, rng)


def draw_categorical_source(
    num_categories: int, num_rows: int, role: TableKind, params: SCMParams, rng: Rng
) -> CategoricalSource:
    """A source of categories: a softmax over series for `ts`, else fixed Dirichlet(1) shares."""
    if params.source_gen_type_choices.sample(rng) == "ts":
        *children, picker = rng.spawn(num_categories + 1)
        return SoftmaxSeries(
            [draw_series(num_rows, role, params, child) for child in children], picker
        )
    return Independent(rng.dirichlet(np.ones(num_categories)), rng)
