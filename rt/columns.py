"""One column of a table as the numbers and texts that become cells, and what normalises them."""

import json
import math
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.meta import TEXT_LIMIT, Z_CLIP
from rt.raw import plain

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_BINARY = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass
class Numbers:
    """A number, boolean (0, 1) or datetime (seconds since 1970) column; invalid cells are 0."""

    values: Floats
    valid: Mask
    infinite: int = 0


@dataclass
class Texts:
    """A text column: `codes` number the distinct `texts`; the codes of invalid cells are 0."""

    codes: NDArray[np.uint32]
    valid: Mask
    texts: pa.Array


@dataclass(frozen=True)
class Fit:
    """Mean and standard deviation of a column, `count` the number of values they come from."""

    mean: float = 0.0
    std: float = 1.0
    count: int = 0


def semantic_type(kind: pa.DataType) -> str:
    """The semantic type of an Arrow type."""
    if pa.types.is_dictionary(kind):
        return semantic_type(kind.value_type)
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


def read_column(array: pa.ChunkedArray, kind: str, where: str) -> Numbers | Texts:
    """A column as semantic type `kind`, which may differ from that of its Arrow type only for
    labels: numbers 0 and 1 as boolean, booleans as number, anything as text."""
    if kind == "text":
        return _texts(array, where)
    array = plain(array)
    found = semantic_type(array.type)
    if found == "text" and array.null_count < len(array):
        raise InputError(f"{where}: holds {array.type}, but must be {kind}; convert the column")
    if (found == "datetime") != (kind == "datetime") and array.null_count < len(array):
        raise InputError(f"{where}: holds {array.type}, but must be {kind}; convert the column")
    numbers = _numbers(array)
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
    valid = _valid(array)
    if semantic_type(array.type) != "datetime":
        if not valid.any():
            return np.zeros(len(array), np.int64), valid
        raise InputError(
            f"{where}: a time column must hold dates or timestamps, not {array.type}; convert it"
        )
    ticks, unit = _ticks(array)
    if unit > 1:
        ticks = np.negative(ticks)
        ticks //= unit
        np.negative(ticks, out=ticks)
    return ticks, valid


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


def _valid(array: pa.ChunkedArray) -> Mask:
    if array.null_count == 0:
        return np.ones(len(array), bool)
    return np.asarray(array.is_valid())


def _numbers(array: pa.ChunkedArray) -> Numbers:
    valid = _valid(array)
    values = np.zeros(len(array))
    if array.null_count < len(array):
        filled = 0
        for chunk in array.chunks:
            values[filled : filled + len(chunk)] = _floats(pa.chunked_array([chunk]))
            filled += len(chunk)
    finite = np.isfinite(values)
    infinite = 0
    if not finite.all():
        infinite = int(np.count_nonzero(np.isinf(values) & valid))
        valid &= finite
        values[~valid] = 0
    return Numbers(values, valid, infinite)


def _floats(array: pa.ChunkedArray) -> NDArray[Any]:
    """Numbers, 0 or 1, seconds; nulls become 0."""
    kind = array.type
    if semantic_type(kind) == "datetime":
        ticks, unit = _ticks(array)
        return ticks / unit
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        integers = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return _dense(array.cast(integers)).astype(np.float64) / _PER_SECOND[kind.unit]
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    return _dense(array.cast(pa.float64(), safe=False))


def _ticks(array: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """Integers and how many of them make a second; nulls become 0."""
    if pa.types.is_date32(array.type):
        return _dense(array.cast(pa.int32())).astype(np.int64) * 86400, 1
    if pa.types.is_date64(array.type):
        return _dense(array.cast(pa.int64())), 1000
    return _dense(array.cast(pa.int64())), _PER_SECOND[array.type.unit]


def _dense(array: pa.ChunkedArray) -> NDArray[Any]:
    """Numpy values with 0 for nulls."""
    if array.null_count:
        array = array.fill_null(0)
    return array.to_numpy()


def _texts(array: pa.ChunkedArray, where: str) -> Texts:
    if isinstance(array.type, pa.BaseExtensionType):
        array = plain(array)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        empty = pa.array([], pa.large_string())
        return Texts(np.zeros(len(array), np.uint32), np.zeros(len(array), bool), empty)
    if pa.types.is_nested(kind) or pa.types.is_union(kind):
        array = _spell_nested(array)
    elif not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    encoded = array.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], array.type)
    indices = encoded.indices
    valid = (
        np.ones(len(indices), bool) if not indices.null_count else np.asarray(indices.is_valid())
    )
    codes = (indices.fill_null(0) if indices.null_count else indices).to_numpy()
    codes = codes.astype(np.uint32)
    texts, keep = _spell(encoded.dictionary, where), np.zeros(len(encoded.dictionary), bool)
    if texts.null_count:
        valid &= np.asarray(texts.is_valid())[codes]
    keep[codes[valid]] = True
    if not keep.all():
        # A dictionary can name values that no row holds (categoricals) or a null.
        texts = texts.filter(pa.array(keep))
        codes = np.maximum(np.cumsum(keep) - 1, 0).astype(np.uint32)[codes] if len(keep) else codes
    codes[~valid] = 0
    return Texts(codes, valid, texts)


def _spell(values: pa.Array, where: str) -> pa.Array:
    """Distinct values as texts of limited length."""
    kind = values.type
    if any(test(kind) for test in _BINARY):
        values = pa.array(map(_spell_bytes, values.to_pylist()), pa.large_string())
    try:
        values = values.cast(pa.large_string())
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise InputError(f"{where}: holds text that is not UTF-8; write the file again") from None
    except pa.ArrowNotImplementedError:
        raise InputError(f"{where}: {kind} cannot be read; convert or drop the column") from None
    longest = pc.max(pc.utf8_length(values)).as_py()
    if longest is not None and longest > TEXT_LIMIT:
        values = pc.utf8_slice_codeunits(values, 0, TEXT_LIMIT)
    return values


def _spell_bytes(value: bytes | None) -> str | None:
    """Bytes as text: themselves if they are UTF-8, else in hexadecimal."""
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value[: TEXT_LIMIT // 2].hex()


def _spell_nested(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists, structs and maps as JSON, dictionary-encoded; a few thousand rows at a time."""
    pieces = []
    for batch in pa.table({"": array}).to_batches(max_chunksize=4096):
        spelled = [None if v is None else _spell_value(v) for v in batch.column(0).to_pylist()]
        pieces.append(pa.array(spelled, pa.large_string()))
    return pa.chunked_array(pieces, pa.large_string()).dictionary_encode()


def _spell_value(value: Any) -> str:
    return json.dumps(value, default=_spell_leaf, ensure_ascii=False)[:TEXT_LIMIT]


def _spell_leaf(value: Any) -> str | None:
    if isinstance(value, bytes):
        return _spell_bytes(value)
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
