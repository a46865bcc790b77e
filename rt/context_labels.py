"""The simplest predictions that a context allows: means of the labels that it shows.

A model that reads contexts has to beat them: pretrained on columns that cannot be predicted, it
learns no more than these means (`own`: rows that share a parent with the target's, such as earlier
label rows of its entity; `all`: every label of the task in the context). A context without own
labels falls back to all, one without any to the mean of the train labels.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.data import BOOLEAN, TEXT, Batch
from rt.meta import SEMANTIC_TYPES, open_meta
from rt.predictions import Contexts, ContextSettings, NewRows, of_contexts
from rt.ranks import Ranks
from rt.scores import Protocol
from rt.shown_labels import is_own, shown_labels
from rt.tasks import Task

Floats = NDArray[np.float64]


def context_label_means(
    store_folder: str | Path,
    task: Task,
    rows: NDArray[np.integer] | NewRows,
    *,
    settings: ContextSettings,
    protocol: Protocol,
    seed: int = 0,
    ranks: Ranks | None = None,
    contexts: Contexts | None = None,
) -> dict[str, Floats]:
    """{"context_own": f64[N], "context_all": f64[N]}: for each row the mean of the labels in the
    context that a model would read with the same settings and seed, on the original scale.
    contexts: see `rt.predictions.predict`.

    Raises InputError for a task of texts or classes.
    """
    column = open_meta(store_folder).columns[task.column]
    kind = SEMANTIC_TYPES.index(column.type)
    if kind == TEXT or task.classes:
        raise InputError(f"task {task.name}: labels that are texts have no mean")

    def sums(batch: Batch) -> torch.Tensor:
        return label_sums(batch, kind == BOOLEAN)

    found = of_contexts(
        sums, store_folder, task, rows, settings=settings, protocol=protocol, width=4, seed=seed,
        ranks=ranks, contexts=contexts,
    )  # fmt: skip
    scale, shift = (1.0, 0.0) if kind == BOOLEAN else (column.std, column.mean)
    own = scale * _quotient(found[:, 0], found[:, 1]) + shift
    all_labels = scale * _quotient(found[:, 2], found[:, 3]) + shift
    every = np.where(np.isnan(all_labels), column.mean, all_labels)
    return {"context_own": np.where(np.isnan(own), every, own), "context_all": every}


def label_sums(batch: Batch, boolean: bool) -> torch.Tensor:
    """f64[B, 4]: sum and number of the labels of rows that share a parent with the target's row,
    and of all but the target; booleans count as 0 and 1, other values as they are in the batch."""
    every = shown_labels(batch)
    own = every & is_own(batch)
    value = (batch.value > 0).double() if boolean else batch.value.double()
    parts = [torch.where(mask, value, 0).sum(1) for mask in (own, every)]
    counts = [mask.sum(1).double() for mask in (own, every)]
    return torch.stack([parts[0], counts[0], parts[1], counts[1]], 1)


def _quotient(total: Floats, count: Floats) -> Floats:
    """NaN for nothing."""
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
