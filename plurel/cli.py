"""What every script shares: errors as one line, not as a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from plurel.errors import InputError


@contextmanager
def clean_exit() -> Iterator[None]:
    """Bad input ends in one line `error: ...` on stderr and exit status 1; Ctrl-C in status 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except _bad_input() as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)


def _bad_input() -> tuple[type[Exception], ...]:
    """InputError, and the extension module's own error once something has imported it."""
    error = getattr(sys.modules.get("rustler"), "RustlerError", InputError)
    return (InputError, error)
