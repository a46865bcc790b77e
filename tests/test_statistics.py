"""Drawn distributions against their exact laws, with samples so large that a 5 % error shows.

Every law is checked twice: what is drawn agrees with the law, and the same check refuses the law
with one of its parameters 5 % off. A check rejects at a p-value below 1e-4, so that the fixed
seeds are nothing special.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from plurel.choices import Choices
from plurel.columns import finish_table
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.links import Blocks, draw_parents, make_blocks
from plurel.params import DatabaseParams, SCMParams
from plurel.rng import stream
from plurel.schema import ColumnSchema, TableSchema
from plurel.sources import Independent, Series, SoftmaxSeries, draw_series
from plurel.values import TableValues

LEVEL = 1e-4
OFF = 1.05
F64 = NDArray[np.float64]
both = pytest.mark.parametrize("error", [1.0, OFF], ids=["law", "5 % off"])


def agrees(p_value: float, error: float) -> None:
    """The sample agrees with the law itself and not with the law that is off."""
    assert (p_value > LEVEL) == (error == 1.0), f"p-value {p_value:.2g} at error {error}"


def chi_square(counts: NDArray[np.int64], shares: F64) -> float:
    """p-value of counts under shares, which are normalised; cells that expect < 5 are pooled."""
    expected = shares / shares.sum() * counts.sum()
    small = expected < 5
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
        if expected[-1] < 5:
            counts, expected = (np.append(x[:-2], x[-2:].sum()) for x in (counts, expected))
    return float(stats.chisquare(counts, expected).pvalue)


def z_test(value: float, expected: float, error: float) -> float:
    """p-value of a mean's distance from what is expected, in standard errors `error`."""
    return float(2 * stats.norm.sf(abs(value - expected) / error))


# Foreign keys


def agreement(blocks: Blocks) -> NDArray[np.int64]:
    """i64[C, P]: on how many of the levels base clusters c and p stand on a diagonal."""
    ones = [np.where(matrix == matrix.max(), 2.0, 1.0) for matrix in blocks.matrices]
    counted = make_blocks(1, 1, ones).scores().T
    return np.log2(counted).round().astype(np.int64)


def published(diagonal: float, seed: int) -> list[F64]:
    """Three levels of 2 x 2 clusters: the published matrices, on the diagonal this value."""
    rng = stream(seed, "matrices")
    matrices = [rng.uniform(0.001, 0.002, size=(2, 2)) for _ in range(3)]
    for matrix in matrices:
        np.fill_diagonal(matrix, diagonal)
    return matrices


@both
def test_children_leave_their_block_at_the_exact_rate(error: float) -> None:
    """Five million children: one in 200 leaves its block on one level, dozens on two."""
    rows = (901, 5_000_000)
    blocks = make_blocks(*rows, published(0.9, seed=0))
    parents = draw_parents(blocks, stream(0, "children"))
    base = np.searchsorted(blocks.parent_starts, parents, side="right") - 1
    sizes = np.diff(blocks.child_starts)
    counts = np.bincount(agreement(blocks)[np.repeat(np.arange(8), sizes), base], minlength=4)
    law = make_blocks(*rows, published(0.9 * error, seed=0)).probabilities() * sizes[:, None]
    shares = np.bincount(agreement(blocks).ravel(), weights=law.ravel(), minlength=4)
    agrees(chi_square(counts, shares), error)


@both
def test_every_block_has_its_exact_chance(error: float) -> None:
    """Uneven parent clusters, one of them empty; matrices so flat that no block is rare."""
    rng = stream(1, "flat")
    matrices = [rng.uniform(0.2, 0.9, size=(3, 2)), rng.uniform(0.2, 0.9, size=(3, 2))]
    blocks = make_blocks(23, 1_000_000, matrices)
    assert np.diff(blocks.parent_starts).tolist() == [3, 3, 3, 3, 3, 3, 3, 2, 0]
    base = np.searchsorted(blocks.parent_starts, draw_parents(blocks, rng), side="right") - 1
    matrices[1][2, 0] *= error
    law = make_blocks(23, 1_000_000, matrices).probabilities()
    start, end = blocks.child_starts[:2]
    agrees(chi_square(np.bincount(base[start:end], minlength=9), law[0]), error)


@both
def test_parents_of_a_block_are_referenced_alike(error: float) -> None:
    """The number of children of one parent row in 60,000 independent blocks of ten: binomial."""
    blocks = make_blocks(40, 1_600_000, [np.array([[0.9, 0.001], [0.002, 0.9]])])
    parents = draw_parents(blocks, stream(2, "alike"))[:800_000].reshape(-1, 20)
    degrees = np.bincount((parents == 7).sum(axis=1), minlength=21)
    chance = blocks.probabilities()[0, 0] / 20 * error
    agrees(chi_square(degrees, stats.binom.pmf(np.arange(21), 20, chance)), error)


# Categories


@both
def test_fixed_shares(error: float) -> None:
    shares = np.array([0.08, 0.12, 0.25, 0.55])
    counts = np.bincount(Independent(shares, stream(3)).take(400_000), minlength=4)
    agrees(chi_square(counts, shares * [1, error, 1, 1]), error)


