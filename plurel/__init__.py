"""Synthetic relational databases: schemas, foreign keys and features from structural models."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plurel.config import Choices, Config, DAGParams, DatabaseParams, SCMParams, SQLParams
    from plurel.dataset import SyntheticDataset
    from plurel.errors import InputError

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
_HOMES = {"SyntheticDataset": "plurel.dataset", "InputError": "plurel.errors"}


def __getattr__(name: str) -> Any:
    """A name of `__all__` on first use: RelBench takes seconds to import, and a script that has yet
    to import the extension module can end in one line if that fails (`plurel.cli`)."""
    if name in __all__:
        return getattr(importlib.import_module(_HOMES.get(name, "plurel.config")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
