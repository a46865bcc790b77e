"""Predictions in the form that RelBench's leaderboard takes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from relbench.submit import write_prediction_table

from plurel.atomic import complete_file
from plurel.errors import InputError
from rt.evaluate import ScoredRows
from rt.relbench_folder import one_line


def write_submission(
    folder: Path, database: str, rows: ScoredRows, prediction: NDArray[np.float64]
) -> Path:
    """Predictions of a whole split as the file `<database>__<task>.csv` of `relbench.submit`.

    InputError for a part of a split.
    """
    name = rows.relbench_task.name
    if len(rows.positions) != rows.num_rows:
        raise InputError(f"task {name}: a submission needs every row: leave max_rows out")
    path = folder / f"{database}__{name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as file, one_line(f"{path}: not written", "report this"):
        write_prediction_table(rows.relbench_task, prediction, file)
    return path
