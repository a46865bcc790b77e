"""What pretraining brings on databases that it has never seen: models by regime, scored on the test
rows of the databases that they left out, with intervals (`rt.bootstrap`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rt.bootstrap import Bootstrap, TaskPredictions
from rt.text_table import aligned


def comparison(
    tasks: Sequence[TaskPredictions], *, against: str, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Plain values for JSON: {task: {"metric", "rows", "scores": {model: interval},
    "better_than_<against>": {model: interval}}}."""
    result: dict[str, Any] = {}
    for task in tasks:
        drawn = Bootstrap(task, resamples=resamples, seed=seed)
        scores, better = drawn.scores(), drawn.better_than(against)
        result[task.name] = {
            "metric": task.metric,
            "rows": len(task.truth),
            "scores": {name: interval.record() for name, interval in scores.items()},
            f"better_than_{against}": {
                name: interval.record() for name, interval in better.items() if name != against
            },
        }
    return result


def format_comparison(result: Mapping[str, Any]) -> str:
    """The comparison as lines of aligned columns: a score and half the width of its interval."""
    models = list(next(iter(result.values()))["scores"])
    lines = [["task", "metric", "rows", *models]]
    for task, entry in result.items():
        arrow = "↑" if entry["metric"] == "auroc" else "↓"
        cells = [
            f"{s['value']:.3f} ±{(s['high'] - s['low']) / 2:.3f}" for s in entry["scores"].values()
        ]
        lines.append([task, f"{entry['metric']} {arrow}", str(entry["rows"]), *cells])
    for metric in ("auroc", "nmae"):
        entries = [entry for entry in result.values() if entry["metric"] == metric]
        if entries:
            means = [np.mean([e["scores"][name]["value"] for e in entries]) for name in models]
            lines.append(["mean", metric, "", *(f"{mean:.3f}" for mean in means)])
    return "\n".join(aligned(lines))
