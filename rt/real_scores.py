"""Scores on the tasks of real databases while a model trains.

Which label rows are scored is a function of the seed and of the names of database, task and split
(`rt.evaluate.Selection`); ranks share the batches and get the same predictions on any number of
them. Test rows are scored once, when training has ended, by the checkpoint that validation chose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.config import require
from rt.context_labels import context_label_means
from rt.evaluate import Labelled, Selection, chosen_baselines, label
from rt.model import RelationalTransformer
from rt.named_tasks import named_tasks
from rt.predictions import Contexts, ContextSettings, predict
from rt.ranks import Ranks
from rt.relbench_folder import open_dataset
from rt.scores import Protocol, all_metrics, scored_by
from rt.sources import Source, choose, find_sources, prepare
from rt.tasks import Task

Floats = NDArray[np.float64]
Metrics = dict[str, float]
Scores = dict[str, Metrics]
"""Metrics (`rt.scores.all_metrics`) by "<database>/<task>"."""

SCORE = "score"


@dataclass(frozen=True)
class EvaluationConfig:
    """Real tasks that are scored at every evaluation, on validation rows.

    root: where the databases are, in RelBench's format (`rt.sources`); none: nothing is scored.
    pattern, pre_dir: as in `rt.corpus.DataConfig`. databases: those scored, by name, null for all.
    tasks: "<database>/<task>", null for every binary and regression task that they declare.
    protocol: what a prediction may know (`rt.scores`). max_rows: label rows of each task, null for
    all. test_rows: rows of the test split, scored once at the end; null for all, 0 for none.
    batch_size: contexts of one forward pass. seed: of the rows and contexts, not the run's, so that
    runs of several seeds are measured alike.
    """

    root: tuple[str, ...] = ()
    pattern: str = "*"
    pre_dir: str | None = None
    databases: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    protocol: Protocol = "rolling"
    max_rows: int | None = 500
    test_rows: int | None = None
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_rows", "batch_size"):
            value = getattr(self, name)
            require(value is None or value > 0, f"evaluation.{name}", "1 or more", value)
        test_rows = self.test_rows
        need = "0 or more"
        require(test_rows is None or test_rows >= 0, "evaluation.test_rows", need, test_rows)
        for task in self.tasks or ():
            require(task.count("/") == 1, "evaluation.tasks", "<database>/<task>", task)

    @property
    def scored(self) -> bool:
        """Whether anything is scored."""
        return bool(self.root) and self.databases != () and self.tasks != ()

    def rows(self, split: Literal["val", "test"]) -> int | None:
        """How many label rows of a split are scored, None for all."""
        return self.max_rows if split == "val" else self.test_rows


@dataclass(frozen=True)
class RealTask:
    """A task of a database, and RelBench's dataset of it."""

    source: Source
    dataset: Any
    task: Task

    @property
    def name(self) -> str:
        return f"{self.source.name}/{self.task.name}"


