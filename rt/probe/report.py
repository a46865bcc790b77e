"""The figures of a corpus, and the table of several."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rt.bootstrap import interval_of_mean
from rt.probe.skills import SETS, WITH_LABELS, TaskSkill
from rt.text_table import aligned

HEADS = ("predictable", "need tables", "row", "+ parents", "+ children", "+ labels")
NAMES = {"columns": "columns", "declared": "declared tasks"}


def summaries(skills: Sequence[TaskSkill], seed: int) -> dict[str, Any] | None:
    """`summary` of "all" tasks, and of the "binary" and "number" ones where there are any; None
    without tasks."""
    parts = {
        "all": list(skills),
        "binary": [skill for skill in skills if skill.binary],
        "number": [skill for skill in skills if not skill.binary],
    }
    return {n: summary(part, seed) for n, part in parts.items() if part} if skills else None


def summary(skills: Sequence[TaskSkill], seed: int) -> dict[str, Any]:
    """{"databases", "tasks", "test_rows" (median), "predictable", "needs_another_table", "skill":
    {set: figure}, "lift": {set: figure}}; a figure is {"value", "low", "high"} over databases, its
    bounds null where there is one database. lift: over the set before it."""
    sets = list(WITH_LABELS if all("labels" in skill.skill for skill in skills) else SETS)

    def figure(value: Callable[[TaskSkill], float]) -> dict[str, float | None]:
        return _figure(skills, value, seed)

    def of(name: str) -> Callable[[TaskSkill], float]:
        return lambda task: task.skill[name]

    def lift(before: str, after: str) -> Callable[[TaskSkill], float]:
        return lambda task: task.skill[after] - task.skill[before]

    return {
        "databases": len({skill.database for skill in skills}),
        "tasks": len(skills),
        "test_rows": int(np.median([skill.rows for skill in skills])),
        "predictable": figure(lambda task: task.predictable),
        "needs_another_table": figure(lambda task: task.needs_another_table),
        "skill": {name: figure(of(name)) for name in sets},
        "lift": {b: figure(lift(a, b)) for a, b in pairwise(sets)},
    }


def _figure(
    skills: Sequence[TaskSkill], value: Callable[[TaskSkill], float], seed: int
) -> dict[str, float | None]:
    """The mean over databases of the mean over a database's tasks."""
    of: dict[str, list[float]] = {}
    for skill in skills:
        of.setdefault(skill.database, []).append(float(value(skill)))
    means = np.array([np.mean(values) for values in of.values()])
    if len(means) == 1:
        return {"value": float(means[0]), "low": None, "high": None}
    return {**interval_of_mean(means, "databases", seed=seed).record()}


def rows_of(result: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(corpus, kind, its summaries) of all corpora with tasks of a kind, column tasks first."""
    return [
        (name, kind, report[kind])
        for kind in NAMES
        for name, report in result["corpora"].items()
        if report[kind] is not None
    ]


def format_report(result: Mapping[str, Any]) -> str:
    """The figures of all corpora as lines of aligned columns, skills and lifts with half the width
    of their 95 % intervals."""
    lines = [["corpus", "tasks", "databases", "number", "test rows", *HEADS]]
    lifts = [["corpus", "tasks", "lift of parents", "lift of children", "lift of labels"]]
    for name, kind, found in rows_of(result):
        for part, one in found.items():
            label = NAMES[kind] if part == "all" else f"  {part}"
            shares = [_share(one[key]) for key in ("predictable", "needs_another_table")]
            skills = [_value(one["skill"].get(key)) for key in WITH_LABELS]
            counts = [f"{one[key]:,}" for key in ("databases", "tasks", "test_rows")]
            lines.append([name, label, *counts, *shares, *skills])
            steps = [_value(one["lift"].get(key)) for key in list(WITH_LABELS)[1:]]
            lifts.append([name, label, *steps])
    return "\n".join([*aligned(lines, left=2), "", *aligned(lifts, left=2)])


def _share(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.0%}"


def _value(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ±{(figure['high'] - figure['low']) / 2:.3f}"
