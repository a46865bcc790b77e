"""What every script shares: options, and errors as one line, not as a traceback.

Imported before anything that is compiled: from then on bad input that ends an import, such as an
unknown set of instructions in RUSTLER_INSTRUCTIONS, is one line as well.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

from plurel.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser of options, written in full, that raises an InputError instead of printing how it is
    used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """What argparse calls for options that it can't take."""
        raise InputError(f"{message}; --help lists the options")


def counted(number: int, what: str) -> str:
    """The number with its noun: "1 table", "1,200 tables"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def clean_exit() -> Iterator[None]:
    """Bad input, and a file that the system can't read or write, end in one line `error: ...` on
    stderr and exit status 1.

    Ctrl-C ends in status 130 and SIGTERM in 143, after everything that is open has cleaned up.
    """
    try:
        with _terminable():
            yield
    except KeyboardInterrupt:
        _fail("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        # the reader of our output has gone, as `head` does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except _bad_input() as error:
        _fail(f"error: {' '.join(str(error).split())}", 1)
    except OSError as error:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _fail(f"error: {place}{error.strerror or error}; check the path, its rights and space", 1)


def _fail(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(status)


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM unwinds the stack, so that temporary files are removed."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # once is enough: a second signal must not stop the cleaning up
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _fail("terminated", 128 + number)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Bad input in one line; anything else with its traceback."""
    # the module whose error this is has not been imported: its name alone tells it
    if isinstance(error, InputError) or kind.__name__ == "RustlerError":
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show


def _bad_input() -> tuple[type[Exception], ...]:
    """InputError, and the extension module's own error once something has imported it."""
    error = getattr(sys.modules.get("rustler"), "RustlerError", InputError)
    return (InputError, error)
