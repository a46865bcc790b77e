"""Scores on many databases as one table: results of `rt.evaluate.evaluate_table` side by side.

The table has a row for each task, a column for each model and baseline, and says of how many tasks
the first model is better or worse than each other one, and on how many by more than the interval of
the difference, which is paired over rows.
"""

import json
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

from plurel.errors import InputError
from rt.score_tables import ARROWS, FIXED

METRICS = {"roc_auc": "AUROC", "nmae": "NMAE"}
SAME = ("split", "protocol", "max_rows", "seed")
"""What results must share to stand in one table."""

BASELINES = (
    "untrained", "global_mean", "global_median", "entity_mean", "entity_last_10", "context_own",
    "context_all", "lightgbm_row", "lightgbm_joined",
)  # fmt: skip

MODEL = "pretrained"
"""The column of the checkpoint that a file of `evaluate.py` is about."""

COLUMNS = (*(name for name in BASELINES if name != "entity_last_10"), MODEL)
"""Those shown if nothing else is asked for."""

OVER_FIRST = "over_first"
"""Of an entry: how much better columns of other files are than the first model."""

Results = Sequence[Mapping[str, Any]]


def read_scores(path: Path) -> dict[str, Any]:
    """The result in a file of `evaluate.py out=`; InputError for a file that holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); give a file of evaluate.py") from None
    if not isinstance(found, dict) or not {"database", "tasks", "protocol"} <= set(found):
        raise InputError(f"{path}: holds no scores of one database; give a file of evaluate.py")
    return found


def joined(
    results: Results, others: Sequence[tuple[str, Results]], model: str
) -> list[dict[str, Any]]:
    """The results with the scores of `model` in `others` as further columns, by the names there,
    and their intervals. Where a file of `others` has the checkpoint of `results` beside it, by its
    name, the paired differences to it come along.

    InputError for a name that is taken, for a database twice or, in `others`, one that `results`
    don't have, for results without the model, and for scores of other rows.
    """
    for number, (name, _) in enumerate(others):
        entries = [entry for result in results for entry in result["tasks"].values()]
        if name in [other for other, _ in others[:number]] or any(name in e for e in entries):
            raise InputError(f"a column '{name}' is there already: choose another name")
    whole = {name: _copy(result, model) for name, result in _by_database("", results).items()}
    for result in whole.values():
        _check_same(result["database"], next(iter(whole.values())), result)
    for name, of in others:
        for database, other in _by_database(name, of).items():
            if database not in whole:
                raise InputError(f"{name}: no file before holds scores of {database}")
            _check_same(f"{name}, {database}", whole[database], other)
            tasks = _copy(other, model)["tasks"]
            for task, entry in whole[database]["tasks"].items():
                if task in tasks:
                    _check_rows(f"{name}, {database}/{task}", entry, tasks[task])
                    _add(entry, name, tasks[task], model, str(whole[database].get("checkpoint")))
    return list(whole.values())


def _copy(result: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A result to be added to, which has scores of the model."""
    for task, entry in result["tasks"].items():
        if model not in entry:
            raise InputError(
                f"{result['database']}/{task}: no column '{model}': give a file of evaluate.py"
            )
    return {**result, "tasks": {task: dict(entry) for task, entry in result["tasks"].items()}}


def _add(
    entry: dict[str, Any], name: str, other: Mapping[str, Any], model: str, first: str
) -> None:
    """Put a column of another file into a task's entry. first: the checkpoint of the entry."""
    entry[name] = other[model]
    interval = other.get("intervals", {}).get(model)
    if interval is not None:
        entry["intervals"] = {**entry.get("intervals", {}), name: interval}
    difference = other.get("better_by", {}).get(first)
    if difference is not None:
        if not isclose(other[first], entry[model], abs_tol=1e-4):
            raise InputError(
                f"{name}: '{first}' beside it has {other[first]:.4f}, not {entry[model]:.4f} as in "
                "the first file: score both with the same parameters and contexts"
            )
        entry[OVER_FIRST] = {**entry.get(OVER_FIRST, {}), name: difference}


