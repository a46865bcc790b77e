"""Finished parts of an embedding that takes hours: what a killed run has done is not done again.

A part is a file of vectors with the hash of each text, written when it is complete and nowhere
else, so that which stores, batches and devices the next run has does not matter.
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from plurel.atomic import cannot_write, complete_file
from plurel.errors import InputError
from rt.files import array_file
from rt.text import Embedding, TextEmbedder

_KEY_BYTES = 16


class Parts:
    """The parts of one embedder in a folder, which is locked while this is open and removed when it
    closes without an error."""

    def __init__(self, folder: Path, embedder: TextEmbedder) -> None:
        self.folder = folder
        self._shape = (embedder.fingerprint, embedder.dimension)

    def __enter__(self) -> "Parts":
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InputError(
                f"{self.folder.parent}: another process embeds its texts; wait for it"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or not any(self.folder.glob("*.safetensors")):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def load(self, texts: pa.Array, vectors: Embedding) -> NDArray[np.bool_]:
        """Put what is done into `vectors`; for each text whether it is."""
        done = np.zeros(len(texts), bool)
        paths = sorted(self.folder.glob("*.safetensors"))
        wanted = _keys(texts) if paths else None
        for path in paths:
            part = self._read(path)
            if part is None:
                continue
            keys, found = part
            place = pc.index_in(wanted, value_set=keys)
            here = np.asarray(place.is_valid()) & ~done
            vectors[here] = found[place.filter(pa.array(here)).to_numpy()]
            done |= here
        return done

    def save(self, texts: pa.Array, vectors: Embedding) -> None:
        """Keep the vectors of some texts."""
        raw = np.frombuffer(_keys(texts).buffers()[1], np.uint64).reshape(len(texts), 2)
        name = hashlib.blake2b(raw.tobytes(), digest_size=8).hexdigest()
        shapes = {"key": ("uint64", raw.shape), "embedding": ("float16", vectors.shape)}
        facts = {"fingerprint": self._shape[0]}
        with (
            complete_file(self.folder / f"{name}.safetensors") as path,
            array_file(path, shapes, facts) as file,
        ):
            file.append("key", raw)
            file.append("embedding", vectors)

    def _read(self, path: Path) -> tuple[pa.Array, NDArray[Any]] | None:
        """Keys and vectors of a part; None if it belongs to another model."""
        try:
            with safe_open(path, framework="numpy") as file:
                keys, vectors = file.get_tensor("key"), file.get_tensor("embedding")
                found = (file.metadata() or {}).get("fingerprint"), vectors.shape[1]
        except (SafetensorError, OSError):
            return None
        if found != self._shape:
            return None
        buffers = [None, pa.py_buffer(keys.tobytes())]
        return pa.Array.from_buffers(pa.binary(_KEY_BYTES), len(keys), buffers), vectors


def parts_folder(store: Path, embedder: str) -> Path:
    """Where the parts of a run stand whose first store is `store`."""
    return store / f".text.{embedder}.parts"


def _keys(texts: pa.Array) -> pa.Array:
    """Hashes of texts, 16 bytes each."""
    found = bytearray()
    for start in range(0, len(texts), 1 << 16):
        for text in texts.slice(start, 1 << 16).to_pylist():
            found += hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest()
    return pa.Array.from_buffers(
        pa.binary(_KEY_BYTES), len(texts), [None, pa.py_buffer(bytes(found))]
    )
