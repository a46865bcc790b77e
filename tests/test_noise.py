"""The noise of nodes: Beta(a, b) / d a component, by 4,096 quantiles."""

import numpy as np
import pytest
from models import model
from numpy.typing import NDArray
from scipy import stats

import rustler
from plurel.mechanisms import Functions
from plurel.params import SCMParams
from plurel.scm import NOISE_LEVELS, beta_quantiles


def noisy(a: float, b: float, dim: int = 32) -> rustler.TableModel:
    """Node 1 with noise, after a source."""
    functions = Functions()
    number, encoder = functions.add_decoder(None), functions.add_encoders([None])
    return model(
        functions,
        SCMParams(mlp_emb_dim=dim),
        decoder=[-1, number],
        parent_ptr=[0, 0, 1],
        parent=[0],
        encoder=[encoder],
        noise_alpha=[a, a],
        noise_beta=[b, b],
        quantiles={1: beta_quantiles(a, b)} if min(a, b) < 0.5 or max(a, b) > 20 else {},
    )


def rows(a: float, b: float, count: int, dim: int = 32) -> NDArray[np.float32]:
    return noisy(a, b, dim).noise(1, 0, count)


@pytest.mark.parametrize("b", [0.5, 1.0, 2.2, 5.0, 0.2])
@pytest.mark.parametrize("a", [0.5, 1.0, 4.2, 5.0])
def test_noise_follows_beta(a: float, b: float) -> None:
    drawn = np.sort(rows(a, b, 6400).ravel().astype(float)) * 32
    values, counts = np.unique(drawn, return_counts=True)
    assert len(values) <= NOISE_LEVELS
    # equally likely: the deviation of a count of 50 is 7
    if len(values) == NOISE_LEVELS:
        assert counts.max() < 50 + 6 * 7
        exact = stats.beta(a, b).cdf(values)
        wanted = (np.arange(NOISE_LEVELS) + 0.5) / NOISE_LEVELS
        # float32 keeps 6e-8 of 1 - x, of which b = 1/2 makes probabilities of 4e-4
        np.testing.assert_allclose(exact, wanted, atol=6e-4 if b < 1 else 3e-5)
    mean, variance = stats.beta(a, b).stats("mv")
    assert drawn.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / len(drawn)))
    assert drawn.var() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("dim", [32, 6])
def test_a_rows_noise_is_its_own(dim: int) -> None:
    whole = rows(1.5, 0.7, 300, dim)
    part = noisy(1.5, 0.7, dim).noise(1, 128, 100)
    np.testing.assert_array_equal(whole[128:228], part)
    assert len(np.unique(whole, axis=0)) == 300


def test_components_and_rows_are_independent() -> None:
    drawn = rows(2.0, 2.0, 4000)
    correlation = np.corrcoef(drawn.T)[np.triu_indices(32, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    following = [np.corrcoef(column[1:], column[:-1])[0, 1] for column in drawn.T]
    assert np.abs(following).max() < 5 / np.sqrt(4000)
