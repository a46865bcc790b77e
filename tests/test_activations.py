"""Activations against torch, and the law of random sines."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from plurel import params as allowed
from plurel.activations import ACTIVATIONS, BOUNDED, draw_random_sines

TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "selu": F.selu,
    "silu": F.silu,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "celu": F.celu,
    "tanhshrink": F.tanhshrink,
    "rrelu": F.rrelu,
    "logsigmoid": F.logsigmoid,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "identity": lambda x: x,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": torch.sign,
    "clip": lambda x: x.clamp(-1, 1),
    "signed_log1p": lambda x: x.sign() * torch.log1p(x.abs()),
    "bent_identity": lambda x: (torch.sqrt(x**2 + 1) - 1) / 2 + x,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_names_are_those_of_the_config() -> None:
    assert set(allowed.ACTIVATIONS) == {*ACTIVATIONS, "random_sines"} == {*TORCH, "random_sines"}


@pytest.mark.parametrize("name", sorted(TORCH))
def test_activation_equals_torch(name: str) -> None:
    sizes = [*(10.0**k for k in range(-6, 6)), 0.5, 1.0, 3.0, 20.0, 88.0, 2.5]
    x = np.array([0.0, *sizes, *(-size for size in sizes)], np.float32)
    x = np.concatenate([x, rng().normal(0, 3, 5000).astype(np.float32)])
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    with np.errstate(over="ignore", under="ignore"):
        found = ACTIVATIONS[name](x.copy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=5e-7)
    if name in BOUNDED:
        assert np.abs(found).max() <= 1.0


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "signed_log1p"])
def test_small_inputs_keep_their_relative_precision(name: str) -> None:
    x = -np.geomspace(1e-12, 1e-2, 300).astype(np.float32)
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](x.copy()), expected, rtol=1e-6, atol=0)


def test_random_sines() -> None:
    drawn = [draw_random_sines(rng(seed)) for seed in range(2000)]
    counts = np.bincount([len(one.phases) for one in drawn])
    assert stats.chisquare(counts[3:]).pvalue > 0.01
    assert len(counts) == 8
    logs = np.log10(np.concatenate([one.frequencies for one in drawn]))
    assert stats.kstest(logs, stats.uniform(-1, 2).cdf).pvalue > 0.01
    amplitudes = np.concatenate([one.amplitudes for one in drawn])
    assert stats.kstest(amplitudes, stats.norm.cdf).pvalue > 0.01
    phases = np.concatenate([one.phases for one in drawn])
    assert stats.kstest(phases, stats.uniform(0, 2 * np.pi).cdf).pvalue > 0.01
    one, x = drawn[0], np.linspace(-2, 2, 7, dtype=np.float32)
    expected = sum(
        a * np.sin(f * x.astype(float) + p)
        for a, f, p in zip(one.amplitudes, one.frequencies, one.phases, strict=True)
    )
    np.testing.assert_allclose(one(x), expected, atol=3e-6)
