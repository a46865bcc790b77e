"""Where data live: one root, `PLUREL_HOME`, with raw/, pre/ and runs/ below it."""

import os
from pathlib import Path


def home() -> Path:
    """The data root: the environment variable PLUREL_HOME, or ~/.cache/plurel."""
    return Path(os.environ.get("PLUREL_HOME") or Path.home() / ".cache" / "plurel").expanduser()


def raw_dir() -> Path:
    """Relbench folders, one a database."""
    return home() / "raw"


def pre_dir() -> Path:
    """Store folders, one a database."""
    return home() / "pre"


def runs_dir() -> Path:
    """Training runs, one folder each."""
    return home() / "runs"
