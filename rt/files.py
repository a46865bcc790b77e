"""Safetensors written without a second copy of the arrays."""

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"int64": "I64", "uint64": "U64", "uint32": "U32", "float16": "F16", "float32": "F32"}

Pieces = Sequence[NDArray[Any]]


def write_safetensors(
    path: Path, tensors: Mapping[str, Pieces], metadata: Mapping[str, str]
) -> None:
    """Write arrays given as pieces along their first axis, in the given order, and fsync.

    The wide types should come first: then every array starts at a multiple of its item size.
    """
    entries = {}
    for name, pieces in tensors.items():
        shape = (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])
        entries[name] = (pieces[0].dtype, shape)
    every = (piece for pieces in tensors.values() for piece in pieces)
    _write(path, entries, every, metadata)


def write_rows(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    chunks: Iterable[NDArray[np.float16]],
    metadata: Mapping[str, str],
) -> None:
    """Write one f16 array of known shape whose rows come in chunks, and fsync."""
    _write(path, {name: (np.dtype(np.float16), shape)}, chunks, metadata)


def _write(
    path: Path,
    entries: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    pieces: Iterable[NDArray[Any]],
    metadata: Mapping[str, str],
) -> None:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape) in entries.items():
        size = math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _DTYPES[dtype.name],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)  # tofile hides why it fails
        file.flush()
        os.fsync(file.fileno())
