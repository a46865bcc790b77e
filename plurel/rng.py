"""Named random streams of one seed.

A stream depends on the seed and its names alone, never on the order in which streams are made or
on how much others have drawn. The names of the path to a value ("table", 3, "links", 0) are
written down without ambiguity (each with its kind and length), hashed with SHA-256, and the 256
bits are the state and increment of a PCG64 generator.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence

Name = str | int


class _Digest(ISpawnableSeedSequence):
    """32 bytes as a seed. A hash needs no further mixing, and numpy's own takes ten times as long
    as the rest of making a generator."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.spawned = 0

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray[Any, Any]:
        """The first words of the digest; more than it has are hashed from it."""
        size = n_words * np.dtype(dtype).itemsize
        state = self.digest if size <= 32 else hashlib.shake_256(self.digest).digest(size)
        return np.frombuffer(state[:size], np.dtype(dtype).newbyteorder("<")).astype(dtype)

    def spawn(self, n_children: int) -> list["_Digest"]:
        """Seeds of further streams, by number."""
        first, self.spawned = self.spawned, self.spawned + n_children
        numbers = range(first, self.spawned)
        return [_Digest(hashlib.sha256(self.digest + _encode(n)).digest()) for n in numbers]


def key(seed: int, *names: Name) -> bytes:
    """32 bytes of the path `names` under `seed` (an integer of any size and sign), for generators
    that are not numpy's."""
    digest = hashlib.sha256()
    for part in (int(seed), *names):
        digest.update(_encode(part))
    return digest.digest()


def stream(seed: int, *names: Name) -> np.random.Generator:
    """The generator of the path `names` under `seed`."""
    # numpy documents that any ISeedSequence will do; its types name SeedSequence alone
    seeds: Any = _Digest(key(seed, *names))
    return np.random.Generator(np.random.PCG64(seeds))


def _encode(part: Name) -> bytes:
    """One part of a path: a kind, a length and the text, so that no two paths collide."""
    if isinstance(part, str):
        kind, text = b"s", part.encode()
    elif isinstance(part, int | np.integer) and not isinstance(part, bool):
        kind, text = b"i", str(int(part)).encode()
    else:
        raise TypeError(f"a stream is named by strings and integers, not by {part!r}")
    return kind + len(text).to_bytes(8, "little") + text
