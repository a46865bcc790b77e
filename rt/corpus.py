"""Which databases a run trains on, what measures its loss, and the tasks of each.

`data.root` says where databases are (`rt.sources`). Those named in `data.leave_out` take no part.
Of the others, the first `num_dbs` are trained on, and the loss is measured on databases apart from
them (`heldout: databases`: the last `heldout_dbs`, so that runs with more or fewer databases share
them) or on rows of the same databases that come after those trained on (`heldout: rows`). With
`data.generate` in place of a root, databases are generated while the run trains
(`rt.database_stream`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

import rustler
from plurel.errors import InputError
from plurel.rng import stream
from rt.config import require
from rt.database_stream import DatabaseStream, GenerateConfig
from rt.embedding_file import embeddings_path, open_embeddings
from rt.meta import StoreMeta, open_meta
from rt.recipes import Recipe
from rt.sources import Source, choose, find_sources, prepare
from rt.tasks import Task, column_tasks, load_tasks, narrow_stores, text_tasks, to_sampler


@dataclass(frozen=True)
class DataConfig:
    """Databases, tasks, contexts and batches.

    root: where databases are (`rt.sources`), one place or several; pattern: the names taken from a
    folder of databases; pre_dir: where the stores of databases in RelBench's format are, and are
    made, null for `plurel.paths.pre_dir()`. leave_out: databases that take no part, by name.
    generate: in place of root and leave_out, which must be empty, pattern and pre_dir, not used.
    num_dbs: databases trained on, of `generate` at a time, null for all that are not held out.
    max_foreign_keys: databases where a table has more are left out (null: none is).
    tasks: what is trained on: every number and boolean column of every table (columns), the binary
    and regression tasks that the database declares (declared), or both; declared_share: of both,
    the share of a database's contexts that are of declared tasks where it has any, null for what
    `mix` gives; columns_drawn: of each database so many columns are trained on, drawn by the run's
    seed and anew for each window of `generate`, null for all; task: <database>/<task>, the only
    one.
    heldout: whether databases or rows are held out; heldout_dbs: how many databases;
    heldout_tasks, heldout_rows, heldout_split: tasks of each database that measure the loss, rows
    of each task, and the split that they are drawn from (test only for columns of databases that
    are held out: this loss chooses the best checkpoint); heldout_seed: of the draw, not the run's
    seed, so that runs of several seeds are measured alike.
    embedder: name of the text embedder. context_length: cells of a context, or several lengths of
    which each step draws one; recipes: what contexts are made of, by name. batch_size: contexts of
    one step, all ranks together; steps of shorter contexts have as many more.
    mix: whether every database, every task or every training row is drawn equally often.
    extra_target_share: see `rustler.Sampler`.
    num_workers: processes of each rank that prepare batches (0: the training process does);
    prefetch: batches that each prepares ahead; sampler_threads: threads that build one batch.
    """

    root: tuple[str, ...] = ()
    pattern: str = "*"
    pre_dir: str | None = None
    leave_out: tuple[str, ...] = ()
    num_dbs: int | None = None
    max_foreign_keys: int | None = None
    tasks: Literal["columns", "declared", "both"] = "columns"
    declared_share: float | None = None
    columns_drawn: int | None = None
    task: str | None = None
    heldout: Literal["databases", "rows"] = "databases"
    heldout_dbs: int = 8
    heldout_tasks: int = 10
    heldout_rows: int = 32
    heldout_split: Literal["train", "val", "test"] = "val"
    heldout_seed: int = 0
    embedder: str = "all-MiniLM-L12-v2"
    context_length: tuple[int, ...] = (1024,)
    recipes: dict[str, Recipe] = field(default_factory=lambda: {"published": Recipe()})
    mix: Literal["database", "task", "row"] = "database"
    batch_size: int = 128
    extra_target_share: tuple[float, float] = (0.0, 0.0)
    num_workers: int = 2
    prefetch: int = 4
    sampler_threads: int = 1
    generate: GenerateConfig | None = None

    def __post_init__(self) -> None:
        lengths = self.context_length
        require(min(lengths, default=0) > 0, "data.context_length", "1 or more", list(lengths))
        positive = ("batch_size", "prefetch", "sampler_threads")
        for name in (*positive, "heldout_dbs", "heldout_tasks", "heldout_rows"):
            require(getattr(self, name) > 0, f"data.{name}", "1 or more", getattr(self, name))
        require(self.num_workers >= 0, "data.num_workers", "0 or more", self.num_workers)
        require(self.num_dbs is None or self.num_dbs > 0, "data.num_dbs", "1 or more", self.num_dbs)
        drawn = self.columns_drawn
        require(drawn is None or drawn > 0, "data.columns_drawn", "1 or more", drawn)
        columns = self.tasks != "declared" and self.task is None
        need = "null unless columns are tasks (data.tasks)"
        require(drawn is None or columns, "data.columns_drawn", need, drawn)
        low, high = self.extra_target_share
        ordered = 0 <= low <= high <= 1
        need = "two shares in rising order within [0, 1]"
        require(ordered, "data.extra_target_share", need, [low, high])
        if self.generate is None:
            require(bool(self.root), "data.root", "one place or more", list(self.root))
        else:
            self._check_generated(self.generate)
        if self.declared_share is not None:
            inside = 0 < self.declared_share < 1
            require(inside, "data.declared_share", "above 0 and below 1", self.declared_share)
            require(self.tasks == "both", "data.tasks", "both with data.declared_share", self.tasks)
        if self.task is not None:
            named = self.task.count("/") == 1 and all(self.task.split("/"))
            require(named, "data.task", "<database>/<task>", self.task)
            require(self.heldout == "rows", "data.heldout", "rows with data.task", self.heldout)
        if self.heldout == "rows" and self.heldout_split == "train":
            raise InputError("data.heldout_split: rows of train are trained on, give val")
        if self.heldout_split == "test" and (self.heldout == "rows" or self.tasks != "columns"):
            raise InputError(
                "data.heldout_split: the held-out loss chooses the best checkpoint, which rows of "
                "test must not: give val"
            )

    def _check_generated(self, generate: GenerateConfig) -> None:
        """InputError for what has no meaning beside `generate`."""
        beside = "with data.generate"
        for name in ("root", "leave_out", "task"):
            value = getattr(self, name)
            require(not value, f"data.{name}", f"empty {beside}", value)
        apart = self.heldout == "databases"
        require(apart, "data.heldout", f"databases {beside}", self.heldout)
        if self.num_dbs is None:
            raise InputError(f"data.num_dbs must be a number {beside}, not null")
        enough = generate.replaced <= self.num_dbs
        require(enough, "data.generate.replaced", "at most data.num_dbs", generate.replaced)


@dataclass(frozen=True)
class Database:
    """A store and the tasks on it that a run uses; the first `num_declared` are its own."""

    path: Path
    meta: StoreMeta
    tasks: tuple[Task, ...]
    num_declared: int = 0


@dataclass(frozen=True)
class Corpus:
    """The databases that a run trains on and the ones that it holds out."""

    train: tuple[Database, ...]
    heldout: tuple[Database, ...]

    def names(self) -> dict[str, list[str]]:
        """The databases by name."""
        parts = {"train": self.train, "heldout": self.heldout}
        return {part: [d.path.name for d in databases] for part, databases in parts.items()}


def open_corpus(config: DataConfig, class_targets: bool = False, seed: int = 0) -> Corpus:
    """Find, make where needed, and open the databases; InputError if there are not as many as
    asked for.

    A database without a usable task (no declared one, no number or boolean column that varies) is
    left out. class_targets: those trained on have their text columns as tasks too
    (`rt.tasks.text_tasks`). seed: of the run, for `data.columns_drawn`.
    """
    sources = _chosen(config)
    prepare(sources, config.embedder)
    databases = _opened([source.store for source in sources], config)
    apart = config.heldout_dbs if config.heldout == "databases" else 0
    wanted = apart + (config.num_dbs or 1)
    if len(databases) < wanted:
        raise InputError(
            f"{', '.join(config.root)}: {len(databases)} databases with tasks, but "
            f"data.num_dbs + data.heldout_dbs need {wanted}: preprocess more or ask for fewer"
        )
    train = databases[: config.num_dbs or len(databases) - apart]
    heldout = databases[-apart:] if apart else train
    train = _with_classes(train, config, class_targets)
    return Corpus(_with_drawn_columns(train, config, seed, window=0), heldout)


def open_stream(
    databases: DatabaseStream,
    step: int,
    config: DataConfig,
    class_targets: bool = False,
    seed: int = 0,
) -> Corpus:
    """The databases of a step, which `databases` has made, opened as `open_corpus` does."""
    train = _opened(databases.window(step), config)
    heldout = _opened(databases.heldout(), config)
    for name, found in (("trained on", train), ("held out", heldout)):
        if not found:
            raise InputError(
                f"data.generate: no database {name} from step {step} on has a task: choose another "
                "data.generate.config, or data.tasks=both"
            )
    train = _with_classes(train, config, class_targets)
    return Corpus(_with_drawn_columns(train, config, seed, databases.window_number(step)), heldout)


def _opened(stores: Sequence[Path], config: DataConfig) -> tuple[Database, ...]:
    """The databases that have tasks and not too many foreign keys."""
    if config.max_foreign_keys is not None:
        stores = narrow_stores(stores, config.max_foreign_keys)
    databases = [_open(path, config) for path in stores]
    return tuple(database for database in databases if database.tasks)


def _with_classes(
    databases: tuple[Database, ...], config: DataConfig, class_targets: bool
) -> tuple[Database, ...]:
    """The databases, text columns among their tasks where the model learns classes."""
    if not class_targets or config.tasks == "declared" or config.task is not None:
        return databases
    return tuple(replace(d, tasks=(*d.tasks, *text_tasks(d.path, d.meta))) for d in databases)


def _with_drawn_columns(
    databases: tuple[Database, ...], config: DataConfig, seed: int, window: int
) -> tuple[Database, ...]:
    """The databases, of their tasks the declared ones and `data.columns_drawn` others."""
    most = config.columns_drawn

    def drawn(database: Database) -> Database:
        declared, others = np.split(np.arange(len(database.tasks)), [database.num_declared])
        if most is None or len(others) <= most:
            return database
        rng = stream(seed, "columns", window, database.path.name)
        chosen = np.sort(rng.choice(others, most, replace=False))
        tasks = tuple(database.tasks[i] for i in (*declared, *chosen))
        return replace(database, tasks=tasks)

    return tuple(map(drawn, databases))


def _chosen(config: DataConfig) -> list[Source]:
    """The databases that take part."""
    sources = find_sources(config.root, pattern=config.pattern, pre_dir=config.pre_dir)
    left_out = choose(sources, config.leave_out, "data.leave_out")
    if config.task is not None:
        name = config.task.split("/")[0]
        if name in config.leave_out:
            raise InputError(f"data.task: {name} is left out by data.leave_out")
        return choose(sources, [name], "data.task")
    return [source for source in sources if source not in left_out]


def _open(path: Path, config: DataConfig) -> Database:
    meta = open_meta(path)
    columns = column_tasks(meta) if config.tasks != "declared" or config.task else []
    declared = load_tasks(path) if config.tasks != "columns" or config.task else []
    tasks = [*declared, *columns]
    if config.task is None:
        return Database(path, meta, tuple(tasks), len(declared))
    name = config.task.split("/")[1]
    tasks = [task for task in tasks if task.name == name][:1]
    if not tasks:
        load_tasks(path, [name])  # says which there are
    return Database(path, meta, tuple(tasks))


def build_sampler(
    databases: tuple[Database, ...],
    config: DataConfig,
    *,
    extra_target_share: tuple[float, float],
    seed: int,
    child_counts: bool = False,
) -> rustler.Sampler:
    """A sampler over the tasks of the databases, weighted as `config.mix` says. child_counts: the
    model reads them."""
    tasks = [
        to_sampler(task, store, weight=weight)
        for store, database in enumerate(databases)
        for task, weight in zip(database.tasks, _weights(database, config), strict=True)
    ]
    return rustler.Sampler(
        [database.path for database in databases],
        tasks,
        embedder=config.embedder,
        context_length=config.context_length,
        recipes=[recipe.to_sampler(name) for name, recipe in config.recipes.items()],
        batch_size=config.batch_size,
        extra_target_share=extra_target_share,
        seed=seed,
        num_threads=config.sampler_threads,
        child_counts=child_counts,
    )


def _weights(database: Database, config: DataConfig) -> list[float]:
    """How often each task of a database is drawn, beside those of others."""
    count, declared = len(database.tasks), database.num_declared
    if config.mix == "row":
        rows = [task.splits["train"] for task in database.tasks]
        weights = [float(end - start) for start, end in rows]
    else:
        weights = [1.0 if config.mix == "task" else 1 / count] * count
    share, of_declared = config.declared_share, sum(weights[:declared]) / (sum(weights) or 1)
    if share is None or not 0 < of_declared < 1:
        return weights
    more, less = share / of_declared, (1 - share) / (1 - of_declared)
    return [w * (more if i < declared else less) for i, w in enumerate(weights)]


def text_width(store: Path, embedder: str) -> int:
    """Length of the text embeddings of a store; InputError if it lacks the embedder's file."""
    found = open_embeddings(store, embedder)
    if found is None:
        raise InputError(
            f"{embeddings_path(store, embedder)} is missing: preprocess the database with the "
            f"embedder {embedder}, or choose another data.embedder"
        )
    return found.width
