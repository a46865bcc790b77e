"""The skill of each part of the joined row on one question."""

from dataclasses import dataclass

import numpy as np

from rt.boosted import BoostedSettings, Question, predict_sets
from rt.bootstrap import Bootstrap, TaskPredictions
from rt.joined.features import PARTS, Part

SETS: dict[str, tuple[Part, ...]] = {
    "row": ("row",),
    "parents": ("row", "parents"),
    "children": ("row", "parents", "children"),
}
"""Nested: each knows what the one before knows."""
WITH_LABELS = SETS | {"labels": PARTS}
LOWEST = -1.0
PREDICTABLE = 0.05
NEEDS = 0.02
RESAMPLES = 300
"""Of the test rows, for the interval that decides whether a skill or a lift may be chance."""


@dataclass(frozen=True)
class TaskSkill:
    """Skills of one task by set; rows: of the test. See the package for what each figure says."""

    database: str
    task: str
    binary: bool
    rows: int
    skill: dict[str, float]
    predictable: bool
    needs_another_table: bool


def task_skill(question: Question, database: str, settings: BoostedSettings) -> TaskSkill:
    """Fit, predict and score; InputError where lightgbm is not installed."""
    sets = SETS if question.view.labels is None else WITH_LABELS
    found = predict_sets(question, sets, protocol="rolling", settings=settings)
    plan = question.plan
    constant = np.median(np.concatenate([plan.fit.label, plan.held_out.label]))
    predictions = TaskPredictions(
        question.name,
        "auroc" if question.binary else "nmae",
        plan.scored.label,
        {name: prediction[None] for name, prediction in found.items()},
        1.0 if question.binary else float(np.abs(plan.scored.label - constant).mean()),
    )
    bootstrap = Bootstrap(predictions, resamples=RESAMPLES, seed=settings.seed)
    scale = 2 if question.binary else 1
    skill, sure = {}, {}
    for name, score in bootstrap.scores().items():
        value, low = (score.value, score.low) if question.binary else (-score.value, -score.high)
        start = 0.5 if question.binary else -1.0
        skill[name] = max(scale * (value - start), LOWEST)
        sure[name] = low > start
    more = bootstrap.better_than("row")
    predictable = any(skill[name] > PREDICTABLE and sure[name] for name in SETS)
    lifted = any(scale * more[name].value > NEEDS and more[name].low > 0 for name in SETS)
    return TaskSkill(
        database,
        question.name.removeprefix(f"{database}/"),
        question.binary,
        len(plan.scored),
        skill,
        predictable,
        predictable and lifted,
    )
