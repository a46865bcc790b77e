"""The picture of several corpora side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plurel.cli import counted
from plurel.picture import save
from rt.plots import AVERAGE, CONSTANT, HELDOUT, TRAIN
from rt.probe.report import NAMES, rows_of

COLORS = {"row": CONSTANT, "parents": TRAIN, "children": HELDOUT, "labels": AVERAGE}
LABELS = {
    "row": "the row alone",
    "parents": "+ its parents",
    "children": "+ rows that reference them",
    "labels": "+ past labels",
}
SHARES = {"predictable": "are predictable", "needs_another_table": "need another table"}
SHADES = {"predictable": "#c4c4c4", "needs_another_table": "#5b5b5b"}
STEP = 0.19
"""Between the skills of one corpus, where corpora are 1 apart."""


def plot_corpora(result: Mapping[str, Any], path: Path) -> Path:
    """Draw for each corpus and kind of task the mean skill of each set with its interval (left),
    and the shares of tasks that are predictable and that need another table (right)."""
    rows = rows_of(result)
    figure = Figure(figsize=(10, 1.6 + 0.75 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
    for place, (_, _, found) in enumerate(rows):
        _skills(left, place, found["all"])
        _shares(right, place, found["all"])
    left.set_yticks(range(len(rows)), [_name(*row) for row in rows])
    left.set_ylim(len(rows) - 0.45, -0.55)
    left.axvline(0, color="black", linewidth=0.8)
    left.set_title("mean skill of boosted trees that know ...", loc="left", fontsize=10.5)
    left.set_xlabel("skill (0: a constant answer, 1: a perfect one), with 95 % intervals")
    right.set_title("share of tasks that ...", loc="left", fontsize=10.5)
    right.set_xlabel("share of tasks")
    right.set_xlim(0, 1.1)
    right.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    _dress(figure, left, right)
    save(figure, path)
    return path


def _skills(axis: Axes, place: int, one: Mapping[str, Any]) -> None:
    for number, (name, figure) in enumerate(one["skill"].items()):
        at = place + (number - (len(one["skill"]) - 1) / 2) * STEP
        if figure["low"] is not None:
            axis.plot([figure["low"], figure["high"]], [at, at], color=COLORS[name], linewidth=1.6)
        label = LABELS[name] if name not in _drawn(axis) else None
        axis.plot(figure["value"], at, "o", color=COLORS[name], markersize=6, label=label)


def _drawn(axis: Axes) -> set[str]:
    """The sets that the legend has already."""
    labels = axis.get_legend_handles_labels()[1]
    return {name for name, label in LABELS.items() if label in labels}


def _shares(axis: Axes, place: int, one: Mapping[str, Any]) -> None:
    for number, (name, label) in enumerate(SHARES.items()):
        at, value = place + (number - 0.5) * 2 * STEP, one[name]["value"]
        height, label = 1.7 * STEP, "" if place else label
        axis.barh(at, value, height=height, color=SHADES[name], label=label)
        where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 9}
        axis.annotate(f"{100 * value:.0f} %", (value, at), (4, 0), **where)


def _name(corpus: str, kind: str, found: Mapping[str, Any]) -> str:
    one = found["all"]
    tasks, databases = counted(one["tasks"], "task"), counted(one["databases"], "database")
    return f"{corpus}, {NAMES[kind]}\n{tasks} of {databases}"


def _dress(figure: Figure, left: Axes, right: Axes) -> None:
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    places: list[tuple[Axes, Any]] = [(left, "outside lower left"), (right, "outside lower right")]
    for axis, place in places:
        handles = axis.get_legend_handles_labels()
        figure.legend(*handles, loc=place, ncols=4, frameon=False, fontsize=9, handletextpad=0.3)
