"""Contexts chosen on validation: of a few lengths and recipes those with which a model predicts the
validation rows of a task best. Test rows and their labels play no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plurel.errors import InputError
from rt.evaluate import Labelled, Selection, label
from rt.model import RelationalTransformer
from rt.named_tasks import named_tasks
from rt.predictions import ContextSettings, predict
from rt.relbench_folder import open_dataset
from rt.scores import BETTER, NoScore, check_any, relbench_score
from rt.settings import Settings


@dataclass(frozen=True)
class Tuned:
    """The choice for one task. settings: the chosen ones; record: plain values for JSON,
    {"chosen": name, "metric", "better", "rows": scored, "scores": {candidate: score}}."""

    settings: ContextSettings
    record: dict[str, Any]


def candidates(
    trained: Settings,
    lengths: Sequence[int] | None,
    recipes: Sequence[str] | None,
    **given: Any,
) -> dict[str, ContextSettings]:
    """Every recipe at every context length, by names such as `labels, 512`; None: the trained one
    alone. The first of both come first. given: as `ContextSettings.of` takes it."""
    for name, values in (("context_length", lengths), ("recipe", recipes)):
        if values is not None and not values:
            raise InputError(f"no {name} to choose from: name at least one, or leave it out")
    found = {}
    for recipe in recipes or (None,):
        for length in lengths or (None,):
            settings = ContextSettings.of(trained, context_length=length, recipe=recipe, **given)
            name = recipe or "the checkpoint's recipe"
            found[f"{name}, {settings.context_length}"] = settings
    return found


def tune(
    model: RelationalTransformer,
    raw_folder: str | Path,
    store_folder: str | Path,
    choices: Mapping[str, ContextSettings],
    *,
    tasks: Sequence[str] | None = None,
    selection: Selection | None = None,
    show_progress: bool = True,
) -> dict[str, Tuned]:
    """The best of `choices` by task (all binary and regression tasks of the store if None), by
    RelBench's metric on the rows of the validation split that `selection` chooses, under its
    protocol; of equal ones the first.

    Raises InputError where `selection` is of another split, without choices, and where a named
    task's validation rows have no score (one class, no rows); others of that kind are left out.
    """
    selection = selection or Selection("val")
    if selection.split != "val":
        raise InputError(f"contexts are chosen on the split val, not {selection.split!r}")
    if not choices:
        raise InputError("no contexts to choose from")
    dataset = open_dataset(raw_folder)
    scored = []
    for task in named_tasks(raw_folder, store_folder, tasks):
        labelled = label(dataset, store_folder, task, selection)
        try:
            _check_score(labelled)
        except NoScore:
            if tasks is not None:
                raise
        else:
            scored.append(labelled)
    return {
        labelled.task.name: _chosen(
            model, store_folder, labelled, choices, selection, show_progress
        )
        for labelled in scored
    }


def _check_score(labelled: Labelled) -> None:
    """NoScore if whatever is predicted for these rows has none: before the predictions."""
    check_any(labelled.task.name, "val", labelled.num_rows)
    nothing = np.zeros(len(labelled.rows))
    relbench_score(labelled.relbench_task, labelled.table, nothing)


def _chosen(
    model: RelationalTransformer,
    store_folder: str | Path,
    labelled: Labelled,
    choices: Mapping[str, ContextSettings],
    selection: Selection,
    show_progress: bool,
) -> Tuned:
    """The choice for the task of these rows."""
    task, scores = labelled.task, {}
    for name, settings in choices.items():
        prediction = predict(
            model, store_folder, task, labelled.rows,
            settings=settings, protocol=selection.protocol, seed=selection.seed,
            progress=f"{task.name}, validation, {name}" if show_progress else None,
        )  # fmt: skip
        scored = relbench_score(labelled.relbench_task, labelled.table, prediction)
        metric, scores[name] = scored
    best = max if BETTER[metric] == "higher" else min
    chosen = best(scores, key=scores.__getitem__)
    record = {
        "chosen": chosen, "metric": metric, "better": BETTER[metric],
        "rows": len(labelled.rows), "scores": scores,
    }  # fmt: skip
    return Tuned(choices[chosen], record)
