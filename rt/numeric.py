"""Numbers, booleans and times of a column, as float64 in which large neighbours stay apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt.raw import blocks, is_bool8, row_blocks

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXACT = 2.0**53
"""Up to here float64 holds every integer."""


@dataclass
class Numbers:
    """A number, boolean (0, 1) or datetime (seconds since 1970) column; invalid cells are 0.

    `origin` has been subtracted from the values: of numbers such as 2**62 + 1 float64 holds the
    distance to a neighbour, but not the number itself.
    """

    values: Floats
    valid: Mask
    infinite: int = 0
    origin: float = 0.0


def semantic_type(kind: pa.DataType) -> str:
    """The semantic type of an Arrow type."""
    if pa.types.is_dictionary(kind):
        return semantic_type(kind.value_type)
    if is_bool8(kind):
        return "boolean"
    if isinstance(kind, pa.BaseExtensionType):
        return semantic_type(kind.storage_type)
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "datetime"
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if any(test(kind) for test in (*numeric, pa.types.is_duration, pa.types.is_time)):
        return "number"
    return "text"


def read_numbers(array: pa.ChunkedArray, known: Mask | None = None) -> Numbers:
    """A column of plain type as numbers. `known`: the rows that may decide about the origin, which
    is 0 without them."""
    valid = is_valid(array)
    known = np.zeros(len(array), bool) if known is None else known & valid
    values, origin = _values(array, known)
    finite = np.isfinite(values)
    infinite = 0
    if not finite.all():
        infinite = int(np.count_nonzero(np.isinf(values) & valid))
        valid &= finite
        known &= finite
    if origin == 0.0:
        origin = _move(values, known)
    if not valid.all():
        values[~valid] = 0
    return Numbers(values, valid, infinite, origin)


def _values(array: pa.ChunkedArray, known: Mask) -> tuple[Floats, float]:
    """Values less an origin, and the origin."""
    kind = array.type
    if semantic_type(kind) == "datetime":
        return _convert(array, _moments), 0.0
    if semantic_type(kind) == "text":
        return np.zeros(len(array)), 0.0
    if pa.types.is_boolean(kind):
        return _convert(array, lambda block: dense(block.cast(pa.uint8()))), 0.0
    if pa.types.is_decimal(kind):
        return _decimals(array, known)
    if pa.types.is_floating(kind):
        return _convert(array, _floats), 0.0
    return _integers(array, 1 if pa.types.is_integer(kind) else PER_SECOND[kind.unit], known)


def _convert(
    array: pa.ChunkedArray,
    function: Callable[[pa.ChunkedArray], NDArray[Any]],
    values: Floats | None = None,
) -> Floats:
    """The numbers that a function makes of the array, block by block, in place of `values`."""
    values = np.empty(len(array)) if values is None else values
    for rows, block in blocks(array):
        values[rows] = function(block)
    return values


def _floats(array: pa.ChunkedArray) -> NDArray[Any]:
    return dense(array.cast(pa.float64()))


def _moments(array: pa.ChunkedArray) -> Floats:
    """Seconds since 1970; the extremes of the type, by which databases say infinity, as such."""
    whole, unit = ticks(array)
    end = (2**31 - 1) * 86400 if pa.types.is_date32(array.type) else 2**63 - 1
    values = whole / unit
    if len(whole) and (whole.max() >= end or whole.min() <= -end):
        values[whole >= end], values[whole <= -end] = np.inf, -np.inf
    return values


def _integers(array: pa.ChunkedArray, unit: int, known: Mask) -> tuple[Floats, float]:
    """Integers of 64 bits divided by `unit`; less one that is known where float64 would round."""
    if (unit == 1 and _fit_float64(array)) or not known.any():
        return _convert(array, lambda block: _wide(block) / unit), 0.0
    origin = _wide(array.slice(int(np.argmax(known)), 1))[0]

    def distances(block: pa.ChunkedArray) -> Floats:
        whole = _wide(block)
        above = whole >= origin
        # modulo 2**64, which is exact for any two of them
        distance = whole.view(np.uint64) - origin.view(np.uint64)
        values = np.where(above, distance, 0 - distance).astype(np.float64)
        values[~above] *= -1
        return values / unit

    return _convert(array, distances), int(origin) / unit


def _wide(array: pa.ChunkedArray) -> NDArray[Any]:
    """Integers, durations and times of day as integers of 64 bits."""
    if pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    return dense(array.cast(pa.uint64() if array.type == pa.uint64() else pa.int64()))


def _fit_float64(array: pa.ChunkedArray) -> bool:
    """Whether float64 holds all these integers."""
    if array.type.bit_width < 64:
        return True
    parts = (_wide(block) for _, block in blocks(array))
    return all(max(-int(part.min()), int(part.max())) <= _EXACT for part in parts)


def _decimals(array: pa.ChunkedArray, known: Mask) -> tuple[Floats, float]:
    """Decimals; less one that is known where all known ones are so close that float64, which rounds
    to 2**-53, would show in a normalised float32."""
    values = _convert(array, _floats)
    low, high = _extremes(values, known)
    if high - low > max(-low, high) * 2.0**-30 or not known.any():
        return values, 0.0
    wide = pa.decimal256(75, array.type.scale)
    try:
        origin = array.slice(int(np.argmax(known)), 1).cast(wide)[0]
        _convert(array, lambda block: _floats(pc.subtract(block.cast(wide), origin)), values)
        return values, float(origin.as_py())
    except pa.ArrowInvalid:  # numbers of 76 digits leave no room for a difference
        return _convert(array, _floats, values), 0.0


def _move(values: Floats, known: Mask) -> float:
    """Subtract a known value where that is exact: all known ones lie within a factor of two
    (Sterbenz). Sums of 1e15 + 1, 1e15 + 2, ... would round away what sets them apart."""
    low, high = _extremes(values, known)
    if not (low > 0 and high <= 2 * low) and not (high < 0 and low >= 2 * high):
        return 0.0
    origin = float(values[np.argmax(known)])
    with np.errstate(over="ignore"):
        values -= origin
    return origin


def _extremes(values: Floats, known: Mask) -> tuple[float, float]:
    """The least and the greatest known value; 0 and 0 if there is none."""
    bounds = []
    for rows in row_blocks(len(values)):
        chosen = values[rows][known[rows]]
        if len(chosen):
            bounds += [chosen.min(), chosen.max()]
    return (float(min(bounds)), float(max(bounds))) if bounds else (0.0, 0.0)


def ticks(array: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """Dates and timestamps as integers, and how many of them make a second; nulls become 0."""
    if pa.types.is_date32(array.type):
        return dense(array.cast(pa.int32())).astype(np.int64) * 86400, 1
    if pa.types.is_date64(array.type):
        return dense(array.cast(pa.int64())), 1000
    return dense(array.cast(pa.int64())), PER_SECOND[array.type.unit]


def is_valid(array: pa.ChunkedArray) -> Mask:
    """Where there is a value."""
    if array.null_count == 0:
        return np.ones(len(array), bool)
    return np.asarray(array.is_valid())


def dense(array: pa.ChunkedArray) -> NDArray[Any]:
    """Numpy values with 0 for nulls."""
    if array.null_count:
        array = array.fill_null(0)
    return array.to_numpy()
