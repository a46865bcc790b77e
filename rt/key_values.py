"""Keys as values that can be compared without loss, whatever types their columns have.

The primary key decides about a form in which equal values are equal; foreign keys are brought into
the form of the key that they reference. A reference that has no exact value there equals no key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt.numeric import PER_SECOND, is_valid
from rt.raw import blocks

INT64, UINT64, FLOAT64, DIGITS = "int64", "uint64", "float64", "digits"
_LIMITS = {INT64: (-(2**63), 2**63 - 1), UINT64: (0, 2**64 - 1)}
_ARROW = {INT64: pa.int64(), UINT64: pa.uint64()}
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARY = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    pa.types.is_fixed_size_binary,
)
_SORTS = (
    ("null", (pa.types.is_null,)),
    (
        "number",
        (
            *(pa.types.is_boolean, pa.types.is_integer),
            *(pa.types.is_floating, pa.types.is_decimal),
        ),
    ),
    ("time", (pa.types.is_timestamp, pa.types.is_date)),
    ("duration", (pa.types.is_duration,)),
    ("time of day", (pa.types.is_time,)),
    ("text", _TEXT),
    ("binary", _BINARY),
)
_UUID = r"^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32})$"


@dataclass(frozen=True)
class Form:
    """sort: what may be compared at all; numbers: how numbers are held, as integers of 64 bits, as
    the bits of floats (int64) or as decimal digits (text); per_second: of times held as int64."""

    sort: str
    numbers: str = ""
    per_second: int = 0

    @property
    def is_integer(self) -> bool:
        """Whether values are held as integers of 64 bits, whatever they stand for."""
        return bool(self.per_second) or self.numbers in (INT64, UINT64, FLOAT64)

    def __str__(self) -> str:
        return "integer" if self.numbers in (INT64, UINT64) else self.sort


def sort_of(kind: pa.DataType) -> str:
    """What sort of values an Arrow type holds; a type of no known sort is its own."""
    return next((sort for sort, tests in _SORTS if any(t(kind) for t in tests)), str(kind))


def is_given(keys: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where there is a key: neither null nor NaN."""
    if not pa.types.is_floating(keys.type):
        return is_valid(keys)
    return ~np.isnan(keys.cast(pa.float64()).to_numpy())


def form_of(keys: pa.ChunkedArray) -> Form:
    """The form that holds all values of a primary key."""
    sort, kind = sort_of(keys.type), keys.type
    if sort in ("time", "duration", "time of day"):
        return Form(sort, per_second=_per_second(kind))
    if sort != "number":
        return Form(sort)
    if pa.types.is_floating(kind):
        whole = in_form(keys, Form(sort, INT64))
        complete = whole.null_count == len(keys) - int(np.count_nonzero(is_given(keys)))
        return Form(sort, INT64 if complete else FLOAT64)
    if _safe(keys, pa.int64()) is not None:
        return Form(sort, INT64)
    return Form(sort, DIGITS if pa.types.is_decimal(kind) else UINT64)


def in_form(keys: pa.ChunkedArray, form: Form) -> pa.ChunkedArray:
    """Keys of the form's sort as its values; null where there is none that is exactly equal."""
    if form.per_second:
        return _rescaled(_ticks(keys), _per_second(keys.type), form.per_second)
    if form.sort == "number":
        if pa.types.is_boolean(keys.type):
            keys = keys.cast(pa.uint8())
        if pa.types.is_decimal(keys.type) and keys.type.bit_width < 128:  # few functions take them
            keys = keys.cast(pa.decimal128(38, keys.type.scale))
        convert = {FLOAT64: _float_bits, DIGITS: _digits}.get(form.numbers)
        return convert(keys) if convert else _integers(keys, form.numbers)
    if form.sort == "text":
        return keys.cast(pa.large_string())
    return keys.cast(pa.large_binary()) if form.sort == "binary" else keys


