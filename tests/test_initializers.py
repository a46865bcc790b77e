"""Initialisers against torch's own, and masks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from plurel import params as allowed
from plurel.initializers import deviations, draw_matrices, mask


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_names_are_those_of_the_config() -> None:
    assert set(allowed.INITIALIZERS) == set(deviations((2, 3)))


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
    ours = draw_matrices([name] * count, shape, rng(1))
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
    zeros = draw_matrices(["sparse"] * 500, (8, 16), rng())
    np.testing.assert_allclose((zeros == 0).mean(axis=(0, 2)), 0.5, atol=0.03)


def test_mask_keeps_a_share_and_rescales() -> None:
    matrices = np.ones((3, 200, 100), np.float32)
    mask(matrices, [0.3, 0.75, 1.0], rng())
    kept = matrices != 0
    np.testing.assert_allclose(kept.mean(axis=(1, 2)), [0.3, 0.75, 1.0], atol=0.01)
    for matrix, share in zip(matrices, (0.3, 0.75, 1.0), strict=True):
        np.testing.assert_allclose(np.unique(matrix)[-1], 1 / share, rtol=1e-6)
