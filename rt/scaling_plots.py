"""Pictures of scaling laws."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from plurel.picture import save
from rt.plots import CONSTANT, HELDOUT, TRAIN
from rt.power_law import Array
from rt.scaling import Fit
from rt.scaling_points import Points
from rt.scaling_report import Section, held_at, short

LABELS = {"N": "N, databases trained on", "S": "S, tokens seen (billions in the formula)"}
BEYOND = 2.0
"""Curves go on by this factor on both sides of the runs."""


def plot_section(section: Section, path: Path) -> Path:
    """Draw a metric's fits with their intervals: in the upper row the forms of one variable, in the
    lower one the joint form at each budget and each number of databases. Axes are logarithmic."""
    fits = section.fitted()
    above = [(name, fits[name]) for name in ("N", "S") if name in fits]
    below = [(name, fits["joint"]) for name in ("N", "S")] if "joint" in fits else []
    rows = [row for row in (above, below) if row]
    width = max(map(len, rows))
    figure = Figure(figsize=(5.6 * width, 4.3 * len(rows) + 0.4), layout="constrained")
    for number, row in enumerate(rows):
        for place, (name, fit) in enumerate(row):
            axis = figure.add_subplot(len(rows), width, number * width + place + 1)
            (_joint if fit.form.name == "joint" else _one_variable)(axis, fit, name)
            _dress(axis, fit, name, section.label)
    figure.suptitle(section.label[:1].upper() + section.label[1:])
    return save(figure, path)


def _one_variable(axis: Axes, fit: Fit, name: str) -> None:
    points = fit.points
    x = _wider(_resource(points, name))
    value, low, high = fit.curve(x, x)
    interval = f", {fit.confidence:.0%} interval" if len(fit.samples) else ""
    axis.fill_between(x, low, high, color=TRAIN, alpha=0.2, linewidth=0)
    axis.plot(x, value, color=TRAIN, label=f"fit{interval}")
    axis.plot(
        _resource(points, name), points.loss, "o", color=HELDOUT, markersize=4.5, label="runs"
    )
    for floor in _floors(fit):
        axis.axhline(floor, color=CONSTANT, linestyle="--", linewidth=1.2, label="floor C")
    axis.set_title(f"{formula(fit)}, {held_at(fit)}", fontsize=10)
    axis.legend(frameon=False, fontsize=9)


def _joint(axis: Axes, fit: Fit, name: str) -> None:
    """The joint form against one resource, a curve for each value of the other."""
    points = fit.points
    budgets = points.budget_tokens()
    if name == "N":
        groups = [(f"S = {short(t)}", points.budget == b, t) for b, t in budgets.items()]
    else:
        found = np.unique(points.databases)
        groups = [(f"N = {n:.0f}", points.databases == n, float(n)) for n in found]
    x = _wider(_resource(points, name))
    for color, (text, mask, other) in zip(_colors(len(groups)), groups, strict=True):
        others = np.full(len(x), other)
        value, low, high = fit.curve(*((x, others) if name == "N" else (others, x)))
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        axis.plot(x, value, color=color, linewidth=1.2)
        own = points.chosen(mask)
        axis.plot(_resource(own, name), own.loss, "o", color=color, markersize=4.5, label=text)
    axis.set_title(formula(fit), fontsize=10)
    axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def formula(fit: Fit) -> str:
    """The form with its values, and those that are not identified."""
    value = {name: f"{estimate.value:.3g}" for name, estimate in fit.estimates.items()}
    terms = [f"{value[size]} {r}$^{{-{value[a]}}}$" for size, a, r in fit.form.letters]
    unknown = [name for name, estimate in fit.estimates.items() if not estimate.identified]
    remark = f" ({', '.join(unknown)} not identified)" if unknown else ""
    return f"L = {' + '.join(terms)} + {value['C']}{remark}"


def _floors(fit: Fit) -> list[float]:
    """The floor C of a form of one variable, where it is near enough to the runs to be shown."""
    floor = fit.estimates["C"].value
    shown = fit.form.name != "joint" and floor > 0.5 * fit.points.loss.min()
    return [floor] if shown else []


def _resource(points: Points, name: str) -> Array:
    return points.databases if name == "N" else points.tokens


def _wider(values: Array) -> Array:
    return np.geomspace(values.min() / BEYOND, values.max() * BEYOND, 100)


def _colors(count: int) -> Sequence[NDArray[np.float64]]:
    return [np.array(colormaps["viridis"](part)) for part in np.linspace(0.0, 0.85, count)]


def _dress(axis: Axes, fit: Fit, name: str, label: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(LABELS[name])
    axis.set_ylabel(label)
    points = fit.points
    given = [*np.unique(points.databases)] if name == "N" else [*points.budget_tokens().values()]
    name_of = "{:.0f}".format if name == "N" else short
    axis.xaxis.set_major_locator(FixedLocator(given[:: 1 + len(given) // 9]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: name_of(value)))
    # a curve or an interval that leaves the picture beyond the runs must not flatten what is in it
    fitted, _, _ = fit.curve(points.databases, points.tokens)
    heights = np.log(np.concatenate([points.loss, fitted, _floors(fit)]))
    margin = 0.01 + 0.08 * float(np.ptp(heights))
    axis.set_ylim(np.exp(heights.min() - margin), np.exp(heights.max() + margin))
    axis.yaxis.set_major_locator(FixedLocator(_ticks(*axis.get_ylim())))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for one in (axis.xaxis, axis.yaxis):
        one.set_minor_locator(NullLocator())
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _ticks(low: float, high: float) -> list[float]:
    """Values of few digits; of a range within a decade matplotlib would name one or none."""
    if high / low < 2:
        values = [*MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high)]
    else:
        values = [float(f"{value:.2g}") for value in np.geomspace(low, high, 9)]
    return sorted({float(value) for value in values if low <= value <= high})
