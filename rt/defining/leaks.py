"""Columns that may give the answer of a task away.

Three signs, each a warning and not a proof, over the columns of the entity's row and of its
parents' rows that the task does not hide:

- *predicts alone*: what the column by itself says about labels of later rows (validation), learned
  on train rows: AUROC, or R2 of the values or of their ranks, at least `ALONE`. An honest column
  rarely does;
- *filled after the event*: being null, by itself, says as much;
- *later than the row*: a column of times most of which lie after the label row's own time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from relbench.base import Database
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

ALONE = 0.95
LATER = 0.5
BINS = 32
DISTINCT = 0.9
"""Share of different texts from which on they are names of their rows."""
FEWEST_ROWS = 30
"""Fewer train or validation rows say nothing."""
MOST_ROWS = 50_000
"""Label rows of a split that are looked at, the latest ones."""
Floats = NDArray[np.float64]
Groups = tuple[NDArray[np.int64], NDArray[np.int64], int]


@dataclass(frozen=True)
class Leak:
    """A sign that a column gives labels away."""

    table: str
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} {self.reason}: hide it, unless it is known beforehand"


def find_leaks(task: Any, database: Database, labels: Mapping[str, pd.DataFrame]) -> list[Leak]:
    """The signs in a RelBench task's database (without the columns that it hides)."""
    train, val = labels["train"].tail(MOST_ROWS), labels["val"].tail(MOST_ROWS)
    if len(val) < FEWEST_ROWS or len(train) < FEWEST_ROWS:
        return []
    target, found = task.target_col, []
    truth = _numbers(train[target], train[target]), _numbers(val[target], train[target])
    for table, column, values in _columns(task, database, (train, val)):
        own = table == task.entity_table
        named = own and names_rows(database.table_dict[table].df[column])
        # what decides comes first: when a column is filled may say more than its late times
        signs = (
            None if named else telling(values, truth),
            later(values, (train, val), task.time_col),
        )
        if any(signs):
            found.append(Leak(table, column, " and ".join(filter(None, signs))))
    return found


def _columns(
    task: Any, database: Database, labels: tuple[pd.DataFrame, pd.DataFrame]
) -> Iterator[tuple[str, str, tuple[pd.Series, pd.Series]]]:
    """(table, column, values for label rows of train and of val): the entity's, its parents'."""
    tables = database.table_dict
    entity = tables[task.entity_table]
    frame = entity.df.set_index(entity.pkey_col, drop=True)
    rows = tuple(frame.reindex(part[task.entity_col]).reset_index(drop=True) for part in labels)
    keys = dict(entity.fkey_col_to_pkey_table)
    for column in frame.columns:
        if column not in keys and column != entity.time_col:
            yield task.entity_table, str(column), (rows[0][column], rows[1][column])
    for key, name in keys.items():
        parent = tables[name]
        above = parent.df.set_index(parent.pkey_col, drop=True)
        # references that are null, or of rows that are not there yet, have no values
        for column in above.columns.difference([*parent.fkey_col_to_pkey_table, parent.time_col]):
            first, second = (
                above[column].reindex(part[key]).reset_index(drop=True) for part in rows
            )
            yield name, str(column), (first, second)


def later(
    values: tuple[pd.Series, pd.Series], labels: tuple[pd.DataFrame, pd.DataFrame], time: str
) -> str | None:
    """The reason, where a column's times lie after those of the label rows."""
    after = total = 0
    for column, frame in zip(values, labels, strict=True):
        known = column.notna().to_numpy()
        if pd.api.types.infer_dtype(column, skipna=True) == "date":  # Parquet's days
            column = pd.to_datetime(column)
        if not pd.api.types.is_datetime64_any_dtype(column.dtype):
            return None
        at = column.dt.tz_convert(None) if column.dt.tz is not None else column
        after += int((at.to_numpy()[known] > frame[time].to_numpy()[known]).sum())
        total += int(known.sum())
    if total == 0 or after <= LATER * total:
        return None
    return f"lies after the row's own time in {after / total:.0%} of label rows"


