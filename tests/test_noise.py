"""The noise of nodes: Beta by quantiles."""

import numpy as np
import pytest
from scipy import stats

from plurel.noise import BetaNoise, beta_quantiles


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.5, 5), (5, 0.5), (1, 1), (4.2, 2.2), (0.2, 3)])
def test_noise_follows_beta(a: float, b: float) -> None:
    quantiles = beta_quantiles(a, b)
    assert len(quantiles) == 4096
    exact = stats.beta(a, b).cdf(quantiles.astype(float))
    # float32 keeps 6e-8 of 1 - x, of which b = 1/2 makes probabilities of 4e-4
    np.testing.assert_allclose(exact, (np.arange(4096) + 0.5) / 4096, atol=6e-4 if b < 1 else 2e-5)
    noise = BetaNoise(a, b, 32, rng(7)).take(500)
    assert noise.shape == (500, 32)
    picked = np.bincount(np.searchsorted(quantiles / np.float32(32), noise.ravel()), minlength=4096)
    if len(np.unique(quantiles)) == 4096:
        assert picked.max() < 20
        coarse = picked.reshape(64, 64).sum(axis=1)
        assert stats.chisquare(coarse).pvalue > 0.001


@pytest.mark.parametrize("dim", [32, 6])
def test_noise_rows_do_not_depend_on_calls(dim: int) -> None:
    whole = BetaNoise(1.5, 0.7, dim, rng(8)).take(100)
    parts = BetaNoise(1.5, 0.7, dim, rng(8))
    np.testing.assert_array_equal(whole, np.concatenate([parts.take(1), parts.take(99)]))
    assert abs(np.corrcoef(whole[:, 0], whole[:, 1])[0, 1]) < 0.4
