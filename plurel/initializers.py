"""Random weight matrices [in x out] and embeddings, many of one shape at a time.

The rules are those of torch.nn.init called on the [in x out] matrix: torch takes the second
dimension as fan-in and the first as fan-out. Each rule draws `count` matrices, float32
[count, in, out].
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Rng = np.random.Generator
Shape = tuple[int, int]
Initializer = Callable[[int, Shape, Rng], F32]

TRUNCATED_AT = 2.0
SPARSE_STD = 0.01
SPARSITY = 0.5


def _normal(count: int, shape: Shape, std: float, rng: Rng) -> F32:
    matrices = rng.standard_normal((count, *shape), dtype=np.float32)
    matrices *= np.float32(std)
    return matrices


def _uniform(count: int, shape: Shape, bound: float, rng: Rng) -> F32:
    matrices = rng.random((count, *shape), dtype=np.float32)
    matrices -= np.float32(0.5)
    matrices *= np.float32(2.0 * bound)
    return matrices


def _kaiming_std(shape: Shape) -> float:
    return float(np.sqrt(2.0 / shape[1]))


def _xavier_std(shape: Shape) -> float:
    return float(np.sqrt(2.0 / (shape[0] + shape[1])))


def _kaiming_normal(count: int, shape: Shape, rng: Rng) -> F32:
    return _normal(count, shape, _kaiming_std(shape), rng)


def _kaiming_uniform(count: int, shape: Shape, rng: Rng) -> F32:
    return _uniform(count, shape, np.sqrt(3.0) * _kaiming_std(shape), rng)


def _xavier_normal(count: int, shape: Shape, rng: Rng) -> F32:
    return _normal(count, shape, _xavier_std(shape), rng)


def _xavier_uniform(count: int, shape: Shape, rng: Rng) -> F32:
    return _uniform(count, shape, np.sqrt(3.0) * _xavier_std(shape), rng)


def _trunc_normal(count: int, shape: Shape, rng: Rng) -> F32:
    """Standard normal, what lies beyond +-2 drawn again."""
    matrices = rng.standard_normal((count, *shape), dtype=np.float32)
    flat = matrices.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > TRUNCATED_AT)
    while outside.size:
        flat[outside] = rng.standard_normal(outside.size, dtype=np.float32)
        outside = outside[np.abs(flat[outside]) > TRUNCATED_AT]
    return matrices


def _sparse(count: int, shape: Shape, rng: Rng) -> F32:
    """In each column half of the rows, rounded up, is zero: a matrix of one row is all zero."""
    matrices = _normal(count, shape, SPARSE_STD, rng)
    zeros = int(np.ceil(SPARSITY * shape[0]))
    keys = rng.random((count, shape[1], shape[0]), dtype=np.float32)
    rows = np.argpartition(keys, zeros - 1, axis=2)[:, :, :zeros].swapaxes(1, 2)
    np.put_along_axis(matrices, rows, np.float32(0.0), axis=1)
    return matrices


INITIALIZERS: dict[str, Initializer] = {
    "kaiming_normal": _kaiming_normal,
    "kaiming_uniform": _kaiming_uniform,
    "xavier_normal": _xavier_normal,
    "xavier_uniform": _xavier_uniform,
    "trunc_normal": _trunc_normal,
    "sparse": _sparse,
}


def draw_matrices(names: list[str], shape: Shape, rng: Rng) -> F32:
    """One matrix a name, float32 [len(names), in, out]."""
    matrices = np.empty((len(names), *shape), np.float32)
    for name, draw in INITIALIZERS.items():
        at = [index for index, chosen in enumerate(names) if chosen == name]
        if at:
            matrices[at] = draw(len(at), shape, rng)
    return matrices


def mask(matrices: F32, densities: NDArray[np.float64], rng: Rng) -> None:
    """Keep each weight with its matrix's density and divide by it, in place."""
    kept = densities.astype(np.float32)[:, None, None]
    matrices *= (rng.random(matrices.shape, dtype=np.float32) < kept) / kept
