"""Named random streams of one seed.

A stream depends on the seed and its names alone, never on the order in which streams are made or
on how much others have drawn. The names of the path to a value ("table", 3, "links", 0) are
written down without ambiguity (each with its kind and length), hashed with SHA-256, and the 256
bits seed a `numpy.random.SeedSequence` and from it a PCG64 generator.
"""

import hashlib

import numpy as np

Name = str | int


def key(seed: int, *names: Name) -> bytes:
    """32 bytes of the path `names` under `seed` (an integer of any size and sign), for generators
    that are not numpy's."""
    digest = hashlib.sha256()
    for part in (int(seed), *names):
        digest.update(_encode(part))
    return digest.digest()


def stream(seed: int, *names: Name) -> np.random.Generator:
    """The generator of the path `names` under `seed`."""
    entropy = int.from_bytes(key(seed, *names), "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _encode(part: Name) -> bytes:
    """One part of a path: a kind, a length and the text, so that no two paths collide."""
    if isinstance(part, str):
        kind, text = b"s", part.encode()
    elif isinstance(part, int | np.integer) and not isinstance(part, bool):
        kind, text = b"i", str(int(part)).encode()
    else:
        raise TypeError(f"a stream is named by strings and integers, not by {part!r}")
    return kind + len(text).to_bytes(8, "little") + text
