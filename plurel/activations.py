"""Activation functions of the random mechanisms, with torch's default parameters, in float32.

Each takes a contiguous float32 array of any shape, may overwrite it, and returns the result.
They are written from additions, products, exp, log, tanh and sin, which numpy vectorises, so some
differ from torch's in the last bits. `random_sines` has parameters of its own: a fresh function
a draw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Activation = Callable[[F32], F32]

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
LEAKY_SLOPE = 0.01
RRELU_SLOPE = 11 / 48
"""Mean of rrelu's slope, uniform in [1/8, 1/3]: what torch uses outside of training."""
SHRINK = 0.5


def _expm1_of_negative(x: F32) -> F32:
    """exp(min(x, 0)) - 1, exact for small x too: 2t / (1 - t) with t = tanh(x / 2)."""
    t = np.minimum(x, 0.0)
    t *= 0.5
    np.tanh(t, out=t)
    denominator = np.subtract(1.0, t)
    t *= 2.0
    t /= denominator
    return t


def _sigmoid(x: F32) -> F32:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1.0
    return np.reciprocal(x, out=x)


def _log1p_exp_of_minus_abs(x: F32) -> F32:
    t = np.abs(x)
    np.negative(t, out=t)
    np.exp(t, out=t)
    t += 1.0
    return np.log(t, out=t)


def _relu(x: F32) -> F32:
    return np.maximum(x, 0.0, out=x)


def _elu(x: F32) -> F32:
    negative = _expm1_of_negative(x)
    np.maximum(x, 0.0, out=x)
    return np.add(x, negative, out=x)


def _selu(x: F32) -> F32:
    negative = _expm1_of_negative(x)
    negative *= SELU_ALPHA
    np.maximum(x, 0.0, out=x)
    x += negative
    x *= SELU_SCALE
    return x


def _silu(x: F32) -> F32:
    gate = _sigmoid(x.copy())
    return np.multiply(x, gate, out=x)


def _softsign(x: F32) -> F32:
    denominator = np.abs(x)
    denominator += 1.0
    return np.divide(x, denominator, out=x)


def _tanh(x: F32) -> F32:
    return np.tanh(x, out=x)


def _hardsigmoid(x: F32) -> F32:
    x += 3.0
    np.clip(x, 0.0, 6.0, out=x)
    x /= 6.0
    return x


def _hardswish(x: F32) -> F32:
    gate = _hardsigmoid(x.copy())
    return np.multiply(x, gate, out=x)


