"""How a model must be fed: beside its sizes, what a checkpoint has to say to be of use."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What a model must be fed with: the name of the text embedder, None if unknown, and the
    settings of the sampler (context_length, recipes), plain values for YAML."""

    embedder: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    """Of the text embedder (see `rt.embedding_file`), None if unknown."""
