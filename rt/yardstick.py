"""What changes of training bring on real databases: runs by arm, measured on validation rows.

The skill of a prediction is its AUROC, or 1 - NMAE. A run's *lift* on a task is the skill of its
best checkpoint less that of the mean of the entity's labels in the same contexts (`context_own`,
`rt.context_labels`): a model without lift has learned to read labels and nothing else. The figure
of an arm is the mean over databases of the mean over their tasks, and over seeds. Intervals are
those of resamples of the databases, the same for all arms: what is asked is how it is with others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.bootstrap import interval_of_mean
from rt.run_files import RunFiles, find_runs, number, open_run, optional
from rt.runs import FREE_KEYS, RESULT, flatten
from rt.text_table import aligned

AGAINST = "context_own"
Split = Literal["val", "test"]
Skills = dict[str, float]
"""By "<database>/<task>"."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed and keys that decide no value. name: the keys in
    which arms differ; skill, lift: by task, means over the runs; spread: the run's own mean lifts
    over databases; tokens: mean; heldout_loss: mean at the end, NaN without held-out rows."""

    name: str
    folders: tuple[Path, ...]
    tokens: float
    heldout_loss: float
    skill: Skills
    lift: Skills
    spread: tuple[float, ...]


def read_arms(places: Sequence[Path], split: Split = "val") -> list[Arm]:
    """The finished runs at or below the places as arms, in the order of their folders.

    Raises InputError where there is no finished run, where a run has no scores on real tasks or
    lacks the mean of its contexts' labels, and where runs scored other tasks or rows.
    """
    opened = [open_run(folder) for folder in find_runs(places)]
    finished = [files for files in opened if files.result is not None]
    if not finished:
        raise InputError(f"no finished run in {', '.join(map(str, places))}")
    _check_alike(finished, split)
    configs = [_deciding(files) for files in finished]
    differing = [
        key
        for key in dict.fromkeys(key for config in configs for key in config)
        if any(config.get(key) != configs[0].get(key) for config in configs)
    ]
    groups: dict[str, list[RunFiles]] = {}
    for files, config in zip(finished, configs, strict=True):
        name = ", ".join(f"{key}={_short(config.get(key))}" for key in differing)
        groups.setdefault(name or "all alike", []).append(files)
    return [_arm(name, runs, split) for name, runs in groups.items()]


def compare(arms: Sequence[Arm], *, resamples: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Plain values for JSON, an entry for each arm: {"arm", "runs", "tokens", "heldout_loss",
    "skill", "lift": interval, "spread": lifts by run, "better": tasks with a lift above 0, "tasks",
    "gain": interval of the lift over the first arm's (None for the first), "by_task": lifts}."""
    tasks = list(arms[0].lift)
    _, of_task = np.unique([_database(task) for task in tasks], return_inverse=True)

    def interval(values: NDArray[np.float64]) -> dict[str, float]:
        return interval_of_mean(values, "databases", resamples=resamples, seed=seed).record()

    lifts = [_by_database(arm.lift, tasks, of_task) for arm in arms]
    result = []
    for arm, lift in zip(arms, lifts, strict=True):
        gain = None if arm is arms[0] else interval(lift - lifts[0])
        entry = {
            "arm": arm.name, "runs": [str(folder) for folder in arm.folders],
            "tokens": arm.tokens, "heldout_loss": arm.heldout_loss,
            "skill": float(_by_database(arm.skill, tasks, of_task).mean()),
            "lift": interval(lift), "spread": list(arm.spread),
            "better": sum(value > 0 for value in arm.lift.values()), "tasks": len(tasks),
            "gain": gain, "by_task": arm.lift,
        }  # fmt: skip
        result.append(entry)
    return result


