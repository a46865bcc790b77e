"""Numbers, booleans and times of a column, as float64 in which large neighbours stay apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt.raw import is_bool8

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
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
    if values.base is not None or not values.flags.writeable:
        values = values.copy()
    finite = np.isfinite(values)
    infinite = 0
    if not finite.all():
        infinite = int(np.count_nonzero(np.isinf(values) & valid))
        valid = valid & finite
        known = known & finite
    if origin == 0.0:
        origin = _move(values, known)
    if not valid.all():
        values[~valid] = 0
    return Numbers(values, valid, infinite, origin)


def _values(array: pa.ChunkedArray, known: Mask) -> tuple[Floats, float]:
    """Values less an origin, and the origin."""
    kind = array.type
    if semantic_type(kind) == "datetime":
        return _moments(array), 0.0
    if semantic_type(kind) == "text":
        return np.zeros(len(array)), 0.0
    if pa.types.is_boolean(kind):
        return dense(array.cast(pa.uint8())).astype(np.float64), 0.0
    if pa.types.is_decimal(kind):
        return _decimals(array, known)
    if pa.types.is_floating(kind):
        return dense(array.cast(pa.float64())), 0.0
    if pa.types.is_time32(kind):
        array = array.cast(pa.int32())
    unit = 1 if pa.types.is_integer(kind) else _PER_SECOND[kind.unit]
    return _integers(dense(array.cast(pa.uint64() if kind == pa.uint64() else pa.int64())), unit,
                     known)  # fmt: skip


def _moments(array: pa.ChunkedArray) -> Floats:
    """Seconds since 1970; the extremes of the type, by which databases say infinity, as such."""
    whole, unit = ticks(array)
    end = (2**31 - 1) * 86400 if pa.types.is_date32(array.type) else 2**63 - 1
    values = whole / unit
    if len(whole) and (whole.max() >= end or whole.min() <= -end):
        values[whole >= end], values[whole <= -end] = np.inf, -np.inf
    return values


def _integers(whole: NDArray[Any], unit: int, known: Mask) -> tuple[Floats, float]:
    """Integers of 64 bits divided by `unit`; less one that is known where float64 would round."""
    exact = not len(whole) or max(-int(whole.min()), int(whole.max())) <= _EXACT
    if (exact and unit == 1) or not known.any():
        return whole / unit, 0.0
    origin = whole[np.argmax(known)]
    above = whole >= origin
    # modulo 2**64, which is exact for any two of them
    distance = whole.view(np.uint64) - origin.view(np.uint64)
    values = np.where(above, distance, 0 - distance).astype(np.float64)
    values[~above] *= -1
    return values / unit, int(origin) / unit


def _decimals(array: pa.ChunkedArray, known: Mask) -> tuple[Floats, float]:
    """Decimals; less one that is known where all known ones are so close that float64, which rounds
    to 2**-53, would show in a normalised float32."""
    values = dense(array.cast(pa.float64()))
    past = values[known]
    if not len(past) or np.ptp(past) > np.abs(past).max() * 2.0**-30:
        return values, 0.0
    try:
        wide = array.cast(pa.decimal256(75, array.type.scale))
        origin = wide[int(np.argmax(known))]
        return dense(pc.subtract(wide, origin).cast(pa.float64())), float(origin.as_py())
    except pa.ArrowInvalid:  # numbers of 76 digits leave no room for a difference
        return values, 0.0


def _move(values: Floats, known: Mask) -> float:
    """Subtract a known value where that is exact: all known ones lie within a factor of two
    (Sterbenz). Sums of 1e15 + 1, 1e15 + 2, ... would round away what sets them apart."""
    past = values if known.all() else values[known]
    if not len(past):
        return 0.0
    low, high = past.min(), past.max()
    if not (low > 0 and high <= 2 * low) and not (high < 0 and low >= 2 * high):
        return 0.0
    origin = float(past[0])
    with np.errstate(over="ignore"):
        values -= origin
    return origin


def ticks(array: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """Dates and timestamps as integers, and how many of them make a second; nulls become 0."""
    if pa.types.is_date32(array.type):
        return dense(array.cast(pa.int32())).astype(np.int64) * 86400, 1
    if pa.types.is_date64(array.type):
        return dense(array.cast(pa.int64())), 1000
    return dense(array.cast(pa.int64())), _PER_SECOND[array.type.unit]


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
