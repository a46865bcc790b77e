"""Synthetic relational databases: schemas, foreign keys and features from structural models."""

from typing import TYPE_CHECKING, Any

from plurel.config import Choices, Config, DAGParams, DatabaseParams, SCMParams, SQLParams
from plurel.errors import InputError

if TYPE_CHECKING:
    from plurel.dataset import SyntheticDataset

__version__ = "0.1.0"
__all__ = [
    "Choices",
    "Config",
    "DAGParams",
    "DatabaseParams",
    "InputError",
    "SCMParams",
    "SQLParams",
    "SyntheticDataset",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """`SyntheticDataset` on first use: it imports relbench, which takes seconds."""
    if name == "SyntheticDataset":
        from plurel.dataset import SyntheticDataset

        return SyntheticDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
