"""Activations against torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rustler

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


def test_every_activation_has_a_twin_here() -> None:
    assert set(rustler.ACTIVATIONS) == {*TORCH, "random_sines"}


@pytest.mark.parametrize("name", sorted(TORCH))
def test_activation_equals_torch(name: str) -> None:
    sizes = [*(10.0**k for k in range(-6, 6)), 0.5, 1.0, 3.0, 20.0, 88.0, 2.5]
    x = np.array([0.0, *sizes, *(-size for size in sizes)], np.float32)
    x = np.concatenate([x, rng().normal(0, 3, 5000).astype(np.float32)])
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    np.testing.assert_allclose(rustler.activate(name, x), expected, rtol=3e-6, atol=5e-7)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles(name: str) -> None:
    x = rng().uniform(-1e8, 1e8, 4000).astype(np.float32)
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    np.testing.assert_allclose(rustler.activate(name, x), expected, atol=5e-7)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_outside_of_the_ordinary(name: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 1e7, -1e7], np.float32)
    found = rustler.activate(name, x)
    clipped = TORCH[name](torch.from_numpy(x[5:])).clamp(-1e6, 1e6).numpy()
    if name not in ("sin", "cos"):  # 1e7 is no angle to speak of
        np.testing.assert_allclose(found[5:], clipped, rtol=1e-5, atol=1e-30)
    assert np.abs(found[~np.isnan(found)]).max() <= 1e6


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "signed_log1p"])
def test_small_inputs_keep_their_relative_precision(name: str) -> None:
    x = -np.geomspace(1e-12, 1e-2, 300).astype(np.float32)
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    np.testing.assert_allclose(rustler.activate(name, x), expected, rtol=1e-6, atol=0)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(rustler.RustlerError, match="unknown activation 'softmax'"):
        rustler.activate("softmax", np.zeros(3, np.float32))
