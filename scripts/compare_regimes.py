"""Real databases alone, synthetic alone, synthetic then real: scores on databases left out.

torchrun --standalone --nproc_per_node=1 scripts/compare_regimes.py real_root=<databases> \\
    leave_out=[<name>,<name>,<name>]

Started again, it goes on where it was. Writes comparison.json and comparison.txt into run_dir.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.atomic import complete_file
from plurel.cli import clean_exit
from plurel.errors import InputError
from rt import checkpoint
from rt.bootstrap import TaskPredictions
from rt.config import from_dict, require
from rt.model import RelationalTransformer
from rt.precision import choose
from rt.predictions import ContextSettings
from rt.ranks import Ranks, join_ranks
from rt.real_scores import EvaluationConfig, Floats, RealTask, RealTasks
from rt.regimes import comparison, format_comparison
from rt.scores import Protocol
from rt.train import run
from rt.train_config import TrainConfig
from rt.trainer import build_model
from scripts.hydra_entry import (
    no_empty_folder,
    one_line_errors,
    plain,
    start,
    told_to_torchrun,
    training_config,
)

AGAINST = "baseline"


@dataclass(frozen=True)
class Scored:
    """A model, the folder that keeps what it predicts: that of its run, so that they go together,
    and its run's contexts and precision."""

    model: RelationalTransformer
    folder: Path
    settings: ContextSettings


Models = dict[str, list[Scored]]


@dataclass(frozen=True)
class CompareConfig:
    """The keys of conf/compare_regimes.yaml, explained there."""

    run_dir: str
    real_root: tuple[str, ...]
    synthetic_root: tuple[str, ...]
    leave_out: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1)
    overrides: tuple[str, ...] = ()
    synthetic: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    max_rows: int | None = 2000
    protocol: Protocol = "rolling"
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name in ("leave_out", "seeds"):
            value = getattr(self, name)
            require(bool(value), name, "one value or more", list(value))
        require(self.resamples > 0, "resamples", "1 or more", self.resamples)
        require(self.max_rows is None or self.max_rows > 0, "max_rows", "1 or more", self.max_rows)


class Runs:
    """The training runs of a comparison, each in a folder below run_dir; made where they are not
    finished yet."""

    def __init__(self, config: CompareConfig) -> None:
        self.config = config

    def synthetic(self, seed: int) -> TrainConfig:
        """On synthetic databases alone."""
        where = [f"data.root={_list(self.config.synthetic_root)}"]
        overrides = [*where, *self.config.synthetic]
        return self._train("synthetic_pretrain", f"synthetic,seed={seed}", seed, overrides)

    def baseline(self, seed: int, left_out: str) -> TrainConfig:
        """On the other real databases alone."""
        name = f"baseline,leave_out={left_out},seed={seed}"
        return self._train("baseline_pretrain", name, seed, self._real(left_out))

    def continued(self, seed: int, left_out: str, synthetic: TrainConfig) -> TrainConfig:
        """On synthetic, then on the other real databases."""
        name = f"continued,leave_out={left_out},seed={seed}"
        begin = f"load_ckpt_path={_quoted(f'{synthetic.trainer.run_dir}/best')}"
        return self._train("cntd_pretrain", name, seed, [*self._real(left_out), begin])

    def _real(self, left_out: str) -> list[str]:
        where = [f"data.root={_list(self.config.real_root)}", f"data.leave_out={_list([left_out])}"]
        return [*where, "evaluation=none", *self.config.real]

    def _train(self, root: str, name: str, seed: int, overrides: Sequence[str]) -> TrainConfig:
        folder = Path(self.config.run_dir) / name
        own = [f"seed={seed}", f"trainer.run_dir={_quoted(folder)}"]
        every = [*self.config.overrides, *overrides, *own]
        config = training_config(plain(hydra.compose(root, every)), every)
        stop: list[str] = []
        run(config, stop)
        if stop:
            sys.exit(0)
        return config


