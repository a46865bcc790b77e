"""Scores as tables for people."""

from collections.abc import Mapping
from typing import Any

from rt.text_table import aligned

ARROWS = {"higher": "↑", "lower": "↓"}
FIXED = ("metric", "better", "rows", "of_rows", "entity_column", "intervals", "better_by")
"""Of a task's entry, what is no model's and no baseline's score."""


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `evaluate_table` as lines of aligned columns."""
    # a regression has one baseline more: the longest entry has all names in order
    every = (name for e in sorted(result["tasks"].values(), key=len, reverse=True) for name in e)
    names = list(dict.fromkeys(name for name in every if name not in FIXED))
    lines = [["task", "metric", *names, "rows", "entity mean by"]]
    for task, entry in result["tasks"].items():
        arrow = ARROWS[entry["better"]]
        rows = f"{entry['rows']} of {entry['of_rows']}"
        values = [_value(entry, name) for name in names]
        by = entry["entity_column"] or "-"
        lines.append([task, f"{entry['metric']} {arrow}", *values, rows, by])
    head = (
        f"{result['database']}: split {result['split']}, protocol {result['protocol']}"
        f" (↑ higher is better, ↓ lower)"
    )
    return "\n".join([head, *aligned(lines)])


def _value(entry: Mapping[str, Any], name: str) -> str:
    """A score, with half the width of its interval if there is one."""
    if name not in entry:
        return "-"
    if "intervals" not in entry:
        return f"{entry[name]:.4f}"
    interval = entry["intervals"][name]
    return f"{entry[name]:.3f} ±{(interval['high'] - interval['low']) / 2:.3f}"


def print_skipped(result: Mapping[str, Any]) -> None:
    """A line for each task without a score."""
    for name, reason in result["skipped"].items():
        print(f"left out {name}: {reason}")


def format_differences(result: Mapping[str, Any], model: str) -> str:
    """By how much the first model is better than each other and each baseline, with intervals, as
    lines of aligned columns; "" without intervals."""
    entries = {t: e["better_by"] for t, e in result["tasks"].items() if "better_by" in e}
    if not entries:
        return ""
    every = (name for e in sorted(entries.values(), key=len, reverse=True) for name in e)
    names = list(dict.fromkeys(every))
    lines = [[f"{model} better by", *names]]
    for task, found in entries.items():
        cells = [
            f"{d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" if d else "-"
            for d in (found.get(name) for name in names)
        ]
        lines.append([task, *cells])
    return "\n".join(aligned(lines))


def format_tuned(tuned: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores of contexts on validation (`rt.tuning.Tuned.record` by task) as lines of aligned
    columns, the chosen ones marked."""
    names = list(dict.fromkeys(name for record in tuned.values() for name in record["scores"]))
    lines = [["validation (* chosen)", "metric", *names, "rows"]]
    for task, record in tuned.items():
        marked = [
            f"{record['scores'][name]:.4f}{'*' if name == record['chosen'] else ' '}"
            for name in names
        ]
        metric = f"{record['metric']} {ARROWS[record['better']]}"
        lines.append([task, metric, *marked, str(record["rows"])])
    return "\n".join(aligned(lines))
