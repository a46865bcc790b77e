"""One column of a table as the numbers and texts that become cells, and what normalises them."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.meta import Z_CLIP
from rt.numeric import Floats, Mask, is_valid, read_numbers, ticks
from rt.numeric import Numbers as Numbers
from rt.numeric import semantic_type as semantic_type
from rt.raw import blocks, plain
from rt.spelling import Texts as Texts
from rt.spelling import read_texts


@dataclass(frozen=True)
class Fit:
    """Mean and standard deviation of a column, `count` the number of values they come from."""

    mean: float = 0.0
    std: float = 1.0
    count: int = 0


def read_column(
    array: pa.ChunkedArray, kind: str, where: str, fitted: Mask | None = None
) -> Numbers | Texts:
    """A column as semantic type `kind`, which may differ from that of its Arrow type only for
    labels: numbers 0 and 1 as boolean, booleans as number, anything as text.

    fitted: the rows that statistics come from; only they decide about the origin of numbers."""
    if kind == "text":
        return read_texts(array, where)
    array = plain(array)
    found = semantic_type(array.type)
    if found == "text" and array.null_count < len(array):
        raise InputError(f"{where}: holds {array.type}, but must be {kind}; convert the column")
    if (found == "datetime") != (kind == "datetime") and array.null_count < len(array):
        raise InputError(f"{where}: holds {array.type}, but must be {kind}; convert the column")
    numbers = read_numbers(array, fitted if kind == "number" else None)
    if kind == "boolean" and found != "boolean":
        odd = numbers.valid & (numbers.values != 0) & (numbers.values != 1)
        if odd.any():
            value = numbers.values[odd][0]
            raise InputError(f"{where}: the label {value:g} is neither 0 nor 1; map it to 0 or 1")
    return numbers


def seconds(array: pa.ChunkedArray, where: str) -> tuple[NDArray[np.int64], Mask]:
    """Row times in whole seconds since 1970 UTC, and where there is one.

    Fractions are rounded up, so that `time <= bound` is decided exactly for whole bounds and no
    row appears before it happened.
    """
    array = plain(array)
    valid = is_valid(array)
    if semantic_type(array.type) != "datetime":
        if not valid.any():
            return np.zeros(len(array), np.int64), valid
        raise InputError(
            f"{where}: a time column must hold dates or timestamps, not {array.type}; convert it"
        )
    times = np.empty(len(array), np.int64)
    for rows, block in blocks(array):
        whole, unit = ticks(block)
        if unit > 1:
            whole, rest = np.divmod(whole, unit)
            whole += rest > 0
        times[rows] = whole
    return times, valid


def fit(values: Floats) -> Fit:
    """Mean and deviation of numbers; a constant column gets deviation 1."""
    if len(values) == 0:
        return Fit()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Fit(low, 1.0, len(values))
    with np.errstate(over="ignore"):
        mean, std = float(values.mean()), float(values.std())
    if not (math.isfinite(mean) and math.isfinite(std)):
        # Sums of huge values overflow: work on a smaller scale.
        scale = max(abs(low), abs(high))
        small = values / scale
        mean, std = float(small.mean()) * scale, max(float(small.std()), 1e-300) * scale
    # Deviations below the smallest float would divide by zero.
    return Fit(mean, std if std > 0 else 1.0, len(values))


def fit_boolean(values: Floats) -> Fit:
    """Mean and deviation of zeros and ones. A constant column gets 0.5 and 0.5: the sign of a
    normalised boolean is its value, whatever the rows that it was fitted on."""
    share = float(values.mean()) if len(values) else 0.5
    if share in (0.0, 1.0):
        share = 0.5
    return Fit(share, math.sqrt(share * (1 - share)), len(values))


def combine(first: Fit, second: Fit) -> Fit:
    """The fit of two sets of values together (Chan et al. 1979)."""
    if first.count == 0 or second.count == 0:
        return second if first.count == 0 else first
    count = first.count + second.count
    delta = second.mean - first.mean
    squares = first.count * first.std**2 + second.count * second.std**2
    squares += delta**2 * first.count * second.count / count
    mean = first.mean + delta * second.count / count
    return Fit(mean, math.sqrt(squares / count), count)


def population(values: Floats) -> Fit:
    """Like `fit`, for parts that are combined: the deviation of a constant is 0."""
    found = fit(values)
    constant = found.count == 0 or bool(values.min() == values.max())
    return Fit(found.mean, 0.0, found.count) if constant else found


def standardise(values: Floats, fitted: Fit) -> NDArray[np.uint32]:
    """The bits of the normalised float32 values, cut at +-Z_CLIP; `values` is overwritten."""
    with np.errstate(over="ignore"):
        np.subtract(values, fitted.mean, out=values)
        np.divide(values, fitted.std, out=values)
    np.clip(values, -Z_CLIP, Z_CLIP, out=values)
    return values.astype(np.float32).view(np.uint32)
