"""Models that come with the package, as data of its own: a folder each, called as the model."""

from pathlib import Path

MODELS = Path(__file__).resolve().parent / "models"
DEFAULT = "plurel-small"
"""The model that is taken where none is named."""


def shipped_models() -> list[str]:
    """The names of the models that are here."""
    return sorted(path.parent.name for path in MODELS.glob("*/model.safetensors"))


def find_shipped(name: str) -> Path | None:
    """The folder of the model of this name; None if there is none."""
    return MODELS / name if name in shipped_models() else None
