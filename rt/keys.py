"""Rows in order of time, and foreign keys resolved by value."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import rustler
from plurel.errors import InputError
from rt.key_values import form_of, in_form, is_given, sort_of, uuids
from rt.meta import NO_TIME
from rt.raw import plain

Rows = NDArray[np.uint32]
Integers = NDArray[np.int64] | NDArray[np.uint64]
NO_ROW = np.uint32(rustler.NO_ROW)
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

    keys: the primary key in the file's order; rows: global row number of each position. `kind`:
    what the keys are, "integer", "number" for others, "text", "time" and so on.
    """

    def __init__(self, keys: pa.ChunkedArray, rows: Rows, where: str) -> None:
        self.where = where
        keys = plain(keys)
        missing = len(keys) - int(np.count_nonzero(is_given(keys)))
        if missing:
            bad = "null or NaN" if pa.types.is_floating(keys.type) else "null"
            raise InputError(f"{where}: {missing} primary keys are {bad}; fill or drop")
        self._rows = rows
        self._form = form_of(keys)
        self.kind = str(self._form)
        self._lookup: Rows | None = None
        if not len(rows):
            return
        values = in_form(keys, self._form)
        integer = self._form.is_integer
        twice = self._index_integers(values.to_numpy()) if integer else self._index_others(values)
        if twice is not None:
            key = _shown(keys[twice])
            raise InputError(f"{where}: the primary key {key} occurs twice; make keys unique")

    def _index_integers(self, keys: Integers) -> int | None:
        """The position of a key that was there before; None if all differ."""
        low, high = int(keys.min()), int(keys.max())
        self._low = low
        if high - low < 4 * len(keys) + 1024:
            self._lookup = np.full(high - low + 1, NO_ROW)
            self._lookup[keys - low] = self._rows
            if np.count_nonzero(self._lookup != NO_ROW) < len(keys):
                return _repeated(np.argsort(keys, kind="stable"), keys)
            return None
        order = np.argsort(keys, kind="stable")
        self._sorted, self._rows = keys[order], self._rows[order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            return _repeated(order, keys)
        return None

    def _index_others(self, keys: pa.ChunkedArray) -> int | None:
        self._values = keys.combine_chunks()
        try:
            distinct = len(pc.unique(keys))
        except pa.ArrowNotImplementedError:
            raise InputError(
                f"{self.where}: {keys.type} cannot be a primary key; make it a number or a text"
            ) from None
        if distinct == len(keys):
            return None
        encoded = self._values.dictionary_encode().indices.to_numpy()
        return _repeated(np.argsort(encoded, kind="stable"), encoded)

    def find(self, keys: pa.ChunkedArray, where: str) -> Links:
        """The rows that the values of a foreign key reference."""
        keys = plain(keys)
        given = is_given(keys)
        count = int(np.count_nonzero(given))
        if not count or not len(self._rows):
            return Links(np.full(len(keys), NO_ROW), len(keys) - count, count)
        sorts = (sort_of(keys.type), self._form.sort)
        if sorts == ("binary", "text"):
            return self._by_uuid(keys.type, where).find(keys, where)
        if sorts == ("text", "binary"):
            values = uuids(keys)
            if values.null_count == len(values):
                self._refuse_types(keys.type, where)
        elif sorts[0] == sorts[1]:
            values = in_form(keys, self._form)
        else:
            self._refuse_types(keys.type, where)
        rows = self._find_integers(values) if self._form.is_integer else self._find_others(values)
        if values.null_count:
            rows[np.asarray(values.is_null())] = NO_ROW
        dangling = int(np.count_nonzero(given & (rows == NO_ROW)))
        return Links(rows, len(keys) - count, dangling)

    def _by_uuid(self, kind: pa.DataType, where: str) -> "KeyIndex":
        """An index of the keys, which are texts, by the 16 bytes of the UUIDs that they spell."""
        values = uuids(pa.chunked_array([self._values]))
        spelled = np.asarray(values.is_valid())
        if not spelled.any():
            self._refuse_types(kind, where)
        return KeyIndex(values.drop_null(), self._rows[spelled], self.where)

    def _refuse_types(self, kind: pa.DataType, where: str) -> NoReturn:
        raise InputError(
            f"{where}: holds {kind}, but the primary key {self.where} is of another type "
            f"({self.kind}); give both columns one type"
        )

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

    def _find_keys(self, keys: Integers) -> Rows:
        if self._lookup is not None:
            inside = (keys >= self._low) & (keys <= self._low + len(self._lookup) - 1)
            return np.where(inside, self._lookup[np.where(inside, keys - self._low, 0)], NO_ROW)
        position = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[position] == keys, self._rows[position], NO_ROW)

    def _find_others(self, values: pa.ChunkedArray) -> Rows:
        position = pc.index_in(values, value_set=self._values)
        found = np.asarray(position.is_valid())
        return np.where(found, self._rows[position.fill_null(0).to_numpy()], NO_ROW)


def _repeated(order: NDArray[np.int64], keys: NDArray[Any]) -> int:
    """The first position, in `order` of the keys, whose key is that of the one before."""
    ordered = keys[order]
    return int(order[1:][ordered[1:] == ordered[:-1]][0])


def _shown(key: pa.Scalar) -> str:
    try:
        value = key.as_py()
    except (ValueError, OverflowError):  # a time that Python has no object for
        return str(getattr(key, "value", key.type))
    return repr(value) if isinstance(value, str | bytes) else str(value)


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
