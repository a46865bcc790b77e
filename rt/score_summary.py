"""Scores on many databases as one table: results of `rt.evaluate.evaluate_table` side by side.

The table has a row for each task, a column for each model and baseline, and says of how many tasks
the first model is better or worse than each other one, and on how many by more than the interval of
the difference, which is paired over rows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plurel.errors import InputError
from rt.score_tables import ARROWS

METRICS = {"roc_auc": "AUROC", "nmae": "NMAE"}
SAME = ("split", "protocol", "max_rows", "seed")
"""What results must share to stand in one table."""

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


def joined(results: Results, others: Mapping[str, Results], model: str) -> list[dict[str, Any]]:
    """The results with the scores of `model` in `others` as further columns, by the names there.
    InputError for results of one database twice, or of other rows than `results`."""
    found = {name: _by_database(name, of) for name, of in {"": results, **others}.items()}
    whole = []
    for database, result in found.pop("").items():
        tasks = {task: dict(entry) for task, entry in result["tasks"].items()}
        for name, of in found.items():
            if database in of:
                _check_same(name, result, of[database])
                for task, entry in of[database]["tasks"].items():
                    if task in tasks:
                        tasks[task][name] = entry[model]
        whole.append({**result, "tasks": tasks})
    for result in whole[1:]:
        _check_same(result["database"], whole[0], result)
    return whole


def score_table(results: Results, columns: Sequence[str], model: str) -> str:
    """Markdown: a row for each task, means by metric, and the comparisons of `model`. Columns that
    no result has are left out; InputError if there is no task."""
    entries = [
        (f"{result['database']}/{task}", entry)
        for result in results
        for task, entry in result["tasks"].items()
    ]
    if not entries:
        raise InputError("the files hold no scored task")
    shown = [name for name in columns if any(name in entry for _, entry in entries)]
    lines = [
        "| " + " | ".join(["task", "rows", *(_title(name, model) for name in shown)]) + " |",
        "|" + "---|" * (len(shown) + 2),
        *(_row(name, entry, shown, model) for name, entry in entries),
        *_mean_rows([entry for _, entry in entries], shown),
    ]
    compared = [_comparison([e for _, e in entries], name, model) for name in shown]
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
    cells = [_score(entry, column, column == model) for column in shown]
    return "| " + " | ".join([f"{name}, {_metric(entry)}", f"{entry['rows']:,}", *cells]) + " |"


def _score(entry: Mapping[str, Any], column: str, with_interval: bool) -> str:
    if column not in entry:
        return "-"
    interval = entry.get("intervals", {}).get(column)
    if not with_interval or interval is None:
        return f"{entry[column]:.3f}"
    return f"**{entry[column]:.3f}** ±{(interval['high'] - interval['low']) / 2:.3f}"


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


def _comparison(entries: Results, name: str, model: str) -> str:
    """On how many tasks the model is better than a column, and beyond the interval; "" for itself
    and for what no interval was computed for."""
    found = [e["better_by"][name] for e in entries if e.get("better_by", {}).get(name)]
    if name == model or not found:
        return ""
    better = sum(d["value"] > 0 for d in found)
    beyond = sum(d["low"] > 0 for d in found)
    worse = sum(d["high"] < 0 for d in found)
    return (
        f"- than {name.replace('_', ' ')}: better on {better} of {len(found)} tasks, by more than "
        f"the interval on {beyond}; worse by more than it on {worse}"
    )