def _mish(x: F32) -> F32:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); 1 in float32 beyond 20."""
    e = np.minimum(x, 20.0)
    np.exp(e, out=e)
    n = np.add(e, 2.0)
    n *= e
    x *= n
    n += 2.0
    return np.divide(x, n, out=x)


def _leaky_relu(x: F32) -> F32:
    return np.maximum(x, x * np.float32(LEAKY_SLOPE), out=x)


def _rrelu(x: F32) -> F32:
    return np.maximum(x, x * np.float32(RRELU_SLOPE), out=x)


def _gelu(x: F32) -> F32:
    """x Phi(x), the error function by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x)
    z *= np.float32(np.sqrt(0.5))
    t = z * np.float32(0.3275911)
    t += 1.0
    np.reciprocal(t, out=t)
    poly = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly += np.float32(coefficient)
        poly *= t
    np.multiply(z, z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    poly *= z
    # poly is 1 - erf(|x| / sqrt 2), twice the smaller tail: x Phi(x) = max(x, 0) - |x| tail
    poly *= 0.5
    poly *= np.abs(x)
    np.maximum(x, 0.0, out=x)
    return np.subtract(x, poly, out=x)


def _softplus(x: F32) -> F32:
    t = _log1p_exp_of_minus_abs(x)
    np.maximum(x, 0.0, out=x)
    return np.add(x, t, out=x)


def _logsigmoid(x: F32) -> F32:
    t = _log1p_exp_of_minus_abs(x)
    np.minimum(x, 0.0, out=x)
    return np.subtract(x, t, out=x)


def _clip(x: F32) -> F32:
    return np.clip(x, -1.0, 1.0, out=x)


def _tanhshrink(x: F32) -> F32:
    return np.subtract(x, np.tanh(x), out=x)


def _softshrink(x: F32) -> F32:
    return np.subtract(x, np.clip(x, -SHRINK, SHRINK), out=x)


def _hardshrink(x: F32) -> F32:
    return np.multiply(x, np.abs(x) > SHRINK, out=x)


def _identity(x: F32) -> F32:
    return x


def _abs(x: F32) -> F32:
    return np.abs(x, out=x)


def _sin(x: F32) -> F32:
    return np.sin(x, out=x)


def _cos(x: F32) -> F32:
    return np.cos(x, out=x)


def _sign(x: F32) -> F32:
    # numpy's own sign is ten times slower
    return np.subtract(x > 0.0, x < 0.0, out=x, dtype=np.float32)


def _signed_log1p(x: F32) -> F32:
    """sign(x) log(1 + |x|); the quotient keeps small |x| exact (u - 1 is what 1 + |x| kept)."""
    size = np.abs(x)
    u = size + np.float32(1.0)
    kept = u - np.float32(1.0)
    np.log(u, out=u)
    u *= size
    # where nothing was kept log(1 + |x|) is |x|; for large |x| the quotient is 1
    small = kept == 0.0
    kept[small] = 1.0
    u /= kept
    np.copyto(u, size, where=small)
    return np.copysign(u, x, out=x)


def _bent_identity(x: F32) -> F32:
    t = np.multiply(x, x)
    t += 1.0
    np.sqrt(t, out=t)
    t -= 1.0
    t *= 0.5
    return np.add(x, t, out=x)


ACTIVATIONS: dict[str, Activation] = {
    "relu": _relu,
    "elu": _elu,
    "selu": _selu,
    "silu": _silu,
    "softsign": _softsign,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "hardswish": _hardswish,
    "mish": _mish,
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "softplus": _softplus,
    "hardsigmoid": _hardsigmoid,
    "hardtanh": _clip,
    "celu": _elu,
    "tanhshrink": _tanhshrink,
    "rrelu": _rrelu,
    "logsigmoid": _logsigmoid,
    "softshrink": _softshrink,
    "hardshrink": _hardshrink,
    "identity": _identity,
    "abs": _abs,
    "sin": _sin,
    "cos": _cos,
    "sign": _sign,
    "clip": _clip,
    "signed_log1p": _signed_log1p,
    "bent_identity": _bent_identity,
}
"""Activations without parameters of their own, by name; `random_sines` is drawn."""

BOUNDED = frozenset(
    ("softsign", "tanh", "sigmoid", "hardsigmoid", "hardtanh", "sin", "cos", "sign", "clip")
)
"""Activations with values in [-1, 1]: clipping them far outside changes nothing."""


@dataclass(frozen=True, eq=False)
class RandomSines:
    """sum_i amplitude_i sin(frequency_i x + phase_i), float32 [terms] each."""

    amplitudes: F32
    frequencies: F32
    phases: F32

    def __call__(self, x: F32) -> F32:
        total = np.zeros_like(x)
        for amplitude, frequency, phase in zip(
            self.amplitudes, self.frequencies, self.phases, strict=True
        ):
            term = x * frequency
            term += phase
            np.sin(term, out=term)
            term *= amplitude
            total += term
        return total


def draw_random_sines(rng: np.random.Generator) -> RandomSines:
    """3 to 7 sines: amplitudes N(0, 1), frequencies log-uniform in [0.1, 10], phases uniform."""
    terms = int(rng.integers(3, 8))
    amplitudes = rng.standard_normal(terms, dtype=np.float32)
    frequencies = np.exp(rng.uniform(np.log(0.1), np.log(10.0), terms)).astype(np.float32)
    phases = rng.uniform(0.0, 2.0 * np.pi, terms).astype(np.float32)
    return RandomSines(amplitudes, frequencies, phases)


def make_activation(name: str, rng: np.random.Generator) -> Activation:
    """The activation of that name; draws only for `random_sines`."""
    return draw_random_sines(rng) if name == "random_sines" else ACTIVATIONS[name]
