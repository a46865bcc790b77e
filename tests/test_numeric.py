"""Normalised numbers against exact fractions, for columns of every size and spread."""

import math
import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rt import columns as col
from rt import raw
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


@pytest.mark.parametrize("kind", [*KINDS, pa.timestamp("us"), pa.date32(), pa.time32("s")], ids=str)
def test_blocks_change_nothing(kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    name = "datetime" if col.semantic_type(kind) == "datetime" else "number"
    for _ in range(40):
        if kind in KINDS:
            values = random_column(rng, kind)
        else:
            values = rng.integers(0, 80_000, 11).tolist()
        values[int(rng.integers(len(values)))] = None
        cut = int(rng.integers(len(values)))
        array = pa.chunked_array([pa.array(values[:cut], kind), pa.array(values[cut:], kind)])
        fitted = rng.random(len(values)) < 0.5
        monkeypatch.setattr(raw, "_BLOCK_ROWS", 1 << 16)
        whole = col.read_column(array, name, "column", fitted)
        monkeypatch.setattr(raw, "_BLOCK_ROWS", 3)
        pieces = col.read_column(array, name, "column", fitted)
        assert isinstance(whole, col.Numbers)
        assert isinstance(pieces, col.Numbers)
        assert pieces.values.tobytes() == whole.values.tobytes()
        assert (pieces.valid == whole.valid).all()
        assert (pieces.origin, pieces.infinite) == (whole.origin, whole.infinite)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_exact_numbers_need_no_second_column(kind: pa.DataType) -> None:
    rows = 2_000_000
    integers = np.arange(2**53, 2**53 + rows)
    array = pa.chunked_array([pa.array(integers).cast(kind, safe=False)])
    fitted = np.arange(rows) < rows // 2
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    try:
        numbers = col.read_column(array, "number", "column", fitted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(numbers, col.Numbers)
    assert numbers.origin == pytest.approx(2.0**53 / (10**9 if kind == pa.duration("ns") else 1))
    assert pa.total_allocated_bytes() == before
    assert peak < 14 * rows  # 8 bytes a value, and masks
