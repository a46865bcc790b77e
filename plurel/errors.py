"""The one exception for bad input.

Everything that a user can get wrong (a path, a key of a config, a file's content) raises
`InputError` with one line that names the thing and says what to do. Scripts print that line and
exit with status 1; a traceback is for bugs only.
"""


class InputError(ValueError):
    """Bad input; the message names the file, table, column or key and the remedy."""


def reason_of(error: BaseException) -> str:
    """An error in one line, with its kind in front unless it is an InputError, which says all by
    itself."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())
