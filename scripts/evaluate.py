"""Scores of a checkpoint on tasks of a real database, beside an untrained model and baselines.

python scripts/evaluate.py checkpoint=NAME raw=FOLDER store=FOLDER [tasks=[a,b]] [out=summary.json]
"""

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

import rt  # noqa: F401  # isort: skip  # before torch: rt/__init__.py says why
import numpy as np
from numpy.typing import NDArray

from plurel.atomic import check_file_place, check_writable, complete_file
from plurel.cli import clean_exit
from rt.boosted import BoostedSettings
from rt.checkpoint import digest, resolve
from rt.config import from_dict, require, to_dict
from rt.evaluate import (
    ContextSettings,
    OnPredictions,
    ScoredRows,
    Selection,
    evaluate_table,
    untrained_like,
)
from rt.logs import git_revision
from rt.model import RelationalTransformer
from rt.precision import Device, choose_device
from rt.score_tables import format_differences, format_table, format_tuned, print_skipped
from rt.settings import Settings
from rt.submission import write_submission
from rt.tuning import Tuned, candidates, tune
from scripts.hydra_entry import one_line_errors, plain, register
from scripts.predictor_options import check_length

FIRST, UNTRAINED = "pretrained", "untrained"
"""The columns of the checkpoint and of a model like it with random parameters."""


@dataclass(frozen=True)
class Tuning:
    """What `rt.tuning` chooses from, None for the checkpoint's; max_rows of a task's validation."""

    context_length: tuple[int, ...] | None = None
    recipe: tuple[str, ...] | None = None
    max_rows: int | None = 500

    def __post_init__(self) -> None:
        for cells in self.context_length or ():
            check_length(cells, "tune.context_length")


@dataclass(frozen=True)
class EvaluateConfig:
    """The keys of conf/evaluate.yaml, explained there."""

    checkpoint: str
    raw: str
    store: str
    beside: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    split: Literal["val", "test"] = "test"
    protocol: Literal["split", "rolling"] = "split"
    max_rows: int | None = None
    untrained: bool = True
    out: str | None = None
    seed: int = 0
    batch_size: int = 32
    num_threads: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Device = "auto"
    embedder: str | None = None
    context_length: int | None = None
    recipe: str | None = None
    baselines: Literal["means", "all"] = "all"
    resamples: int = 1000
    submission: str | None = None
    tune: Tuning | None = None

    def __post_init__(self) -> None:
        once = len({FIRST, UNTRAINED, *self.beside}) == len(self.beside) + 2
        require(once, "beside", "other checkpoints, each once", list(self.beside))
        require(self.resamples >= 0, "resamples", "0 or more", self.resamples)
        check_length(self.context_length, "context_length")
        whole = self.submission is None or self.max_rows is None
        require(whole, "max_rows", "null for a submission, which needs every row", self.max_rows)
        if self.tune is None:
            return
        require(
            self.split == "test", "split", "test where contexts are chosen on validation (tune)",
            self.split,
        )  # fmt: skip
        for name in ("context_length", "recipe"):
            require(
                getattr(self, name) is None, name, f"null where tune is given: use tune.{name}",
                getattr(self, name),
            )  # fmt: skip

    def passes(self) -> dict[str, Any]:
        """What of `ContextSettings` is not of the contexts."""
        names = ("embedder", "batch_size", "num_threads", "precision")
        return {name: getattr(self, name) for name in names}

    def settings(self, trained: Settings) -> ContextSettings:
        """Contexts as the model was trained with, where this config says nothing else."""
        return ContextSettings.of(
            trained,
            context_length=self.context_length,
            recipe=self.recipe,
            **self.passes(),
        )


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Score, print the table, write `out` (whole or not at all); the scores, with the hash of the
    checkpoint's parameters, its contexts and the revision of the sources."""
    if config.out is not None:
        check_file_place(config.out)
    if config.submission is not None:
        check_writable(config.submission)
    place = resolve(config.checkpoint)
    sha256 = digest(place)  # now: a run that goes on may delete it
    model = RelationalTransformer.from_pretrained(place)
    device = choose_device(config.device)
    models = {FIRST: model.to(device)}
    beside = {name: RelationalTransformer.from_pretrained(name) for name in config.beside}
    tuned = _tuned(config, models[FIRST])
    settings: ContextSettings | dict[str, ContextSettings] = config.settings(model.settings)
    if config.tune is not None:
        settings = {task: found.settings for task, found in tuned.items()}
    if config.untrained:
        models[UNTRAINED] = untrained_like(models[FIRST], config.seed)
    for name, other in beside.items():
        models[name] = other.to(device)
    result = evaluate_table(
        models,
        config.raw,
        config.store,
        settings=settings,
        own_settings={name: config.settings(other.settings) for name, other in beside.items()},
        tasks=config.tasks,
        selection=Selection(config.split, config.protocol, config.max_rows, config.seed),
        boosted=_boosted(config),
        resamples=config.resamples,
        on_predictions=_submission(config),
    )
    result["checkpoint"] = str(config.checkpoint)
    result["sha256"] = sha256
    result["git_revision"] = git_revision()
    if isinstance(settings, ContextSettings):
        recipe = to_dict(settings.recipe)
        result["contexts"] = {"context_length": settings.context_length, "recipe": recipe}
    if config.tune is not None:
        result["tuned"] = {task: found.record for task, found in tuned.items()}
        print(f"{format_tuned(result['tuned'])}\n")
    print(format_table(result))
    print_skipped(result)
    if config.resamples:
        print(f"\n{format_differences(result, FIRST)}")
    if config.out is not None:
        with complete_file(Path(config.out)) as file:
            file.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _tuned(config: EvaluateConfig, model: RelationalTransformer) -> dict[str, Tuned]:
    """The contexts that validation chooses for each task, if there is something to choose."""
    if config.tune is None:
        return {}
    return tune(
        model,
        config.raw,
        config.store,
        candidates(
            model.settings, config.tune.context_length, config.tune.recipe, **config.passes()
        ),
        tasks=config.tasks,
        selection=Selection("val", config.protocol, config.tune.max_rows, config.seed),
    )


def _boosted(config: EvaluateConfig) -> BoostedSettings | None:
    """Of LightGBM, if every baseline is wanted and it is installed; says so where it is not."""
    if config.baselines != "all":
        return None
    if importlib.util.find_spec("lightgbm") is None:
        print("baselines: means alone; for all pip install lightgbm\n")
        return None
    return BoostedSettings(config.seed)


def _submission(config: EvaluateConfig) -> OnPredictions | None:
    """What writes the checkpoint's predictions, if a folder for them is given."""
    if config.submission is None:
        return None
    folder = Path(config.submission)

    def write(database: str, rows: ScoredRows, found: Mapping[str, NDArray[np.float64]]) -> None:
        write_submission(folder, database, rows, found[FIRST])

    return write


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    # inside, because Hydra adds lines of its own to an error that passes through it
    with clean_exit(), one_line_errors():
        run(from_dict(EvaluateConfig, plain(config)))


if __name__ == "__main__":
    register()
    with clean_exit(), one_line_errors():
        main()
