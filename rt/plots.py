"""Pictures of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plurel.picture import save

TRAIN, HELDOUT, AVERAGE, CONSTANT = "#4477aa", "#cc3311", "#009988", "#777777"

Records = Sequence[Mapping[str, Any]]


def plot_losses(records: Records, path: Path, title: str = "") -> None:
    """Draw the records of metrics.jsonl: the loss in training and on held-out databases (left), and
    the held-out loss of numbers and booleans (right), each beside the loss of a constant and, where
    there is one, of the weight average."""
    heldout = [record for record in records if "heldout_loss" in record]
    kinds = [k for k in ("number", "boolean") if _values(heldout, f"heldout_loss_{k}").size]
    names = {"number": "numbers (Huber)", "boolean": "booleans (cross-entropy)"}
    figure = Figure(figsize=(5.2 + 3.6 * len(kinds), 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(kinds), width_ratios=[1.4] + [1] * len(kinds), squeeze=False)[
        0
    ]
    _training(axes[0], [record for record in records if "loss" in record])
    _heldout(axes[0], heldout, "heldout_loss", "constant_loss")
    axes[0].set_title("all targets")
    axes[0].set_ylabel("loss")
    for axis, kind in zip(axes[1:], kinds, strict=True):
        _heldout(axis, heldout, f"heldout_loss_{kind}", f"constant_loss_{kind}")
        axis.set_title(f"held-out {names[kind]}")
    for axis in axes:
        axis.set_xlabel("cells seen")
        axis.xaxis.set_major_formatter(_short)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.suptitle(title)
    save(figure, path)


def plot_scores(records: Records, scores: Mapping[str, Any], path: Path, title: str = "") -> None:
    """Draw the scores on validation rows of real tasks: one panel a task, AUROC or NMAE against
    cells seen, beside the two baselines. scores: those of `rt.trainer.Trainer.final_scores`."""
    heldout = [record for record in records if "score" in record]
    tasks = list(scores["val"]["best"]["tasks"])
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis, task in zip(axes, tasks, strict=False):
        metric = "auroc" if "auroc" in scores["val"]["best"]["tasks"][task] else "nmae"
        tokens, values = _values(heldout, "tokens"), _values(heldout, f"{task}/{metric}")
        axis.plot(tokens, values, color=HELDOUT, marker="o", markersize=3, label="model")
        for name, style in (("global_mean", ":"), ("entity_mean", "--")):
            level = scores["val"][name]["tasks"][task][metric]
            label = name.replace("_", " ")
            axis.axhline(level, color=CONSTANT, linestyle=style, linewidth=1.2, label=label)
        axis.set_title(task)
        axis.set_ylabel("AUROC (up is better)" if metric == "auroc" else "NMAE (down is better)")
        axis.set_xlabel("cells seen")
        axis.xaxis.set_major_formatter(_short)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(tasks) :]:
        axis.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=3)
    figure.suptitle(f"{title}: validation rows of real tasks" if title else "")
    save(figure, path)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over a window of `width` neighbours, cut at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - width // 2, 0), np.minimum(index + width // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _training(axis: Axes, records: Records) -> None:
    if not records:
        return
    tokens, loss = _values(records, "tokens"), _values(records, "loss")
    axis.plot(tokens, loss, color=TRAIN, alpha=0.25, linewidth=0.8)
    axis.plot(tokens, smooth(loss, max(1, len(loss) // 20)), color=TRAIN, label="training")


def _heldout(axis: Axes, records: Records, name: str, constant: str) -> None:
    if not records:
        return
    tokens, loss = _values(records, "tokens"), _values(records, name)
    axis.plot(tokens, loss, color=HELDOUT, marker="o", markersize=4, label="held-out")
    average = _values(records, f"ema_{name}")
    if average.size:
        axis.plot(tokens, average, color=AVERAGE, marker="o", markersize=3, label="weight average")
    level = float(_values(records, constant)[-1])
    axis.axhline(level, color=CONSTANT, linestyle="--", linewidth=1.2, label="constant (held-out)")


def _values(records: Records, name: str) -> np.ndarray:
    return np.array([r[name] for r in records if r.get(name) is not None], dtype=float)


def _short(value: float, _: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"
