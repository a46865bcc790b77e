"""Text columns, and values of types that have no number as texts: bytes, lists, structs, maps."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.meta import TEXT_LIMIT
from rt.raw import plain

_BINARY = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


@dataclass
class Texts:
    """A text column: `codes` number the distinct `texts`; the codes of invalid cells are 0."""

    codes: NDArray[np.uint32]
    valid: NDArray[np.bool_]
    texts: pa.Array


def read_texts(array: pa.ChunkedArray, where: str) -> Texts:
    """A column as texts, whatever its type."""
    spell_bytes = _spell_uuid if _is_uuid(array.type) else _spell_bytes
    if isinstance(array.type, pa.BaseExtensionType):
        array = plain(array)
    if pa.types.is_floating(array.type):
        array = _whole(array)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        empty = pa.array([], pa.large_string())
        return Texts(np.zeros(len(array), np.uint32), np.zeros(len(array), bool), empty)
    if pa.types.is_nested(kind) or pa.types.is_union(kind):
        array = _spell_nested(array, where)
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
    texts = _spell(encoded.dictionary, where, spell_bytes)
    keep = np.zeros(len(texts), bool)
    if texts.null_count:
        valid &= np.asarray(texts.is_valid())[codes]
    keep[codes[valid]] = True
    if not keep.all():
        # A dictionary can name values that no row holds (categoricals) or a null.
        texts = texts.filter(pa.array(keep))
        codes = np.maximum(np.cumsum(keep) - 1, 0).astype(np.uint32)[codes] if len(keep) else codes
    codes[~valid] = 0
    return Texts(codes, valid, texts)


def _spell(
    values: pa.Array, where: str, spell_bytes: Callable[[bytes | None], str | None]
) -> pa.Array:
    """Distinct values as texts of limited length."""
    kind = values.type
    if any(test(kind) for test in _BINARY):
        values = pa.array(map(spell_bytes, values.to_pylist()), pa.large_string())
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
    """Bytes as text: themselves if they are UTF-8 without NUL, else in hexadecimal."""
    if value is None:
        return None
    try:
        if b"\0" not in value:
            return value.decode("utf-8")
    except UnicodeDecodeError:
        pass
    return value[: TEXT_LIMIT // 2].hex()


def _spell_uuid(value: bytes | None) -> str | None:
    return None if value is None else str(UUID(bytes=value))


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", None) == "arrow.uuid"


def _whole(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Float labels as integers if they are: pandas reads integers with nulls as floats."""
    array = array.cast(pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        return array


def _spell_nested(array: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Lists, structs and maps as JSON, dictionary-encoded; a few thousand rows at a time."""
    pieces = []
    for batch in pa.table({"": array}).to_batches(max_chunksize=4096):
        try:
            values = batch.column(0).to_pylist()
        except (OverflowError, ValueError) as error:
            raise InputError(
                f"{where}: holds {array.type} with a value that Python cannot hold ({error}); "
                "convert or drop the column"
            ) from None
        spelled = [None if value is None else _spell_value(value) for value in values]
        pieces.append(pa.array(spelled, pa.large_string()))
    return pa.chunked_array(pieces, pa.large_string()).dictionary_encode()


def _spell_value(value: Any) -> str:
    return json.dumps(value, default=_spell_leaf, ensure_ascii=False)[:TEXT_LIMIT]


def _spell_leaf(value: Any) -> str | None:
    if isinstance(value, bytes):
        return _spell_bytes(value)
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
