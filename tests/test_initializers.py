"""Initialisers against torch's own, and masks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import rustler


def draw(name: str, shape: tuple[int, int, int], density: float = 1.0) -> NDArray[np.float32]:
    return rustler.draw_matrices(bytes(range(32)), shape, name, density)


def test_every_rule_has_a_twin_here() -> None:
    assert set(rustler.INITIALIZERS) == set(TORCH_INIT)


TORCH_INIT: dict[str, Callable[[torch.Tensor], Any]] = {
    "kaiming_normal": torch.nn.init.kaiming_normal_,
    "kaiming_uniform": torch.nn.init.kaiming_uniform_,
    "xavier_normal": torch.nn.init.xavier_normal_,
    "xavier_uniform": torch.nn.init.xavier_uniform_,
    "trunc_normal": torch.nn.init.trunc_normal_,
    "sparse": lambda matrix: torch.nn.init.sparse_(matrix, sparsity=0.5),
}


@pytest.mark.parametrize("shape", [(1, 32), (32, 32), (32, 1), (7, 32)])
@pytest.mark.parametrize("name", sorted(TORCH_INIT))
def test_initializer_has_torchs_law(name: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    count = 20_000 // (shape[0] * shape[1]) + 1
    theirs = torch.stack([TORCH_INIT[name](torch.empty(shape)) for _ in range(count)]).numpy()
    ours = draw(name, (count, *shape))
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    # the same zeros in each column, and the same law of the rest
    np.testing.assert_array_equal(
        np.unique((ours == 0).sum(axis=1)), np.unique((theirs == 0).sum(axis=1))
    )
    if ours.any():
        assert stats.ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 0.001
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.35)
    else:
        assert (name, shape) == ("sparse", (1, 32))


def test_sparse_zeros_are_anywhere_in_a_column() -> None:
    zeros = draw("sparse", (500, 8, 16))
    np.testing.assert_allclose((zeros == 0).mean(axis=(0, 2)), 0.5, atol=0.03)


def test_matrices_are_independent() -> None:
    matrices = draw("kaiming_normal", (200, 8, 16)).reshape(200, -1)
    correlation = np.corrcoef(matrices)[np.triu_indices(200, 1)]
    # the deviation of a correlation of 128 pairs is 0.09
    assert correlation.std() == pytest.approx(1 / np.sqrt(128), rel=0.05)
    assert np.abs(correlation).max() < 0.5


@pytest.mark.parametrize("density", [0.3, 0.75, 1.0])
def test_a_mask_keeps_a_share_and_rescales(density: float) -> None:
    plain = draw("trunc_normal", (20, 100, 50))
    masked = draw("trunc_normal", (20, 100, 50), density)
    kept = masked != 0
    assert kept.mean() == pytest.approx(density, abs=0.006)
    np.testing.assert_allclose(kept.mean(axis=(0, 1)), density, atol=0.06)
    np.testing.assert_allclose(masked[kept], plain[kept] / np.float32(density), rtol=1e-6)