class RealTasks:
    """The tasks that a config names, made ready: stores made, label rows found.

    Raises InputError for names that are not there and where no task's labels can be scored.
    """

    def __init__(self, config: EvaluationConfig, settings: ContextSettings) -> None:
        self.config, self.settings = config, settings
        self.left_out: dict[str, str] = {}
        """Tasks whose validation labels have no score, and why."""
        self._labelled: dict[tuple[str, str], Labelled] = {}
        self._contexts: dict[tuple[Path, bool], Contexts] = {}
        self.tasks = [task for task in _find(config, settings) if self._has_score(task)]
        if not self.tasks:
            reasons = "; ".join(self.left_out.values()) or "they declare none"
            raise InputError(f"evaluation: no task of the databases can be scored: {reasons}")

    def scores(
        self,
        model: RelationalTransformer,
        ranks: Ranks,
        split: Literal["val", "test"] = "val",
        *,
        show_progress: bool = False,
    ) -> Scores:
        """The model's metrics of each task; tasks whose test labels have no score are left out."""
        found: Scores = {}
        for task in self.tasks:
            prediction = self.predict(task, model, ranks, split, show_progress=show_progress)
            found |= self._metrics(task, self._label(task, split), prediction)
        return found

    def predict(
        self,
        task: RealTask,
        model: RelationalTransformer,
        ranks: Ranks,
        split: Literal["val", "test"],
        *,
        show_progress: bool = False,
    ) -> Floats:
        """f64[N]: the model's predictions for the task's rows of a split."""
        return predict(
            model,
            **self._asked(task, split, model.config.child_counts),
            progress=f"{task.name}, {split}" if show_progress and ranks.is_main else None,
            ranks=ranks,
        )

    def means(self, task: RealTask, split: Literal["val", "test"]) -> dict[str, Floats]:
        """f64[N] for the same rows: the means of all known labels and of the entity's, by name."""
        labelled, protocol = self._label(task, split), self.config.protocol
        found = chosen_baselines(task.dataset, labelled, split, protocol)
        return {name: baseline.prediction for name, baseline in found.items()}

    def truth(
        self, task: RealTask, split: Literal["val", "test"]
    ) -> tuple[Literal["auroc", "nmae"], Floats, float]:
        """The task's metric, the labels f64[N] of the same rows, and what errors are divided by: 1,
        for NMAE the deviation of the train labels."""
        labelled = self._label(task, split)
        return scored_by(labelled.relbench_task, labelled.table.df)

    def splits(self) -> list[Literal["val", "test"]]:
        """The splits that are scored when training has ended."""
        return ["val"] if self.config.test_rows == 0 else ["val", "test"]

    def context_means(
        self, task: RealTask, split: Literal["val", "test"], ranks: Ranks
    ) -> dict[str, Floats]:
        """f64[N] for the same rows: the means of the labels in the contexts that the model reads,
        of the entity's and of all, by name (`rt.context_labels`)."""
        return context_label_means(**self._asked(task, split), ranks=ranks)

    def baselines(self, ranks: Ranks, split: Literal["val", "test"] = "val") -> dict[str, Scores]:
        """The metrics of the means of labels: of all that are known, of the entity's, and of those
        in the model's contexts. All ranks call it."""
        found: dict[str, Scores] = {}
        for task in self.tasks:
            labelled = self._label(task, split)
            means = self.means(task, split) | self.context_means(task, split, ranks)
            for name, prediction in means.items():
                found.setdefault(name, {}).update(self._metrics(task, labelled, prediction))
        return found

    def _metrics(self, task: RealTask, labelled: Labelled, prediction: Any) -> Scores:
        """The metrics under the task's name; none for test labels of one class."""
        try:
            return {task.name: all_metrics(labelled.relbench_task, labelled.table, prediction)}
        except InputError:
            if not np.isfinite(prediction).all():
                raise
            return {}

    def _has_score(self, task: RealTask) -> bool:
        labelled = self._label(task, "val")
        try:
            all_metrics(labelled.relbench_task, labelled.table, np.zeros(len(labelled.rows)))
        except InputError as error:
            self.left_out[task.name] = str(error)
            return False
        return True

    def _asked(
        self, task: RealTask, split: Literal["val", "test"], child_counts: bool = False
    ) -> dict[str, Any]:
        """Which contexts are made: the same for models and for the means of their labels."""
        return {
            "store_folder": task.source.store, "task": task.task,
            "rows": self._label(task, split).rows, "settings": self.settings,
            "protocol": self.config.protocol, "seed": self.config.seed,
            "contexts": self._contexts_of(task.source.store, child_counts),
        }  # fmt: skip

    def _contexts_of(self, store: Path, child_counts: bool) -> Contexts:
        """Of all tasks of a store, opened once: scores are asked for again and again."""
        key = store, child_counts
        if key not in self._contexts:
            tasks = [task.task for task in self.tasks if task.source.store == store]
            self._contexts[key] = Contexts(store, tasks, self.settings, child_counts)
        return self._contexts[key]

    def _label(self, task: RealTask, split: Literal["val", "test"]) -> Labelled:
        key = task.name, split
        if key not in self._labelled:
            protocol, rows = self.config.protocol, self.config.rows(split)
            selection = Selection(split, protocol, rows, self.config.seed)
            store = task.source.store
            self._labelled[key] = label(task.dataset, store, task.task, selection)
        return self._labelled[key]


def mean_scores(scores: Mapping[str, Mapping[str, float]]) -> Metrics:
    """The mean over the tasks that have it of each metric but MAE, whose scale is the task's own,
    and `score`: the mean over tasks of AUROC and of 1 - NMAE, by which validation may choose a
    checkpoint (higher is better)."""
    names = dict.fromkeys(name for metrics in scores.values() for name in metrics if name != "mae")
    means = {
        name: float(np.mean([metrics[name] for metrics in scores.values() if name in metrics]))
        for name in names
    }
    each = [m["auroc"] if "auroc" in m else 1 - m["nmae"] for m in scores.values()]
    return means | {SCORE: float(np.mean(each))}


def flat(scores: Mapping[str, Mapping[str, float]]) -> Metrics:
    """The metrics by "<database>/<task>/<metric>"."""
    return {f"{task}/{name}": value for task, m in scores.items() for name, value in m.items()}


def with_mean(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Plain values for JSON: {"mean": metrics, "tasks": {"<database>/<task>": metrics}}."""
    means = mean_scores(scores) if scores else {}
    return {"mean": means, "tasks": {name: dict(metrics) for name, metrics in scores.items()}}


def _find(config: EvaluationConfig, settings: ContextSettings) -> list[RealTask]:
    sources = find_sources(config.root, pattern=config.pattern, pre_dir=config.pre_dir)
    of_tasks = dict.fromkeys(task.split("/")[0] for task in config.tasks or ())
    if config.databases is not None:
        sources = choose(sources, config.databases, "evaluation.databases")
    if config.tasks is not None:
        sources = choose(sources, of_tasks, "evaluation.tasks")
    for source in sources:
        if source.raw is None:
            raise InputError(
                f"evaluation.root: {source.store} is a store, which holds no label tables; give "
                "the folder of the database in RelBench's format"
            )
    prepare(sources, settings.embedder)
    tasks = []
    for source in sources:
        names = None
        if config.tasks is not None:
            names = [t.split("/")[1] for t in config.tasks if t.split("/")[0] == source.name]
        raw = source.raw or source.store
        found = named_tasks(raw, source.store, names)
        if found:
            dataset = open_dataset(raw)
            tasks += [RealTask(source, dataset, task) for task in found]
    return tasks
