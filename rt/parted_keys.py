"""Rows named by a key of several columns that they had before an import numbered them.

One key is its parts: a tuple, or a text with commas between them, "AMS,3" (quoted as in CSV where a
part holds a comma itself: \'"Bath, Spa",3\'). A frame has a column of each part.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.asked import SOURCE_KEY, source_keys
from rt.importing.names import KEYS
from rt.keys import NO_ROW, KeyIndex
from rt.meta import StoreMeta
from rt.unpack import read_arrays

_BETWEEN = "\x1f"
"""Between the parts where keys are compared: the separator of units, which no text holds."""


def parted_keys(raw: Path, store: Path, meta: StoreMeta, table: str) -> "PartedKeys | None":
    """The keys of a table's rows in the source; None where these have one column, or are those of
    the folder, or where a column of the table is called as the source's keys are."""
    kept = raw / KEYS / f"{table}.parquet"
    if not kept.is_file() or len(pq.read_schema(kept).names) < 2:
        return None
    if SOURCE_KEY in pq.read_schema(raw / "db" / f"{table}.parquet").names:
        return None
    return PartedKeys(kept, store, meta, table)


class PartedKeys:
    """The rows of a table by the parts of their keys. names: the columns of these."""

    def __init__(self, kept: Path, store: Path, meta: StoreMeta, table: str) -> None:
        first, end = meta.tables[meta.table(table)].rows
        keys = source_keys(kept, end - first)
        source = read_arrays(store)["row_source"][first:end]
        rows = np.empty(end - first, np.uint32)
        rows[source] = np.arange(first, end, dtype=np.uint32)
        self._table, self._types = table, keys.schema.types
        self.names = tuple(keys.schema.names)
        self._index = KeyIndex(self._joined(keys.columns), rows, str(kept))

    def frame(self, keys: Any) -> pd.DataFrame:
        """Keys as a frame, a column each part: of a frame, a key, or several in a list."""
        if isinstance(keys, pd.DataFrame):
            return keys
        given = [keys] if isinstance(keys, str | tuple) or not np.iterable(keys) else list(keys)
        return pd.DataFrame([self._parts(key) for key in given], columns=list(self.names))

    def _parts(self, key: Any) -> Sequence[Any]:
        parts: Sequence[Any] = [key]
        if isinstance(key, str):
            parts = next(csv.reader([key], skipinitialspace=True), [])
        elif np.iterable(key):
            parts = list(key)
        if len(parts) != len(self.names):
            raise InputError(
                f"{self._table}: the key {key!r} has {len(parts)} of the {len(self.names)} parts "
                f"{', '.join(self.names)}: write one key as '{','.join(self.names)}'"
            )
        return parts

    def typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its parts of the types that they had in the source."""
        made = frame.copy()
        for name, column in zip(self.names, self._columns(frame), strict=True):
            made[name] = column.to_pandas()
        return made

    def rows(self, frame: pd.DataFrame) -> NDArray[np.uint32]:
        """The store rows of these keys; InputError that names the first one that is not there."""
        joined = self._joined(self._columns(frame))
        found = self._index.find(joined, f"the keys of {self._table}").rows
        missing = np.flatnonzero(found == NO_ROW)
        if len(missing):
            key = ",".join(str(frame[name].iloc[missing[0]]) for name in self.names)
            counted = f" ({len(missing)} of {len(found)} keys are not there)"
            raise InputError(
                f"{self._table}: no row has the {','.join(self.names)} of the source {key!r}"
                + (counted if len(found) > 1 else "")
            )
        return found

    def _columns(self, frame: pd.DataFrame) -> list[pa.ChunkedArray]:
        """The parts, of their types; InputError for values that can't be."""
        made = []
        for name, kind in zip(self.names, self._types, strict=True):
            try:
                given = pa.array(frame[name].tolist(), from_pandas=True)
                made.append(pa.chunked_array([given.cast(kind)]))
            except (pa.ArrowException, OverflowError) as error:
                raise InputError(
                    f"{self._table}: its keys' {name} is {kind} ({str(error).splitlines()[0]})"
                ) from None
        return made

    def _joined(self, columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
        """Each key as one text, equal where all parts are."""
        try:
            texts = [column.cast(pa.large_string()) for column in columns]
        except pa.ArrowException:
            raise InputError(
                f"{self._table}: keys of the source with {', '.join(map(str, self._types))} can't "
                "name rows: name them by the numbers that the import gave them"
            ) from None
        return pc.binary_join_element_wise(*texts, pa.scalar(_BETWEEN, pa.large_string()))