@both
def test_softmax_shares(error: float) -> None:
    """Series held at one value each: the shares are the softmax of the values."""
    values = np.array([0.0, 0.8, 1.5, 2.0])
    flat = [
        Series(9, value, value, 0.0, 1.0, 0.0, 5.0, 1.0, 0.5, stream(4, number))
        for number, value in enumerate(values)
    ]
    counts = np.bincount(SoftmaxSeries(flat, stream(4)).take(200_000), minlength=4)
    agrees(chi_square(counts, np.exp(values * error)), error)


@both
def test_number_of_categories(error: float) -> None:
    params = SCMParams()
    rng = stream(5)
    draws = [params.num_categories_choices.sample(rng) for _ in range(150_000)]
    counts = np.bincount(draws, minlength=11)[2:]
    agrees(chi_square(counts, np.array([1.0] * 4 + [error] * 5)), error)


# Missing cells


def missing(rows: int, tables: int) -> NDArray[np.bool_]:
    """bool[tables, rows]: the missing cells of tables of one numeric column each."""
    column = (ColumnSchema("feature_0", "numerical"),)
    table = TableSchema("t", "entity", rows, column)
    params = DatabaseParams(col_transform_choices=Choices("set", ("identity",)))
    config = Config(database_params=params)
    values = TableValues(column, (np.arange(rows, dtype=np.float32),), "type_eager")
    drawn = [finish_table(values, table, config, seed, ("t",)) for seed in range(tables)]
    return np.array([np.isnan(columns["feature_0"]) for columns in drawn])


MISSING = missing(rows=1000, tables=4500)


@both
def test_missing_rates_are_uniform(error: float) -> None:
    """floor(1000 rate), the rate uniform in [0.01, 0.1]: 10..99 missing cells, all as likely."""
    counts = MISSING.sum(axis=1)
    assert (counts.min(), counts.max()) == (10, 99)
    # a uniform in a cell makes the counts continuous again
    rates = (counts + stream(6).random(len(counts))) / 1000
    law = stats.uniform(0.01 * error, 0.09 * error)
    agrees(stats.kstest(rates, law.cdf).pvalue, error)


@both
def test_missing_cells_fall_evenly_over_the_rows(error: float) -> None:
    cells = MISSING.sum(axis=0).reshape(4, 250).sum(axis=1)
    agrees(chi_square(cells, np.array([error, 1, 1, 1])), error)


# Time series


@both
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_noise_is_autoregressive_of_order_one(rho: float, error: float) -> None:
    """Lag 1 correlates by rho, lag 2 by rho squared; the innovations have their scale."""
    rows = 400_000
    wide = Series(rows, -1e3, 1e3, 0.0, 1.0, 0.0, 5.0, 2.0, rho, stream(7, int(10 * rho)))
    # trend at the bottom of the range, cycle 0
    noise = wide.take(rows) * 3 + 1e3
    first = float(np.mean(noise[1:] * noise[:-1]) / np.mean(noise**2))
    agrees(z_test(first, rho * error, np.sqrt((1 - rho**2) / rows)), error)
    residuals = noise[1:] - rho * noise[:-1]
    assert abs(np.corrcoef(residuals[1:], residuals[:-1])[0, 1]) < 4 / np.sqrt(rows)
    agrees(z_test(residuals.std(), 2.0 * error, 2.0 / np.sqrt(2 * rows)), error)


SERIES_RNG = stream(8)
SERIES = [draw_series(100, "activity", SCMParams(), SERIES_RNG) for _ in range(5000)]


@both
@pytest.mark.parametrize(("name", "high"), [("rho", 0.9), ("trend_alpha", 2.0)])
def test_parameters_of_series_are_uniform(name: str, high: float, error: float) -> None:
    values = [getattr(one, name) for one in SERIES]
    agrees(stats.kstest(values, stats.uniform(0.0, high * error).cdf).pvalue, error)


# Time


def evenly_spaced(dates: F64, start: float, end: float) -> bool:
    """Whether row r stands at start + r (end - start) / (rows - 1), to a microsecond."""
    expected = np.linspace(start, end, len(dates))
    return bool(np.abs(dates - expected).max() <= 1.0)


def test_dates_of_a_database_are_evenly_spaced_over_one_window() -> None:
    config = Config().overridden(
        [
            "database_params.num_cols_choices=1",
            "database_params.table_layout_choices=BarabasiAlbert",
        ]
    )
    dataset = SyntheticDataset(3, config)
    tables = dataset.make_db().table_dict.values()
    dated = [table.df[table.time_col] for table in tables if table.time_col is not None]
    assert len(dated) > 2
    start, end = dataset.window.start * 1e6, dataset.window.end * 1e6
    for dates in dated:
        micros = dates.astype("datetime64[us]").astype(np.int64).to_numpy(np.float64)
        assert evenly_spaced(micros, start, end)
        # the check bites: gaps of 5 % noise, and a window 5 % shorter, are refused
        noisy = micros + 0.05 * (micros[1] - micros[0]) * stream(9).standard_normal(len(micros))
        assert not evenly_spaced(noisy, start, end)
        assert not evenly_spaced(start + (micros - start) * 0.95, start, end)
