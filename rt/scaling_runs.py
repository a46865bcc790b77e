"""The finished runs of a sweep as points of a scaling law: what each was given and what it reached.

Runs are comparable if their configs differ in nothing but databases, budget, seed and keys that
decide no value, and if they measured on the same databases and tasks.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plurel.cli import counted
from plurel.errors import InputError
from rt.logs import CONFIG, FACTS
from rt.run_files import RunFiles, find_runs, group, number, open_run, optional
from rt.runs import FREE_KEYS, RESULT, flatten

SWEPT_KEYS = re.compile(r"data\.num_dbs|trainer\.(steps|token_budget)|seed")
"""Keys in which the runs of a sweep differ."""

Loss = Literal["end", "best"]
Split = Literal["val", "test"]

SCORES = {"auroc": "1 - AUROC", "nmae": "NMAE", "r2": "1 - R2"}
_HIGHER_IS_BETTER = ("auroc", "r2")
_KINDS = {
    "": "held-out loss",
    "_number": "held-out loss of numbers",
    "_boolean": "held-out loss of booleans",
}
LOSSES = {f"loss{kind}": text for kind, text in _KINDS.items()} | {
    f"ema_loss{kind}": f"{text}, weight average" for kind, text in _KINDS.items()
}
SYNTHETIC = "synthetic"
MEASURED_ON = ("held-out databases", "real tasks")
METRICS = (*LOSSES, *SCORES)
DEFAULT_METRICS = ("loss", "ema_loss", "auroc", "nmae")


@dataclass(frozen=True)
class FinishedRun:
    """folder as it was found; databases trained on; budget by name, and tokens spent; the metrics
    that the run has, each falling where the model gets better; why others cannot be used."""

    folder: Path
    databases: int
    budget: str
    tokens: int
    seed: int
    values: dict[str, float]
    unusable: dict[str, str]
    stopped_early: bool


@dataclass(frozen=True)
class Sweep:
    """Finished runs in the order of their folders, folders of the others, remarks, and whether all
    were trained on synthetic databases from random parameters."""

    runs: tuple[FinishedRun, ...]
    unfinished: tuple[Path, ...]
    notes: tuple[str, ...]
    synthetic: bool


def label(metric: str, loss: Loss, split: Split) -> str:
    """A metric's name for people."""
    if metric in LOSSES:
        return f"{LOSSES[metric]} ({'of the best step' if loss == 'best' else 'at the end'})"
    return f"{SCORES[metric]}, mean of real tasks ({split}, best step)"


def read_sweep(
    places: Sequence[Path],
    *,
    loss: Loss = "end",
    split: Split = "val",
    scored: bool = True,
    mixed: bool = False,
) -> Sweep:
    """The runs at or below the places. loss: the held-out loss at the end or that of the best step.
    scored: whether scores are asked for, not losses alone. mixed: pool runs that are not
    comparable. InputError for runs that are not, unless `mixed`; for a place without a run; for a
    file that can't be read."""
    opened = [open_run(folder) for folder in find_runs(places)]
    finished = [files for files in opened if files.result is not None]
    notes = _check_comparable(finished, loss, split, scored, mixed)
    runs = tuple(_read(files, loss, split) for files in finished)
    early = sum(run.stopped_early for run in runs)
    if early:
        notes.append(f"{counted(early, 'run')} stopped early: S is what was spent")
    same = len(runs) - len({(run.databases, run.budget, run.seed) for run in runs})
    if same:
        notes.append(
            f"{counted(same, 'run')} repeat N, budget and seed of another: no new evidence"
        )
    unfinished = tuple(files.folder for files in opened if files.result is None)
    synthetic = all(files.config.get("regime", SYNTHETIC) == SYNTHETIC for files in finished)
    return Sweep(runs, unfinished, tuple(notes), synthetic)