def format_arms(result: Sequence[Mapping[str, Any]]) -> str:
    """`compare`'s result as lines of aligned columns."""
    head = ("arm", "runs", "tokens", "held-out", "skill", "lift over context labels", "by run")
    lines = [[*head, "tasks better", "gain over the first"]]
    for entry in result:
        loss = entry["heldout_loss"]
        row = [
            entry["arm"], str(len(entry["runs"])), f"{entry['tokens'] / 1e6:.1f} M",
            "-" if math.isnan(loss) else f"{loss:.4f}", f"{entry['skill']:.4f}",
            _text(entry["lift"]), " ".join(f"{value:+.4f}" for value in entry["spread"]),
            f"{entry['better']} of {entry['tasks']}",
            "-" if entry["gain"] is None else _text(entry["gain"]),
        ]  # fmt: skip
        lines.append(row)
    return "\n".join(aligned(lines))


def _text(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def _arm(name: str, runs: Sequence[RunFiles], split: Split) -> Arm:
    skills = [_skills(files, split, "best") for files in runs]
    lifts = [
        _less(skill, _skills(files, split, AGAINST))
        for skill, files in zip(skills, runs, strict=True)
    ]
    tasks = list(lifts[0])
    _, of_task = np.unique([_database(task) for task in tasks], return_inverse=True)
    losses = [optional(files.result, "heldout").get("loss", {}) for files in runs]
    return Arm(
        name,
        tuple(files.folder for files in runs),
        float(np.mean([number(files.result or {}, "tokens", files.folder) for files in runs])),
        float(np.mean([loss.get("end", math.nan) for loss in losses])),
        _mean(skills),
        _mean(lifts),
        tuple(float(_by_database(lift, tasks, of_task).mean()) for lift in lifts),
    )


def _less(skill: Skills, other: Skills) -> Skills:
    return {task: value - other[task] for task, value in skill.items()}


def _mean(found: Sequence[Skills]) -> Skills:
    return {task: float(np.mean([one[task] for one in found])) for task in found[0]}


def _skills(files: RunFiles, split: Split, name: str) -> Skills:
    scores = optional(optional(files.result, "scores"), split)
    if name not in scores:
        missing = "scores of" if scores else f"scores on real tasks ({split}), let alone of"
        raise InputError(
            f"{files.folder / RESULT} has no {missing} {name}: train with evaluation=real and "
            "this version"
        )
    of_tasks = scores[name]["tasks"]
    return {
        task: metrics["auroc"] if "auroc" in metrics else 1 - metrics["nmae"]
        for task, metrics in sorted(of_tasks.items())
    }


def _check_alike(found: Sequence[RunFiles], split: Split) -> None:
    """InputError unless all runs scored the same tasks and rows."""
    first = found[0]
    for files in found:
        if _skills(files, split, "best").keys() != _skills(first, split, "best").keys():
            raise InputError(f"{first.folder} and {files.folder} scored different real tasks")
        for key in ("protocol", "max_rows", "test_rows", "seed"):
            values = [optional(one.config, "evaluation").get(key) for one in (first, files)]
            if values[0] != values[1]:
                raise InputError(
                    f"{first.folder} has evaluation.{key} = {values[0]} but {files.folder} has "
                    f"{values[1]}: give runs that scored the same rows"
                )


def _deciding(files: RunFiles) -> dict[str, Any]:
    """The keys that make an arm."""
    flat = flatten(files.config)
    return {
        key: value
        for key, value in flat.items()
        if key != "seed" and not key.startswith("evaluation.") and not FREE_KEYS.fullmatch(key)
    }


def _short(value: Any) -> str:
    text = str(value).replace(" ", "")
    return text if len(text) <= 40 else f"{text[:37]}..."


def _database(task: str) -> str:
    return task.split("/", maxsplit=1)[0]


def _by_database(
    values: Skills, tasks: Sequence[str], of_task: NDArray[np.integer]
) -> NDArray[np.float64]:
    """f64[D]: the mean over each database's tasks."""
    of_tasks = np.array([values[task] for task in tasks])
    return np.bincount(of_task, weights=of_tasks) / np.bincount(of_task)
