"""Random weight matrices [in x out] and embeddings, many of one shape at a time.

The rules are those of torch.nn.init called on the [in x out] matrix: torch takes the second
dimension as fan-in and the first as fan-out. All rules start from a normal or a uniform draw of
standard deviation 1, so that matrices of several rules share one draw.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Rng = np.random.Generator
Shape = tuple[int, int]

UNIFORM = frozenset(("kaiming_uniform", "xavier_uniform"))
TRUNCATED_AT = 2.0
SPARSE_STD = 0.01
SPARSITY = 0.5


def deviations(shape: Shape) -> dict[str, float]:
    """The standard deviation of each rule before it truncates or zeroes, by the rule's name."""
    fan_out, fan_in = shape
    kaiming = float(np.sqrt(2.0 / fan_in))
    xavier = float(np.sqrt(2.0 / (fan_in + fan_out)))
    return {
        "kaiming_normal": kaiming,
        "kaiming_uniform": kaiming,
        "xavier_normal": xavier,
        "xavier_uniform": xavier,
        "trunc_normal": 1.0,
        "sparse": SPARSE_STD,
    }


def draw_matrices(names: Sequence[str], shape: Shape, rng: Rng) -> F32:
    """One matrix a rule's name, float32 [len(names), in, out]."""
    order = sorted(range(len(names)), key=lambda index: (names[index] in UNIFORM, names[index]))
    ordered = [names[index] for index in order]
    matrices = np.empty((len(names), *shape), np.float32)
    normals = sum(name not in UNIFORM for name in names)
    rng.standard_normal(out=matrices[:normals], dtype=np.float32)
    rng.random(out=matrices[normals:], dtype=np.float32)
    matrices[normals:] -= np.float32(0.5)
    matrices[normals:] *= np.float32(np.sqrt(12.0))
    first, last = _run(ordered, "trunc_normal")
    _truncate(matrices[first:last], rng)
    factors = deviations(shape)
    matrices *= np.array([factors[name] for name in ordered], np.float32)[:, None, None]
    first, last = _run(ordered, "sparse")
    _zero_half(matrices[first:last], rng)
    return matrices[np.argsort(order)]


def _run(ordered: list[str], name: str) -> tuple[int, int]:
    """Where a name stands in a list in which equal names are neighbours."""
    first = ordered.index(name) if name in ordered else 0
    return first, first + ordered.count(name)


def _truncate(matrices: F32, rng: Rng) -> None:
    """Draw again what lies beyond +-2, in place."""
    flat = matrices.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > TRUNCATED_AT)
    while outside.size:
        flat[outside] = rng.standard_normal(outside.size, dtype=np.float32)
        outside = outside[np.abs(flat[outside]) > TRUNCATED_AT]


def _zero_half(matrices: F32, rng: Rng) -> None:
    """In each column zero half of the rows, rounded up: a matrix of one row is all zero."""
    count, rows, columns = matrices.shape
    if count:
        zeros = int(np.ceil(SPARSITY * rows))
        keys = rng.random((count, columns, rows), dtype=np.float32)
        at = np.argpartition(keys, zeros - 1, axis=2)[:, :, :zeros].swapaxes(1, 2)
        np.put_along_axis(matrices, at, np.float32(0.0), axis=1)


def mask(matrices: F32, densities: Sequence[float], rng: Rng) -> None:
    """Keep each weight with its matrix's density and divide by it, in place."""
    kept = np.array(densities, np.float32)[:, None, None]
    matrices *= rng.random(matrices.shape, dtype=np.float32) < kept
    matrices /= kept
