"""Safetensors written piece by piece, so that no array needs to be in memory as a whole."""

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

import rustler

_DTYPES = {
    "int64": "I64",
    "uint64": "U64",
    "uint32": "U32",
    "uint8": "U8",
    "float16": "F16",
    "float32": "F32",
}

_SUM = "crc32"
Shapes = Mapping[str, tuple[str, Sequence[int]]]
"""Numpy's name of the type, and the shape, of each array."""


class ArrayFile:
    """The arrays of a file under way; each grows along its first axis, in any order among them."""

    def __init__(self, descriptor: int, shapes: Shapes, start: int) -> None:
        self._descriptor = descriptor
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._dtype = {name: np.dtype(dtype) for name, (dtype, _) in shapes.items()}
        for name, size in _sizes(shapes).items():
            self._next[name] = start
            start += size
            self._end[name] = start

    def append(self, name: str, piece: NDArray[Any]) -> None:
        """Write the next rows of an array."""
        if piece.dtype != self._dtype[name] or self._next[name] + piece.nbytes > self._end[name]:
            raise RuntimeError(f"array {name}: a piece of {piece.dtype} does not fit in")
        if piece.size == 0:
            return
        left = np.ascontiguousarray(piece).data.cast("B")
        while left:  # the system may write less than all
            written = os.pwrite(self._descriptor, left, self._next[name])
            self._next[name] += written
            left = left[written:]

    def check_complete(self) -> None:
        short = [name for name, end in self._end.items() if self._next[name] < end]
        if short:
            raise RuntimeError(f"arrays cut short: {', '.join(short)}")


@contextmanager
def array_file(path: Path, shapes: Shapes, metadata: Mapping[str, str]) -> Iterator[ArrayFile]:
    """A safetensors file of arrays in the given order, to be filled; then it is synced to disk.

    Its metadata get `crc32`, the checksum of the data in eight hexadecimal digits.
    The wide types should come first: then every array starts at a multiple of its item size.
    """
    header: dict[str, Any] = {"__metadata__": {**metadata, _SUM: "0" * 8}}
    offset = 0
    for name, size in _sizes(shapes).items():
        dtype, shape = shapes[name]
        header[name] = {
            "dtype": _DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.flush()
        arrays = ArrayFile(file.fileno(), shapes, 8 + len(text))
        yield arrays
        arrays.check_complete()
        found = f"{rustler.checksum(path, 8 + len(text)):08x}".encode()
        place = 8 + text.index(b"0" * 8, text.index(f'"{_SUM}"'.encode()))
        os.pwrite(file.fileno(), found, place)
        os.fsync(file.fileno())


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file of one dimension each, mapped into memory read-only; SafetensorError or
    OSError if it is cut short."""
    with safe_open(path, framework="numpy"):
        pass  # checks the header against the size of the file
    whole = np.memmap(path, np.uint8, mode="r")
    start = 8 + int(whole[:8].view("<u8")[0])
    header = json.loads(whole[8:start].tobytes())
    numpy_names = {name: dtype for dtype, name in _DTYPES.items()}
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = (start + offset for offset in entry["data_offsets"])
            arrays[name] = whole[first:last].view(numpy_names[entry["dtype"]])
    return arrays


def _sizes(shapes: Shapes) -> dict[str, int]:
    """Bytes of each array."""
    return {
        name: np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        for name, (dtype, shape) in shapes.items()
    }