def uuids(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The 16 bytes of each text that spells a UUID; null for other texts."""
    texts = texts.cast(pa.large_string())
    spelled = pc.if_else(pc.match_substring_regex(texts, _UUID), texts, None)
    digits = pc.replace_substring(spelled, "-", "")
    return _by_value(digits, bytes.fromhex, pa.large_binary())


def _safe(keys: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The keys as another type, None if it lacks some of their values."""
    try:
        return keys.cast(kind)
    except pa.ArrowInvalid:
        return None


def _integers(keys: pa.ChunkedArray, numbers: str) -> pa.ChunkedArray:
    (low, high), kind = _LIMITS[numbers], _ARROW[numbers]
    if pa.types.is_floating(keys.type):
        return _whole_floats(keys, numbers)
    fitting = _safe(keys, kind)
    if fitting is not None:
        return fitting
    if pa.types.is_decimal(keys.type):

        def whole(value: Decimal) -> int | None:
            return int(value) if value == int(value) and low <= value <= high else None

        return _by_value(keys, whole, kind)
    # one is signed and the other is not, so only one limit of the form can be passed
    signed = pa.types.is_signed_integer(keys.type)
    inside = (
        pc.greater_equal(keys, 0) if signed else pc.less_equal(keys, pa.scalar(high, keys.type))
    )
    return pc.if_else(inside, keys, None).cast(kind)


def _whole_floats(keys: pa.ChunkedArray, numbers: str) -> pa.ChunkedArray:
    """Float keys (pandas writes integers with nulls so) as integers."""
    floats = keys.cast(pa.float64()).to_numpy()
    low, high = _LIMITS[numbers]
    whole = (floats >= low) & (floats < high + 1) & (np.floor(floats) == floats)
    integers = np.where(whole, floats, 0).astype(numbers)
    return pa.chunked_array([pa.array(integers, mask=~whole)])


def _float_bits(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(keys.type):
        floats = keys.cast(pa.float64()).to_numpy()
        good = ~np.isnan(floats)
    elif pa.types.is_decimal(keys.type):
        found = _by_value(keys, _exact_float, pa.float64())
        floats, good = found.to_numpy(), is_valid(found)
    else:
        wide = pa.uint64() if keys.type == pa.uint64() else pa.int64()
        integers = keys.cast(wide).fill_null(0).to_numpy()
        floats = integers.astype(np.float64)
        inside = floats < 2.0 ** (64 if wide == pa.uint64() else 63)
        good = is_valid(keys) & inside
        good &= np.where(inside, floats, 0).astype(integers.dtype) == integers
    bits = np.where(good, floats + 0.0, 0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return pa.chunked_array([pa.array(bits, mask=~good)])


def _exact_float(value: Decimal) -> float | None:
    return float(value) if Decimal(float(value)) == value else None


def _digits(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as decimal digits, without zeros at the end of a fraction."""
    kind = keys.type
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        return keys.cast(pa.large_string())

    def digits(value: Decimal | float) -> str | None:
        text = f"{Decimal(value):f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text

    keys = keys.cast(pa.float64()) if pa.types.is_floating(kind) else keys
    return _by_value(keys, digits, pa.large_string())


def _by_value(
    keys: pa.ChunkedArray, function: Callable[[Any], Any], kind: pa.DataType
) -> pa.ChunkedArray:
    """A function of each distinct value, block by block; null of null."""
    pieces = []
    for _, block in blocks(keys):
        encoded = block.combine_chunks().dictionary_encode()
        results = [function(value) for value in encoded.dictionary.to_pylist()]
        pieces.append(pa.array(results, kind).take(encoded.indices))
    return pa.chunked_array(pieces, kind)


def _per_second(kind: pa.DataType) -> int:
    if pa.types.is_date(kind):
        return 1 if pa.types.is_date32(kind) else 1000
    return PER_SECOND[kind.unit]


def _ticks(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of every type as integers of 64 bits; days in seconds."""
    kind = keys.type
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        keys = keys.cast(pa.int32())
    keys = keys.cast(pa.int64())
    return pc.multiply(keys, 86400) if pa.types.is_date32(kind) else keys


def _rescaled(ticks: pa.ChunkedArray, have: int, want: int) -> pa.ChunkedArray:
    """Ticks of another length; null where they are fractions, or more than 64 bits."""
    if have == want:
        return ticks
    if have < want:
        limit = (2**63 - 1) // (want // have)
        inside = pc.and_(pc.less_equal(ticks, limit), pc.greater_equal(ticks, -limit))
        return pc.multiply(pc.if_else(inside, ticks, None), want // have)
    whole = pc.divide(ticks, have // want)
    return pc.if_else(pc.equal(pc.multiply(whole, have // want), ticks), whole, None)
