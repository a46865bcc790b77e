"""The label files of a task as one table, whose splits may have been written with several types."""

from collections.abc import Sequence

import pyarrow as pa

from plurel.errors import InputError
from rt.numeric import PER_SECOND
from rt.raw import Source, plain

_WHOLE = (pa.types.is_integer, pa.types.is_boolean)
_NUMBERS = (*_WHOLE, pa.types.is_floating, pa.types.is_decimal)
_MOMENTS = (pa.types.is_timestamp, pa.types.is_date)
_FIXED = (
    ((pa.types.is_time,), pa.time64("ns")),
    ((pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view), pa.large_string()),
)


class JoinedSource:
    """Tables one below the other: the label files of a task."""

    def __init__(self, label: str, parts: Sequence[Source]) -> None:
        self.label = label
        self.parts = parts
        self.num_rows = sum(part.num_rows for part in parts)
        self.schema: pa.Schema = parts[0].schema

    def read(self, column: str) -> pa.ChunkedArray:
        """A column as a type that holds the values of all parts; InputError if there is none."""
        arrays = [plain(part.read(column)) for part in self.parts]
        kinds = {array.type for array in arrays if len(array) > array.null_count}
        for kind in _common_types(kinds) if kinds else [arrays[0].type]:
            cast = [_as(array, kind) for array in arrays]
            found = [array for array in cast if array is not None]
            if len(found) == len(cast):
                return pa.chunked_array([chunk for array in found for chunk in array.chunks], kind)
        raise InputError(
            f"{self.label}: column '{column}' has several types, and none holds the values of all: "
            f"{', '.join(sorted(map(str, kinds)))}; write all splits with one"
        )


def _as(array: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The same values as another type; None if it lacks some of them."""
    if array.type == kind:
        return array
    if len(array) == array.null_count:
        return pa.chunked_array([pa.nulls(len(array), kind)])
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())  # there is no way from booleans to decimals
    try:
        cast = array.cast(kind)
        # from decimals to floats and back Arrow rounds without a word
        rounds = pa.types.is_floating(array.type) != pa.types.is_floating(kind)
        return None if rounds and not cast.cast(array.type).equals(array) else cast
    except pa.ArrowInvalid:
        return None


def _common_types(kinds: set[pa.DataType]) -> list[pa.DataType]:
    """The types that may hold the values of all; none if they are of different sorts."""
    if len(kinds) == 1:
        return list(kinds)
    if all(any(test(kind) for test in _NUMBERS) for kind in kinds):
        return _common_numbers(kinds)
    for tests, of_unit in ((_MOMENTS, pa.timestamp), ((pa.types.is_duration,), pa.duration)):
        if all(any(test(kind) for test in tests) for kind in kinds):
            units = {_unit(kind) for kind in kinds}
            return [of_unit(unit) for unit in sorted(units, key=PER_SECOND.__getitem__)[::-1]]
    return [
        common
        for tests, common in _FIXED
        if all(any(test(kind) for test in tests) for kind in kinds)
    ]


def _common_numbers(kinds: set[pa.DataType]) -> list[pa.DataType]:
    scales = [kind.scale for kind in kinds if pa.types.is_decimal(kind)]
    decimals = [pa.decimal256(76, max(scales))] if scales else []
    if any(pa.types.is_floating(kind) for kind in kinds):
        return [pa.float64(), *(decimals or [pa.int64()])]
    return decimals or [pa.int64(), pa.uint64(), pa.decimal128(20, 0)]


def _unit(kind: pa.DataType) -> str:
    if pa.types.is_date(kind):
        return "s" if pa.types.is_date32(kind) else "ms"
    return str(kind.unit)
