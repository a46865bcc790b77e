"""Loss curves of one run in fp32 and in bf16, side by side.

    python benchmarks/precision.py [--size tiny] [--cells 2e6] [--databases 20] [--picture FILE]

Both runs have the same seed, databases (generated, of the default config) and batches. The last
line: the held-out losses at the end, and the largest difference of the training losses, each a
mean over a twentieth of the run, as a share of the loss.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _report import finish, print_table
from _runs import data_config, model_size, write_stores
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plurel.picture import save
from rt.logs import LoggerConfig, read_metrics
from rt.model import SIZES
from rt.optim import OptimConfig
from rt.plots import smooth
from rt.train import run
from rt.train_config import TrainConfig, TrainerConfig

PRECISIONS = ("fp32", "bf16")
LENGTH, CONTEXTS, PARTS = 256, 32, 20
Records = Sequence[Mapping[str, Any]]


def base_config(pre: Path, size: str, cells: float) -> TrainConfig:
    """The run but for its precision and folder."""
    trainer = TrainerConfig(run_dir="", token_budget=int(cells), steps=None, eval_every=50)
    return TrainConfig(
        model=model_size(size), data=data_config(pre, LENGTH, CONTEXTS), trainer=trainer,
        optim=OptimConfig(lr=1e-3), logger=LoggerConfig(every=1),
    )  # fmt: skip


def curve(records: Records, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells seen and values of a metric."""
    found = [(record["tokens"], record[name]) for record in records if name in record]
    tokens, values = np.array(found, dtype=float).T
    return tokens, values


def draw(runs: Mapping[str, Records], path: Path, title: str) -> None:
    """Training losses and held-out losses of both, and how far they are apart."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = {}
    for (precision, records), color in zip(runs.items(), ("#4477aa", "#cc3311"), strict=True):
        tokens, loss = curve(records, "loss")
        losses[precision] = smooth(loss, max(1, len(loss) // PARTS))
        left.plot(tokens / 1e6, losses[precision], color=color, label=f"training, {precision}")
        seen, heldout = curve(records, "heldout_loss")
        left.plot(seen / 1e6, heldout, color=color, marker="o", markersize=3, linewidth=0.8,
                  linestyle="--", label=f"held-out, {precision}")  # fmt: skip
    apart = [100 * (losses["bf16"] / losses["fp32"] - 1)]
    right.plot(tokens / 1e6, apart[0], color="#4477aa", label="training")
    (seen, one), (_, other) = (curve(runs[p], "heldout_loss") for p in PRECISIONS)
    right.plot(seen / 1e6, 100 * (other / one - 1), color="#777777", marker="o", markersize=3,
               linestyle="--", label="held-out")  # fmt: skip
    right.axhline(0, color="#777777", linewidth=0.8)
    left.set_ylabel("loss")
    right.set_ylabel("bf16 over fp32, %")
    for axis in (left, right):
        axis.set_xlabel("million cells seen")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.suptitle(title)
    save(figure, path)


def train_both(options: argparse.Namespace) -> dict[str, Records]:
    """The records of both runs by precision."""
    with tempfile.TemporaryDirectory() as name:
        pre = write_stores(Path(name), options.databases)
        config = base_config(pre, options.size, options.cells)
        found = {}
        for precision in PRECISIONS:
            own = {"run_dir": str(Path(name) / precision), "precision": precision}
            folder = run(replace(config, trainer=replace(config.trainer, **own)))
            found[precision] = read_metrics(folder)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--cells", type=float, default=2e6)
    parser.add_argument("--databases", type=int, default=20)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    runs = train_both(options)
    steps = {p: curve(records, "loss")[1] for p, records in runs.items()}
    means = {
        p: [float(part.mean()) for part in np.array_split(losses, min(PARTS, len(losses)))]
        for p, losses in steps.items()
    }
    print_table(
        ["part of the run", *PRECISIONS],
        zip(range(1, PARTS + 1), *(means[p] for p in PRECISIONS), strict=False),
    )
    if options.picture:
        title = f"{options.size}, {options.cells / 1e6:g} million cells: the same run twice"
        draw(runs, options.picture, title)
    apart = np.abs(np.divide(means["bf16"], means["fp32"]) - 1).max()
    ends = {p: float(curve(records, "heldout_loss")[1][-1]) for p, records in runs.items()}
    finish(heldout_fp32=ends["fp32"], heldout_bf16=ends["bf16"], largest_difference=float(apart))


if __name__ == "__main__":
    main()
