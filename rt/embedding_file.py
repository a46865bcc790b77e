"""Files of text embeddings in stores, `text.<embedder>.safetensors`, and whose they are.

Their metadata has the embedder's name and its fingerprint, a hash of what its vectors
depend on: two models that happen to have one name, or one width, are told apart by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from plurel.errors import InputError


@dataclass(frozen=True)
class Embeddings:
    """What a file of embeddings says of itself; fingerprint: None in files of older versions."""

    path: Path
    rows: int
    width: int
    fingerprint: str | None


def embeddings_path(folder: str | Path, embedder: str) -> Path:
    """Where a store has the embeddings of an embedder."""
    return Path(folder) / f"text.{embedder}.safetensors"


def open_embeddings(folder: str | Path, embedder: str) -> Embeddings | None:
    """The embeddings of a store by one embedder; None if they are not there or cut short."""
    path = embeddings_path(folder, embedder)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            rows, width = file.get_slice("embedding").get_shape()
            return Embeddings(path, rows, width, (file.metadata() or {}).get("fingerprint"))
    except (SafetensorError, ValueError):
        return None


def one_fingerprint(folders: Iterable[str | Path], embedder: str) -> str | None:
    """The fingerprint of the embeddings of all stores; InputError if they come from several models
    of one name. Stores without it are left to those that read the embeddings."""
    first: Embeddings | None = None
    for folder in folders:
        found = open_embeddings(folder, embedder)
        if found is None:
            continue
        first = first or found
        if found.fingerprint != first.fingerprint:
            raise InputError(
                f"{found.path} and {first.path} come from two models named '{embedder}'; remove "
                "one of the files and preprocess again"
            )
    return first.fingerprint if first else None


def check_fingerprint(folder: str | Path, embedder: str, fingerprint: str | None) -> None:
    """InputError if a store's embeddings are not those that a model was trained with; `fingerprint`
    None: the model does not say."""
    found = open_embeddings(folder, embedder)
    if found is None or fingerprint is None or found.fingerprint == fingerprint:
        return
    raise InputError(
        f"{found.path}: comes from another text embedder than the one that the model was trained "
        f"with (fingerprint {found.fingerprint or 'unknown'}, not {fingerprint}); preprocess the "
        "database with that one, or take another model"
    )