def predictions(
    config: CompareConfig, database: str, models: Mapping[str, Sequence[Scored]],
    trained: TrainConfig, ranks: Ranks,
) -> list[TaskPredictions]:  # fmt: skip
    """What the models predict for the test rows of a database's tasks, each from contexts of its
    own run, and the baselines, those of labels in contexts from the ones that `trained` has."""
    evaluation = EvaluationConfig(
        root=config.real_root, databases=(database,), pre_dir=trained.data.pre_dir,
        protocol=config.protocol, test_rows=config.max_rows,
    )  # fmt: skip
    own = settings_of(trained, ranks)
    others = (one.settings for of_seeds in models.values() for one in of_seeds)
    by_settings = {each: RealTasks(evaluation, each) for each in dict.fromkeys((own, *others))}
    real = by_settings[own]
    found = []
    for task in real.tasks:
        metric, truth, scale = real.truth(task, "test")
        if metric == "auroc" and len(np.unique(truth)) < 2:
            continue
        of_models = {
            name: np.stack(
                [_predict(by_settings[one.settings], task, one, ranks) for one in of_seeds]
            )
            for name, of_seeds in models.items()
        }
        means = real.means(task, "test") | real.context_means(task, "test", ranks)
        of_means = {name: one[None] for name, one in means.items()}
        found.append(TaskPredictions(task.name, metric, truth, of_models | of_means, scale))
    return found


def settings_of(trained: TrainConfig, ranks: Ranks) -> ContextSettings:
    """How the model of a run is fed, as while it trains."""
    bf16 = choose(trained.trainer.precision, ranks.device) == "bf16"
    return ContextSettings(
        trained.data.embedder,
        trained.data.context_length[0],
        next(iter(trained.data.recipes.values())),
        precision="bf16" if bf16 else "fp32",
    )


def _predict(real: RealTasks, task: RealTask, scored: Scored, ranks: Ranks) -> Floats:
    """f64[N]: the model's predictions for a task's test rows, made once."""
    asked = real.config
    folder = scored.folder / f"predictions,{asked.protocol},rows={asked.test_rows or 'all'}"
    file = folder / f"{task.name.replace('/', ',')}.npy"
    if file.is_file():
        return np.load(file)
    found = real.predict(task, scored.model, ranks, "test", show_progress=True)
    if ranks.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        with complete_file(file) as path, path.open("wb") as out:
            np.save(out, found)
    ranks.barrier()
    return found


def compare(config: CompareConfig) -> None:
    """Train what is not trained yet, score, print the table."""
    runs = Runs(config)
    synthetic = {seed: runs.synthetic(seed) for seed in config.seeds}
    tasks: list[TaskPredictions] = []
    for database in config.leave_out:
        regimes = {
            "synthetic": synthetic,
            "baseline": {seed: runs.baseline(seed, database) for seed in config.seeds},
            "continued": {s: runs.continued(s, database, synthetic[s]) for s in config.seeds},
        }
        trained = synthetic[config.seeds[0]]
        with join_ranks(trained.trainer.device, trained.trainer.threads) as ranks:
            models: Models = {"untrained": [], **{name: [] for name in regimes}}
            for name, of_seeds in regimes.items():
                for one in of_seeds.values():
                    folder = Path(one.trainer.run_dir)
                    model = checkpoint.load_model(folder / "best").to(ranks.device)
                    models[name].append(Scored(model, folder, settings_of(one, ranks)))
            width = models["synthetic"][0].model.config.d_text
            for seed, one in synthetic.items():
                folder = Path(config.run_dir) / f"untrained,seed={seed}"
                model = build_model(one, width).to(ranks.device)
                models["untrained"].append(Scored(model, folder, settings_of(one, ranks)))
            tasks += predictions(config, database, models, trained, ranks)
            is_main = ranks.is_main
    if not tasks:
        raise InputError("no task of the databases left out can be scored")
    if is_main:
        result = comparison(tasks, against=AGAINST, resamples=config.resamples)
        table = format_comparison(result)
        for name, text in (("comparison.json", json.dumps(result, indent=1)),
                           ("comparison.txt", table)):  # fmt: skip
            with complete_file(Path(config.run_dir) / name) as file:
                file.write_text(text + "\n")
        print(table)


def _list(places: Sequence[str]) -> str:
    return f"[{','.join(map(_quoted, places))}]"


def _quoted(value: str | Path) -> str:
    """The value as a text of Hydra's overrides, whatever is in it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(value))
    return f"'{escaped}'"


@hydra.main(version_base="1.3", config_path="../conf", config_name="compare_regimes")
def main(config: DictConfig) -> None:
    with clean_exit(), told_to_torchrun(), one_line_errors(), no_empty_folder():
        compare(from_dict(CompareConfig, plain(config)))


if __name__ == "__main__":
    start(main)
