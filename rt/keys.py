"""Rows in order of time, and foreign keys resolved by value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import rustler
from plurel.errors import InputError
from rt.meta import NO_TIME
from rt.raw import blocks, plain

Rows = NDArray[np.uint32]
NO_ROW = np.uint32(rustler.NO_ROW)
_LARGE = pa.decimal256(76, 18)
_BINARY = (pa.types.is_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_BLOCK = 1 << 16
"""Keys looked up at a time: what is computed on the way stays in the cache."""


@dataclass(frozen=True)
class Links:
    """One foreign key: the parent row of each row (`NO_ROW`: none), and why some have none."""

    rows: Rows
    nulls: int
    dangling: int


class KeyIndex:
    """Finds the rows of a table by the values of its primary key.

    keys: the primary key in the file's order; rows: global row number of each position.
    """

    def __init__(self, keys: pa.ChunkedArray, rows: Rows, where: str) -> None:
        self.where = where
        self.kind, values, wrong = _canonical(keys)
        if values.null_count:
            bad = "NaN or fractions" if wrong else "null"
            raise InputError(f"{where}: {values.null_count} primary keys are {bad}; fill or drop")
        self._lookup: Rows | None = None
        self._rows = rows
        if not len(rows):
            return
        if self.kind == "integer":
            self._index_integers(values.to_numpy())
        else:
            self._index_others(values)

    def _index_integers(self, keys: NDArray[np.int64]) -> None:
        low, high = int(keys.min()), int(keys.max())
        self._low = low
        if high - low < 4 * len(keys) + 1024:
            self._lookup = np.full(high - low + 1, NO_ROW)
            self._lookup[keys - low] = self._rows
            if np.count_nonzero(self._lookup != NO_ROW) < len(keys):
                self._refuse_duplicate(np.sort(keys))
            return
        order = np.argsort(keys, kind="stable")
        self._sorted, self._rows = keys[order], self._rows[order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            self._refuse_duplicate(self._sorted)

    def _index_others(self, keys: pa.ChunkedArray) -> None:
        self._values = keys.combine_chunks()
        try:
            distinct = len(pc.unique(keys))
        except pa.ArrowNotImplementedError:
            raise InputError(
                f"{self.where}: {keys.type} cannot be a primary key; make it a number or a text"
            ) from None
        if distinct < len(keys):
            counts = pc.value_counts(keys)
            twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
            self._refuse(twice[0].as_py())

    def _refuse_duplicate(self, keys: NDArray[np.int64]) -> None:
        self._refuse(int(keys[1:][keys[1:] == keys[:-1]][0]))

    def _refuse(self, value: Any) -> None:
        raise InputError(f"{self.where}: the primary key {value!r} occurs twice; make keys unique")

    def find(self, keys: pa.ChunkedArray, where: str) -> Links:
        """The rows that the values of a foreign key reference."""
        kind, values, wrong = _canonical(keys)
        valid = np.asarray(values.is_valid())
        nulls = len(values) - int(valid.sum()) - wrong
        if kind == "null" or not valid.any() or not len(self._rows):
            return Links(np.full(len(values), NO_ROW), nulls, wrong + int(valid.sum()))
        if (kind, self.kind) == ("integer", "large number"):
            kind, values = self.kind, values.cast(_LARGE)
        elif (kind, self.kind) == ("large number", "integer"):
            kind, values = self.kind, _integers(values)
            wrong += values.null_count - int(np.count_nonzero(~valid))
            valid = np.asarray(values.is_valid())
        if kind != self.kind:
            raise InputError(
                f"{where}: holds {keys.type}, but the primary key {self.where} is of another type "
                f"({self.kind}); give both columns one type"
            )
        rows = self._find_integers(values) if kind == "integer" else self._find_others(values)
        rows[~valid] = NO_ROW
        return Links(rows, nulls, wrong + int(np.count_nonzero(valid & (rows == NO_ROW))))

    def _find_integers(self, values: pa.ChunkedArray) -> Rows:
        rows = np.empty(len(values), np.uint32)
        filled = 0
        for chunk in (values.fill_null(0) if values.null_count else values).chunks:
            keys = chunk.to_numpy()
            for start in range(0, len(keys), _BLOCK):
                found = self._find_keys(keys[start : start + _BLOCK])
                rows[filled : filled + len(found)] = found
                filled += len(found)
        return rows

    def _find_keys(self, keys: NDArray[np.int64]) -> Rows:
        if self._lookup is not None:
            inside = (keys >= self._low) & (keys <= self._low + len(self._lookup) - 1)
            return np.where(inside, self._lookup[np.where(inside, keys - self._low, 0)], NO_ROW)
        position = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[position] == keys, self._rows[position], NO_ROW)

    def _find_others(self, values: pa.ChunkedArray) -> Rows:
        position = pc.index_in(values, value_set=self._values)
        found = np.asarray(position.is_valid())
        return np.where(found, self._rows[position.fill_null(0).to_numpy()], NO_ROW)


def _canonical(keys: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray, int]:
    """Keys in a form in which equal values are equal: their kind, the values, and how many became
    null because no key can equal them (NaN counts as null, a fraction does not).

    Integers of every width, integral floats and decimals are one kind, texts another.
    """
    keys = plain(keys)
    kind = keys.type
    if pa.types.is_null(kind):
        return "null", keys, 0
    if pa.types.is_boolean(kind):
        return "integer", keys.cast(pa.uint8()).cast(pa.int64()), 0
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        try:
            return "integer", keys.cast(pa.int64()), 0
        except pa.ArrowInvalid:
            pass  # larger than 64 bits, or fractions
        if pa.types.is_decimal(kind) and kind.precision - kind.scale > 58:  # room in _LARGE
            return str(kind), keys, 0
        return "large number", keys.cast(_LARGE, safe=False), 0
    if pa.types.is_floating(kind):
        return _whole(keys)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = keys.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        return "time", stamps.cast(pa.int64()), 0
    if semantic_text(kind):
        return "text", keys.cast(pa.large_string()), 0
    if any(test(kind) for test in _BINARY):
        return "binary", keys.cast(pa.large_binary()), 0
    return str(kind), keys, 0


def _integers(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as integers of 64 bits; those that are none become null."""
    pieces = []
    for _, block in blocks(numbers):
        encoded = block.combine_chunks().dictionary_encode()
        whole = [
            int(value) if value == int(value) and -(2**63) <= value < 2**63 else None
            for value in encoded.dictionary.to_pylist()
        ]
        pieces.append(pa.array(whole, pa.int64()).take(encoded.indices))
    return pa.chunked_array(pieces, pa.int64())


def semantic_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds character strings."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _whole(keys: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray, int]:
    """Float keys (pandas writes integers with nulls so) as integers."""
    floats = keys.cast(pa.float64()).to_numpy()
    given = ~np.isnan(floats)
    whole = given & (np.abs(floats) < 2.0**63) & (np.floor(floats) == floats)
    integers = np.where(whole, floats, 0).astype(np.int64)
    wrong = int(np.count_nonzero(given & ~whole))
    return "integer", pa.chunked_array([pa.array(integers, mask=~whole)]), wrong


def order_by_time(time: NDArray[np.int64], valid: NDArray[np.bool_]) -> Rows | None:
    """The file's positions in order of time, rows without one last; None: they are so already."""
    keys = np.where(valid, time, np.iinfo(np.int64).max)
    if (keys[1:] >= keys[:-1]).all():
        return None
    return np.argsort(keys, kind="stable").astype(np.uint32)


def times(time: NDArray[np.int64], valid: NDArray[np.bool_], order: Rows | None) -> NDArray[Any]:
    """row_time in the store's order."""
    result = np.where(valid, time, NO_TIME)
    return result if order is None else result[order]