def names_rows(values: pd.Series) -> bool:
    """Whether a column of texts tells nearly all rows of its table apart: it says which row a label
    is of, not what the label is."""
    known = values.dropna()
    if pd.api.types.infer_dtype(known) != "string" or values.isna().any():
        return False
    return known.nunique() > DISTINCT * len(known)


def telling(values: tuple[pd.Series, pd.Series], truth: tuple[Floats, Floats]) -> str | None:
    """The reason, where the column, or its being null, predicts the labels."""
    for what, (train, val) in (
        ("being null", (values[0].isna(), values[1].isna())),
        ("", values),
    ):
        score, name = _score(train, val, truth)
        if score >= ALONE:
            return f"{f'by {what} ' if what else ''}predicts the labels alone ({name} {score:.3f})"
    return None


def _score(train: pd.Series, val: pd.Series, truth: tuple[Floats, Floats]) -> tuple[float, str]:
    """(AUROC or R2, its name) on validation rows of the mean train label of each group."""
    codes, answers = _groups(train, val), truth[1]
    if set(np.unique(answers)) <= {0.0, 1.0}:
        if len(np.unique(answers)) < 2:
            return 0.0, "AUROC"
        return float(roc_auc_score(answers, _means(codes, truth[0]))), "AUROC"
    # a few bins say little of the largest of heavy-tailed values, but nearly all of their ranks
    every = rankdata(np.concatenate(truth))
    ranks = every[: len(train)], every[len(train) :]
    found = [
        (_share(truth[1], _means(codes, truth[0])), "R2"),
        (_share(ranks[1], _means(codes, ranks[0])), "R2 of ranks"),
        (_rank_correlation(val, answers) ** 2, "R2 of ranks"),
    ]
    return next((pair for pair in found if pair[0] >= ALONE), max(found))


def _means(codes: Groups, learned: Floats) -> Floats:
    """For validation rows the mean of what train rows of their group have."""
    train, val, count = codes
    sums = np.bincount(train, weights=learned, minlength=count)
    # one row of the mean in each group: a group of one row says little
    means = (sums + learned.mean()) / (np.bincount(train, minlength=count) + 1)
    return np.asarray(means[val])


def _share(answers: Floats, prediction: Floats) -> float:
    """Of the variance that is explained (R2)."""
    spread = float(np.square(answers - answers.mean()).sum())
    return 1 - float(np.square(answers - prediction).sum()) / spread if spread else 0.0


def _rank_correlation(values: pd.Series, answers: Floats) -> float:
    """Spearman's, of numbers or times and labels, which also shows a copy whose validation values
    lie beyond all of train; 0 for others and for few."""
    known = values.notna().to_numpy()
    numbers = _ordered(values)
    if numbers is None or known.sum() < FEWEST_ROWS:
        return 0.0
    ranks = rankdata(numbers[known].astype(float)), rankdata(answers[known])
    return float(np.corrcoef(*ranks)[0, 1]) if all(np.ptp(rank) for rank in ranks) else 0.0


def _ordered(values: pd.Series) -> pd.Series | None:
    """Numbers, or times as numbers; None for others."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.astype("int64").where(values.notna())
    numeric = pd.api.types.is_numeric_dtype(values.dtype)
    return values if numeric and not pd.api.types.is_bool_dtype(values.dtype) else None


def _groups(train: pd.Series, val: pd.Series) -> Groups:
    """A group for each value of both parts, and their number: bins of equal frequency for many
    numbers or times, the values themselves otherwise; nulls are a group."""
    both = pd.concat([train, val], ignore_index=True)
    numbers = _ordered(both)
    if numbers is None:
        both = both.astype(str).where(both.notna())
    elif numbers.nunique() > BINS:
        both = pd.qcut(numbers.astype(float), BINS, labels=False, duplicates="drop")
    codes = pd.factorize(both, use_na_sentinel=False)[0].astype(np.int64)
    return codes[: len(train)], codes[len(train) :], int(codes.max(initial=0)) + 1


def _numbers(values: pd.Series, train: pd.Series) -> Floats:
    """Labels as numbers; of texts, whether it is the most frequent one of train."""
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return np.asarray(values, dtype=np.float64)
    return np.asarray(values == train.mode().iloc[0], dtype=np.float64)
