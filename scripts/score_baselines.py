"""Scores of baselines on tasks of a real database: means and medians of labels, and LightGBM on the
target's row alone and on the row joined with the rest of the database (docs/evaluation.md).

python scripts/score_baselines.py raw=FOLDER [tasks=[a,b]] [protocol=rolling] [out=scores.json]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

import rt  # noqa: F401  # isort: skip  # before torch: rt/__init__.py says why

from plurel.atomic import check_file_place, complete_file
from plurel.cli import clean_exit
from rt.boosted import BoostedSettings
from rt.config import from_dict
from rt.evaluate import Selection
from rt.score_baselines import score_baselines
from rt.score_tables import format_table, print_skipped
from scripts.hydra_entry import one_line_errors, plain, register


@dataclass(frozen=True)
class BaselinesConfig:
    """The keys of conf/score_baselines.yaml, explained there."""

    raw: str
    tasks: tuple[str, ...] | None = None
    split: Literal["val", "test"] = "test"
    protocol: Literal["split", "rolling"] = "split"
    max_rows: int | None = None
    out: str | None = None
    seed: int = 0
    num_threads: int = 1
    train_rows: int = 20_000
    max_features: int = 400


def run(config: BaselinesConfig) -> dict[str, Any]:
    """Score, print the table, write `out` (whole or not at all); the scores."""
    if config.out is not None:
        check_file_place(config.out)
    result = score_baselines(
        config.raw,
        tasks=config.tasks,
        selection=Selection(config.split, config.protocol, config.max_rows, config.seed),
        settings=BoostedSettings(
            config.seed, config.train_rows, config.max_features, config.num_threads
        ),
    )
    print(format_table(result))
    print_skipped(result)
    if config.out is not None:
        with complete_file(Path(config.out)) as file:
            file.write_text(json.dumps(result, indent=1) + "\n")
    return result


@hydra.main(version_base="1.3", config_path="../conf", config_name="score_baselines")
def main(config: DictConfig) -> None:
    # inside, because Hydra adds lines of its own to an error that passes through it
    with clean_exit(), one_line_errors():
        run(from_dict(BaselinesConfig, plain(config)))


if __name__ == "__main__":
    register()
    with clean_exit(), one_line_errors():
        main()
