"""The known name that somebody may have meant, for messages about a name that is not known."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

_LIKE = 0.5
"""How much two names must have in common (difflib's ratio), without regard to case."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that resembles another one most, if any does."""
    lowered = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=_LIKE)
    return lowered[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" where a known name resembles `name`, else nothing."""
    near = nearest(name, known)
    return "" if near is None else f"; did you mean '{near}'?"


def did_you_mean_path(path: str | os.PathLike[str]) -> str:
    """`did_you_mean` for a path that is not there, among its neighbours."""
    path = Path(path)
    try:
        near = nearest(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:  # no such folder either
        near = None
    return "" if near is None else f"; did you mean '{path.parent / near}'?"


def instead(name: str, known: Iterable[str]) -> str:
    """`did_you_mean`, or where nothing resembles it all that there are."""
    known = list(known)
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"
