"""Which stores a run trains on, which it holds out, and the tasks of each.

Stores are named in full (`data.stores`) or found below one folder (`data.root`, `data.pattern`),
in the order of their names with numbers read as numbers. The first `num_dbs` are trained on and the
last `heldout_dbs` are held out, so that runs with more or fewer databases share the held-out ones.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import rustler
from plurel.errors import InputError
from rt.config import require
from rt.embedding_file import embeddings_path, open_embeddings
from rt.meta import StoreMeta, open_meta
from rt.recipes import Recipe
from rt.tasks import Task, column_tasks, narrow_stores, text_tasks, to_sampler


@dataclass(frozen=True)
class DataConfig:
    """Databases, tasks, contexts and batches.

    root, pattern: folder of store folders, and the names taken from it; stores: store folders by
    path, instead of root. num_dbs: databases trained on, null for all that are not held out.
    max_foreign_keys: databases where a table has more are left out (null: none is).
    heldout_dbs, heldout_tasks, heldout_rows, heldout_split: databases that only measure the loss,
    tasks of each, rows of each task, and the split that they are drawn from.
    embedder: name of the text embedder. context_length: cells of a context, or several lengths of
    which each step draws one; recipes: what contexts are made of, by name. batch_size: contexts of
    one step, all ranks together; steps of shorter contexts have as many more.
    mix: whether every database, every task or every training row is drawn equally often.
    extra_target_share: see `rustler.Sampler`.
    num_workers: processes of each rank that prepare batches (0: the training process does);
    prefetch: batches that each prepares ahead; sampler_threads: threads that build one batch.
    """

    root: str | None = None
    pattern: str = "*"
    stores: tuple[str, ...] = ()
    num_dbs: int | None = None
    max_foreign_keys: int | None = None
    heldout_dbs: int = 8
    heldout_tasks: int = 10
    heldout_rows: int = 32
    heldout_split: Literal["train", "val", "test"] = "val"
    embedder: str = "all-MiniLM-L12-v2"
    context_length: tuple[int, ...] = (1024,)
    recipes: dict[str, Recipe] = field(default_factory=lambda: {"published": Recipe()})
    mix: Literal["database", "task", "row"] = "database"
    batch_size: int = 128
    extra_target_share: tuple[float, float] = (0.0, 0.0)
    num_workers: int = 2
    prefetch: int = 4
    sampler_threads: int = 1

    def __post_init__(self) -> None:
        lengths = self.context_length
        require(min(lengths, default=0) > 0, "data.context_length", "1 or more", list(lengths))
        positive = ("batch_size", "prefetch", "sampler_threads")
        for name in (*positive, "heldout_dbs", "heldout_tasks", "heldout_rows"):
            require(getattr(self, name) > 0, f"data.{name}", "1 or more", getattr(self, name))
        require(self.num_workers >= 0, "data.num_workers", "0 or more", self.num_workers)
        require(self.num_dbs is None or self.num_dbs > 0, "data.num_dbs", "1 or more", self.num_dbs)
        low, high = self.extra_target_share
        ordered = 0 <= low <= high <= 1
        need = "two shares in rising order within [0, 1]"
        require(ordered, "data.extra_target_share", need, [low, high])
        if (self.root is None) == (not self.stores):
            raise InputError("give either data.root or data.stores (and not both)")


@dataclass(frozen=True)
class Database:
    """A store and the tasks on it that a run uses."""

    path: Path
    meta: StoreMeta
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Corpus:
    """The databases that a run trains on and the ones that it holds out."""

    train: tuple[Database, ...]
    heldout: tuple[Database, ...]

    def names(self) -> dict[str, list[str]]:
        """The databases by name."""
        parts = {"train": self.train, "heldout": self.heldout}
        return {part: [d.path.name for d in databases] for part, databases in parts.items()}


def open_corpus(config: DataConfig, class_targets: bool = False) -> Corpus:
    """Find and open the databases; InputError if there are not as many as asked for.

    A database without a usable task (no number or boolean column that varies) is left out.
    class_targets: those trained on have their text columns as tasks too (`rt.tasks.text_tasks`).
    """
    stores = find_stores(config)
    if config.max_foreign_keys is not None:
        stores = narrow_stores(stores, config.max_foreign_keys)
    databases = [_open(path) for path in stores]
    databases = [database for database in databases if database.tasks]
    wanted = config.heldout_dbs + (config.num_dbs or 1)
    if len(databases) < wanted:
        raise InputError(
            f"{_where(config)}: {len(databases)} databases with tasks, but "
            f"data.num_dbs + data.heldout_dbs need {wanted}: preprocess more or ask for fewer"
        )
    heldout = databases[-config.heldout_dbs :]
    train = databases[: config.num_dbs or len(databases) - len(heldout)]
    if class_targets:
        train = [replace(d, tasks=(*d.tasks, *text_tasks(d.path, d.meta))) for d in train]
    return Corpus(tuple(train), tuple(heldout))


def find_stores(config: DataConfig) -> list[Path]:
    """The store folders that a config names, in order; InputError if there is none."""
    if config.stores:
        return [Path(path) for path in config.stores]
    assert config.root is not None
    root = Path(config.root)
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; preprocess databases into it first")
    found = [path.parent for path in root.glob(f"{config.pattern}/meta.json")]
    if not found:
        raise InputError(
            f"data.root: no store in {root} matches data.pattern {config.pattern!r}; "
            "run scripts/preprocess.py first"
        )
    return sorted(found, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that reads digits as numbers: db-9 stands before db-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


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
        to_sampler(task, store, weight=_weight(task, database, config))
        for store, database in enumerate(databases)
        for task in database.tasks
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


def _weight(task: Task, database: Database, config: DataConfig) -> float:
    if config.mix == "row":
        start, end = task.splits["train"]
        return float(end - start)
    return 1.0 if config.mix == "task" else 1 / len(database.tasks)


def text_width(store: Path, embedder: str) -> int:
    """Length of the text embeddings of a store; InputError if it lacks the embedder's file."""
    found = open_embeddings(store, embedder)
    if found is None:
        raise InputError(
            f"{embeddings_path(store, embedder)} is missing: preprocess the database with the "
            f"embedder {embedder}, or choose another data.embedder"
        )
    return found.width


def _open(path: Path) -> Database:
    meta = open_meta(path)
    return Database(path, meta, tuple(column_tasks(meta)))


def _where(config: DataConfig) -> str:
    return f"{config.root}/{config.pattern}" if config.root else "data.stores"
