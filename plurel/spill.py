"""Large arrays in files instead of memory, so that memory holds a few columns at a time.

The files have no name, so nothing is left behind however a process ends. What is mapped counts as
memory of the process until `release`.
"""

import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from plurel.errors import InputError

LARGE_BYTES = 1 << 22
"""Arrays from this size on go to files."""

_maps: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()


class Spill:
    """Makes arrays; large ones as files of `folder`, or none if it is None."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def empty(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array [count] to be filled. Raises InputError where there is no space for it."""
        kind = np.dtype(dtype)
        size = count * kind.itemsize
        if self.folder is None or size < LARGE_BYTES:
            return np.empty(count, kind)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                # space is taken now: a mapped file that can't grow ends the process
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                mapped = mmap.mmap(file.fileno(), size)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"can't keep {size / 2**20:,.0f} MiB in {self.folder}: {reason}"
            ) from None
        _maps.add(mapped)
        return np.frombuffer(mapped, kind)

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array, or a copy in a file."""
        if self.folder is None or array.nbytes < LARGE_BYTES:
            return array
        kept = self.empty(len(array), array.dtype)
        kept[:] = array
        release()
        return kept


IN_MEMORY = Spill()


def release() -> None:
    """Give the memory of what is mapped back; it is read again from the files when it is used."""
    for mapped in list(_maps):
        mapped.madvise(mmap.MADV_DONTNEED)
