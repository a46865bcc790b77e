"""Normalised numbers against exact fractions, for columns of every size and spread."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rt import columns as col
from rt.meta import Z_CLIP

KINDS = [pa.int64(), pa.uint64(), pa.duration("ns"), pa.decimal128(30, 2), pa.float64()]


def random_column(rng: np.random.Generator, kind: pa.DataType) -> list[Any]:
    base = int(rng.choice([0, 10, -(2**40), 2**52, 2**53, 2**60, -(2**62), 2**62]))
    spread = int(rng.choice([0, 1, 3, 100, 2**20, 2**40, 2**61]))
    values = [base + int(rng.integers(-spread, spread + 1)) for _ in range(rng.integers(2, 12))]
    if pa.types.is_decimal(kind):
        with localcontext(prec=40):
            return [Decimal(value) / 100 for value in values]
    if pa.types.is_floating(kind):
        return [float(value) for value in values]
    return [abs(value) for value in values] if kind == pa.uint64() else values


def exact(values: list[Fraction], fitted: np.ndarray) -> list[float]:
    """(value - mean) / deviation in fractions, cut like the stored values."""
    past = [value for value, known in zip(values, fitted, strict=True) if known]
    mean = sum(past, Fraction()) / len(past)
    variance = sum(((value - mean) ** 2 for value in past), Fraction()) / len(past)
    std = Fraction(math.sqrt(variance) or 1.0)
    return [max(-Z_CLIP, min(Z_CLIP, float((value - mean) / std))) for value in values]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_normalised_numbers_are_exact_to_float32(kind: pa.DataType) -> None:
    rng = np.random.default_rng(1)
    unit = 10**9 if pa.types.is_duration(kind) else 1
    for _ in range(200):
        values = random_column(rng, kind)
        fitted = rng.random(len(values)) < 0.7
        fitted[0] = True
        array = pa.chunked_array([pa.array(values, kind)])
        found = col.read_column(array, "number", "here", fitted)
        assert isinstance(found, col.Numbers)
        cells = col.standardise(found.values, col.fit(found.values[fitted])).view(np.float32)
        expected = exact([Fraction(value) / unit for value in values], fitted)
        np.testing.assert_allclose(cells, expected, atol=2e-6)


def test_rows_that_are_not_fitted_do_not_choose_the_origin() -> None:
    array = pa.chunked_array([pa.array([7, 2**62, 2**62 + 2])])
    found = col.read_column(array, "number", "here", np.array([False, True, True]))
    assert isinstance(found, col.Numbers)
    assert (found.origin, found.values.tolist()) == (2.0**62, [float(7 - 2**62), 0, 2])
    without = col.read_column(array, "number", "here")
    assert isinstance(without, col.Numbers)
    assert without.origin == 0