def _read(files: RunFiles, loss: Loss, split: Split) -> FinishedRun:
    folder, result = files.folder, files.result or {}
    trainer = group(files.config, "trainer", folder / CONFIG)
    budget = trainer.get("token_budget")
    tokens = number(result, "tokens", folder / RESULT)
    if not (math.isfinite(tokens) and tokens >= 1):
        raise InputError(f"{folder / RESULT}: tokens must be 1 or more, not {tokens}")
    metrics = dict(_metrics(files, loss, split))
    usable = {name: value for name, value in metrics.items() if math.isfinite(value) and value > 0}
    return FinishedRun(
        folder=folder,
        databases=_databases(files),
        budget=f"{budget} tokens" if budget is not None else f"{trainer.get('steps')} steps",
        tokens=int(tokens),
        seed=int(number(files.config, "seed", folder / CONFIG)),
        values=usable,
        unusable={
            k: f"{k} is {v}, no number above 0" for k, v in metrics.items() if k not in usable
        },
        stopped_early=bool(result.get("stopped_early")),
    )


def _metrics(files: RunFiles, loss: Loss, split: Split) -> Iterator[tuple[str, float]]:
    where = files.folder / RESULT
    heldout = optional(files.result, "heldout")
    for metric in LOSSES:
        if heldout.get(metric) is not None:
            yield metric, number(group(heldout, metric, where), loss, where)
    mean = optional(_scores(files, split), "mean")
    for metric in SCORES:
        if mean.get(metric) is not None:
            value = number(mean, metric, where)
            yield metric, 1 - value if metric in _HIGHER_IS_BETTER else value


def _scores(files: RunFiles, split: Split) -> Mapping[str, Any]:
    """Of the best checkpoint."""
    return optional(optional(optional(files.result, "scores"), split), "best")


def _databases(files: RunFiles) -> int:
    """How many it was trained on, which data.num_dbs does not say where it is null."""
    if files.result is not None and "databases" in files.result:  # generated while it trained
        return int(number(files.result, "databases", files.folder / RESULT))
    names = optional(files.facts, "databases").get("train")
    if isinstance(names, list) and names:
        return len(names)
    where = files.folder / FACTS
    raise InputError(f"{where} names no databases that were trained on (databases.train)")


def _check_comparable(
    found: Sequence[RunFiles], loss: Loss, split: Split, scored: bool, mixed: bool
) -> list[str]:
    """Notes on what differs under `mixed`; InputError for it without."""
    notes = []
    revisions = {files.facts.get("git_revision") for files in found}
    if len(revisions) > 1:
        notes.append(f"the runs are of {len(revisions)} revisions of the sources ({FACTS})")
    has_scores = scored and any(_scores(files, split) for files in found)
    configs = [_deciding(files, by_best=loss == "best" or has_scores) for files in found]
    others = [_measured_on(files, split if scored else None) for files in found]
    keys = sorted(set().union(*configs))
    compared = [(key, [config.get(key) for config in configs]) for key in keys]
    compared += [(key, [other.get(key) for other in others]) for key in MEASURED_ON]
    differing = []
    for key, values in compared:
        # a run without scores has no tasks to compare
        known = [n for n, value in enumerate(values) if key in keys or value is not None]
        other = next((n for n in known if values[n] != values[known[0]]), None)
        if other is None:
            continue
        if not mixed:
            first, second = found[known[0]].folder, found[other].folder
            raise InputError(
                f"{first} has {key} = {_short(values[known[0]])} but {second} has "
                f"{_short(values[other])}: give runs of one sweep, or --mixed to pool them anyway"
            )
        differing.append(key)
    if differing:
        notes.append(f"pooled although they differ (--mixed): {', '.join(differing)}")
    return notes


def _deciding(files: RunFiles, by_best: bool) -> dict[str, Any]:
    """The keys of a config that must agree. by_best: what is read is of the best checkpoint."""
    flat = flatten(files.config)
    if flat.get("trainer.patience") is None:
        flat.pop("trainer.min_delta", None)
        if not by_best:  # how often it is measured decides which step is the best, not the last
            flat.pop("trainer.eval_every", None)
    free = (FREE_KEYS, SWEPT_KEYS)
    return {k: v for k, v in flat.items() if not any(keys.fullmatch(k) for keys in free)}


def _measured_on(files: RunFiles, split: Split | None) -> dict[str, list[str] | None]:
    heldout = optional(files.facts, "databases").get("heldout")
    tasks = _scores(files, split).get("tasks") if split is not None else None
    return dict(zip(MEASURED_ON, (heldout, sorted(tasks) if tasks else None), strict=True))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
