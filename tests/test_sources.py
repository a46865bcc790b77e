"""Source generators: the published formulas, row by row, and the laws of their draws."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from plurel.params import SCMParams
from plurel.sources import (
    Beta,
    Gaussian,
    Independent,
    Mixed,
    Series,
    SoftmaxSeries,
    Uniform,
    draw_categorical_source,
    draw_numeric_source,
    draw_range,
    draw_series,
)

PARAMS = SCMParams()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def series(seed: int = 0, **changes: float) -> Series:
    settings = {
        "num_rows": 200,
        "low": 0.1,
        "high": 0.8,
        "trend_scale": 1.0,
        "trend_alpha": 0.5,
        "cycle_scale": 1.0,
        "period": 60.0,
        "noise_scale": 0.05,
        "rho": 0.7,
    }
    return Series(**(settings | changes), rng=rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [-1.0, 1.0])
def test_series_is_the_clipped_formula(scale: float) -> None:
    made = series(trend_scale=scale, cycle_scale=scale).take(200)
    normals = rng().standard_normal(200)
    noise, expected = 0.0, []
    for r in range(200):
        noise = 0.7 * noise + 0.05 * normals[r]
        trend = min(scale * (r / 200) ** 0.5 + 0.1, 0.8)
        cycle = scale * math.sin(math.pi * r / 60)
        expected.append((trend + clipped(cycle) + clipped(noise)) / 3)
    np.testing.assert_allclose(made, expected, rtol=1e-12)


def clipped(value: float) -> float:
    return min(max(value, 0.1), 0.8)


def test_trend_is_not_clipped_from_below() -> None:
    # without cycle and noise, both at the bottom of the range, only the trend can go below it
    made = series(trend_scale=-1.0, cycle_scale=0.0, noise_scale=0.0).take(200)
    assert made[-1] == pytest.approx((-math.sqrt(199 / 200) + 0.1 + 0.1 + 0.1) / 3)


def test_noise_is_autoregressive() -> None:
    # a range so wide that nothing is clipped leaves noise / 3
    noise = series(
        num_rows=60_000, low=-99, high=99, trend_scale=0, cycle_scale=0, noise_scale=1, rho=0.6
    ).take(60_000) * 3 - (-99)
    correlation = [np.corrcoef(noise[lag:], noise[:-lag])[0, 1] for lag in (1, 2, 3)]
    np.testing.assert_allclose(correlation, [0.6, 0.36, 0.216], atol=0.02)
    assert noise.std() == pytest.approx(1 / math.sqrt(1 - 0.36), rel=0.02)


@pytest.mark.parametrize("kind", ["ts", "uniform", "gaussian", "beta", "mixed"])
def test_calls_of_any_size_give_the_same_rows(kind: str) -> None:
    whole = draw_numeric_source(1000, "activity", PARAMS, rng(3), kind).take(1000)
    parts = draw_numeric_source(1000, "activity", PARAMS, rng(3), kind)
    split = np.concatenate([parts.take(count) for count in (1, 255, 744)])
    np.testing.assert_array_equal(whole, split)


@pytest.mark.parametrize("seed", range(6))
def test_categorical_calls_of_any_size_give_the_same_rows(seed: int) -> None:
    whole = draw_categorical_source(5, 900, "activity", PARAMS, rng(seed)).take(900)
    parts = draw_categorical_source(5, 900, "activity", PARAMS, rng(seed))
    split = np.concatenate([parts.take(count) for count in (7, 893)])
    np.testing.assert_array_equal(whole, split)


def test_range_is_two_sorted_uniforms_times_a_scale() -> None:
    drawn = np.array([draw_range(PARAMS, rng(seed)) for seed in range(1500)])
    assert (drawn[:, 0] <= drawn[:, 1]).all()
    # the larger of two uniforms is 2/3 on average, the smaller 1/3; scales average 22.222
    np.testing.assert_allclose(drawn.mean(axis=0), [22.222 / 3, 22.222 * 2 / 3], rtol=0.08)
    shares = [np.mean(drawn[:, 1] <= scale) for scale in (0.01, 0.1, 1, 10)]
    # P(max <= s) over the five scales: 1/5 a scale up to s, and (s / scale)^2 beyond
    np.testing.assert_allclose(shares, [0.2 + 0.002, 0.402, 0.602, 0.802], atol=0.025)


def test_uniform_gaussian_and_beta_follow_their_laws() -> None:
    uniform = Uniform(2.0, 5.0, rng()).take(20_000)
    assert stats.kstest(uniform, stats.uniform(2, 3).cdf).pvalue > 0.01
    gaussian = Gaussian(2.0, 6.0, rng()).take(20_000)
    assert (gaussian.min(), gaussian.max()) == (2.0, 6.0)
    inside = gaussian[(gaussian > 2) & (gaussian < 6)]
    assert stats.kstest(inside, stats.truncnorm(-2, 2, 4, 1).cdf).pvalue > 0.01
    assert np.mean(gaussian == 2.0) == pytest.approx(stats.norm.cdf(-2), rel=0.15)
    beta = Beta(-1.0, 3.0, 0.7, 2.5, rng()).take(20_000)
    assert stats.kstest(beta, stats.beta(0.7, 2.5, -1, 4).cdf).pvalue > 0.01


def test_mixed_picks_one_part_a_row() -> None:
    values = Mixed([Uniform(0, 1, rng(1)), Uniform(10, 11, rng(2))], rng(3)).take(10_000)
    low = values < 1
    assert ((values >= 10) | low).all()
    assert low.mean() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(low[1:], low[:-1])[0, 1]) < 0.03


def test_mixed_has_two_or_three_parts_of_three_kinds() -> None:
    parts = [draw_numeric_source(9, "entity", PARAMS, rng(s), "mixed").parts for s in range(300)]  # type: ignore[attr-defined]
    assert np.mean([len(found) == 3 for found in parts]) == pytest.approx(0.5, abs=0.1)
    kinds = [type(part) for found in parts for part in found]
    assert {kinds.count(kind) / len(kinds) > 0.27 for kind in (Uniform, Gaussian, Beta)} == {True}


def test_entity_series_are_noise_only() -> None:
    made = draw_series(300, "entity", PARAMS, rng(5))
    assert (made.trend_scale, made.cycle_scale, made.noise_scale) == (0.0, 0.0, 1.0)
    made = draw_series(301, "activity", PARAMS, rng(5))
    assert abs(made.trend_scale) == abs(made.cycle_scale) == 1.0
    assert made.noise_scale == 0.05
    assert made.period == math.ceil(made.period)
    assert 31 <= made.period <= 301


def test_dirichlet_categories() -> None:
    source = Independent(np.array([0.2, 0.5, 0.3]), rng())
    counts = np.bincount(source.take(30_000))
    assert stats.chisquare(counts, 30_000 * source.probabilities).pvalue > 0.01
    params = SCMParams(source_gen_type_choices=PARAMS.source_gen_type_choices)
    shares = [
        source.probabilities[0]
        for seed in range(900)
        if isinstance(
            source := draw_categorical_source(4, 9, "entity", params, rng(seed)), Independent
        )
    ]
    assert len(shares) == pytest.approx(0.8 * 900, rel=0.08)
    # one share of a Dirichlet(1) over 4 is Beta(1, 3)
    assert stats.kstest(shares, stats.beta(1, 3).cdf).pvalue > 0.01


def test_softmax_categories() -> None:
    def logits() -> list[Series]:
        return [
            series(seed, num_rows=9, low=low, high=low + 3) for seed, low in enumerate((0, 2, 5))
        ]

    def constant(value: float) -> Series:
        return series(low=value, high=value, trend_scale=0.0)

    # series clipped to one value are that value, and the shares are their softmax
    values = np.array([0.0, 1.0, 2.0])
    source = SoftmaxSeries([constant(value) for value in values], rng(9))
    shares = np.exp(values) / np.exp(values).sum()
    assert stats.chisquare(np.bincount(source.take(30_000)), 30_000 * shares).pvalue > 0.01
    probabilities = softmax(np.stack([part.take(9) for part in logits()]))
    drawn = np.stack([SoftmaxSeries(logits(), rng(seed)).take(9) for seed in range(1500)])
    for row in range(9):
        frequencies = np.bincount(drawn[:, row], minlength=3) / 1500
        np.testing.assert_allclose(frequencies, probabilities[:, row], atol=0.045)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(logits) / np.exp(logits).sum(axis=0)
