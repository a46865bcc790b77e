"""The known name that somebody may have meant, for messages about a name that is not known."""

import difflib
from collections.abc import Iterable

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


def instead(name: str, known: Iterable[str]) -> str:
    """`did_you_mean`, or where nothing resembles it all that there are."""
    known = list(known)
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"
