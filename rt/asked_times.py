"""Times that a user asks about: as seconds, and whether anything is known by then."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open

import rustler
from plurel.errors import InputError
from rt.importing.values import moment
from rt.meta import StoreMeta
from rt.tasks import Task
from rt.unpack import ARRAYS_FILE, read_arrays

WRITE_TIME = "write 2026-01-31 or 2026-01-31 10:00"
"""What to do where a text is no time."""
_NUMBERS = ("integer", "floating", "mixed-integer-float", "mixed-integer", "boolean", "decimal")


def last_time(store: Path) -> int | None:
    """The last time in a store, in seconds; None if its rows have none."""
    with safe_open(store / ARRAYS_FILE, framework="numpy") as file:
        times = file.get_slice("time_value")
        count = times.get_shape()[0]
        return int(times[count - 1 : count][0]) if count else None


def seconds(times: Any, what: str) -> NDArray[np.int64]:
    """i64[N]: times in seconds since 1970, rounded up as in a store; times with a zone in UTC,
    those without are taken as they stand. InputError for what is no time, and for texts in another
    form than ISO 8601."""
    given = pd.Series(times)
    if given.notna().any() and pd.api.types.infer_dtype(given) in _NUMBERS:
        raise InputError(f"{what}: numbers are no times; {WRITE_TIME}")
    if not pd.api.types.is_datetime64_any_dtype(given.dtype):
        given = given.astype(object).map(lambda v: moment_of(v, what) if isinstance(v, str) else v)
    try:
        parsed = pd.to_datetime(given, utc=True)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: not all are times ({error}); {WRITE_TIME}") from None
    if parsed.isna().any():
        raise InputError(f"{what}: {int(parsed.isna().sum())} times are missing")
    whole = parsed.dt.ceil("s").dt.as_unit("s")
    return np.asarray(whole.astype("int64"), dtype=np.int64)


def moment_of(text: str, what: str) -> pd.Timestamp:
    """The time of a text in ISO 8601, NaT of an empty one; InputError for others, since 3/12/2024
    is one day here and another there."""
    if not text:
        return pd.NaT  # type: ignore[return-value]
    try:
        return pd.Timestamp(moment(text))
    except (ValueError, OverflowError):
        raise InputError(f"{what}: {text!r} is no time in ISO 8601; {WRITE_TIME}") from None


def check_known(
    store: Path, meta: StoreMeta, task: Task, asked: pd.DataFrame, times: NDArray[np.int64],
    entity: NDArray[np.uint32],
) -> None:  # fmt: skip
    """InputError for the first of the rows asked for whose entity has a time of its own that is
    still to come, and for a time before every row of the database: the model would see nothing."""
    if not len(times):
        return
    arrays, which = read_arrays(store), f"task {task.name}"
    own = arrays.times_of(entity)
    early = np.flatnonzero(own > times)
    if len(early):
        row, column = int(early[0]), meta.tables[meta.table(str(task.entity_table))].time_column
        key = ", ".join(f"{name} {asked[name].iloc[row]}" for name in asked.columns[:-1])
        counted = f" ({len(early)} of {len(times)} rows are too early)" if len(times) > 1 else ""
        raise InputError(
            f"{which}: the row of {task.entity_table} with {key} is not there yet at "
            f"{written(times[row])}: its {column} is {written(own[row])}; "
            f"give a later time{counted}"
        )
    ranges = [table.rows for table in meta.tables if table.kind == "database"]
    first = arrays.times_of(np.array([start for start, end in ranges if start < end], np.int64))
    first = first[first != rustler.NO_TIME]
    if len(first) and times.min() < first.min():
        raise InputError(
            f"{which}: {written(times.min())} is before every time in the database, whose first "
            f"is {written(first.min())}: nothing is known by then; give a later time"
        )


def written(time: Any) -> str:
    """A time in seconds as a text."""
    return str(pd.Timestamp(int(time), unit="s"))