def _check_rows(name: str, first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for key in ("metric", "rows", "of_rows"):
        if first.get(key) != other.get(key):
            raise InputError(f"{name}: {key} is {other.get(key)!r}, not {first.get(key)!r}")


def score_table(results: Results, columns: Sequence[str], model: str) -> str:
    """Markdown: a row for each task, means by metric, and the comparisons of `model`. Columns that
    no result has are left out, and those that are neither among `columns` nor a baseline's follow
    (of checkpoints beside it); InputError if there is no task."""
    entries = [
        (f"{result['database']}/{task}", entry)
        for result in results
        for task, entry in result["tasks"].items()
    ]
    if not entries:
        raise InputError("the files hold no scored task")
    there = dict.fromkeys(name for _, entry in entries for name in entry)
    fixed = (*columns, *FIXED, *BASELINES, OVER_FIRST)
    models = [name for name in there if name not in fixed]
    shown = [*(name for name in columns if name in there), *models]
    lines = [
        "| " + " | ".join(["task", "rows", *(_title(name, model) for name in shown)]) + " |",
        "|" + "---|" * (len(shown) + 2),
        *(_row(name, entry, shown, model) for name, entry in entries),
        *_mean_rows([entry for _, entry in entries], shown),
    ]
    compared = [_comparison([e for _, e in entries], name, model) for name in shown]
    compared += [_other([e for _, e in entries], name, model) for name in models]
    return "\n".join([*lines, "", *(line for line in compared if line)])


def _by_database(name: str, results: Results) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for result in results:
        if result["database"] in found:
            column = f" of {name}" if name else ""
            raise InputError(f"two files{column} hold scores of {result['database']}: give one")
        found[result["database"]] = result
    return found


def _check_same(name: str, first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for key in SAME:
        if first.get(key) != other.get(key):
            raise InputError(
                f"{name}: {key} is {other.get(key)!r}, not {first.get(key)!r} as in the first "
                "file: score all with the same"
            )


def _title(name: str, model: str) -> str:
    words = name.replace("_", " ")
    return f"**{words}**" if name == model else words


def _metric(entry: Mapping[str, Any]) -> str:
    return f"{METRICS.get(entry['metric'], entry['metric'])} {ARROWS[entry['better']]}"


def _row(name: str, entry: Mapping[str, Any], shown: Sequence[str], model: str) -> str:
    cells = [_score(entry, column, model) for column in shown]
    return "| " + " | ".join([f"{name}, {_metric(entry)}", f"{entry['rows']:,}", *cells]) + " |"


def _score(entry: Mapping[str, Any], column: str, model: str) -> str:
    """A cell; with its interval for the model and what is no baseline."""
    if column not in entry:
        return "-"
    interval = entry.get("intervals", {}).get(column)
    if column in BASELINES or interval is None:
        return f"{entry[column]:.3f}"
    value = f"{entry[column]:.3f}"
    half = (interval["high"] - interval["low"]) / 2
    return f"{f'**{value}**' if column == model else value} ±{half:.3f}"


def _mean_rows(entries: Results, shown: Sequence[str]) -> list[str]:
    """Means over the tasks of each metric that have all columns."""
    lines = []
    for metric in dict.fromkeys(_metric(entry) for entry in entries):
        of = [entry for entry in entries if _metric(entry) == metric]
        cells = [
            f"{sum(e[name] for e in of) / len(of):.3f}" if all(name in e for e in of) else "-"
            for name in shown
        ]
        lines.append("| " + " | ".join([f"mean of {len(of)}, {metric}", "", *cells]) + " |")
    return lines


def _other(entries: Results, name: str, model: str) -> str:
    """How a column of another checkpoint, which some tasks have, is beside the model on these; ""
    where all have it from the file of the model, and _comparison says it."""
    found = [entry for entry in entries if name in entry]
    if any(entry.get("better_by", {}).get(name) for entry in found):
        return ""
    means = []
    for metric in dict.fromkeys(_metric(entry) for entry in found):
        of = [entry for entry in found if _metric(entry) == metric]
        own, first = (sum(entry[key] for entry in of) / len(of) for key in (name, model))
        means.append(f"{metric} {own:.3f} on {len(of)}, where {model} has {first:.3f}")
    text = f"- {name.replace('_', ' ')}: {'; '.join(means)}"
    paired = [entry[OVER_FIRST][name] for entry in found if name in entry.get(OVER_FIRST, {})]
    if len(paired) < len(found):
        return text
    return f"{text}; {_counts('it', paired)}"


def _comparison(entries: Results, name: str, model: str) -> str:
    """On how many tasks the model is better than a column, and beyond the interval; "" for itself
    and for what no interval was computed for."""
    found = [e["better_by"][name] for e in entries if e.get("better_by", {}).get(name)]
    if name == model or not found:
        return ""
    return f"- {_counts(name.replace('_', ' '), found)}"


def _counts(name: str, differences: Results) -> str:
    """On how many tasks something is better than what has this name. differences: paired, each
    value with its interval."""
    better = sum(d["value"] > 0 for d in differences)
    beyond = sum(d["low"] > 0 for d in differences)
    worse = sum(d["high"] < 0 for d in differences)
    return (
        f"better than {name} on {better} of {len(differences)} tasks, by more than the interval on "
        f"{beyond}; worse by more than it on {worse}"
    )
