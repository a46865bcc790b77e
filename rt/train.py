"""A training run, as the scripts that train call it.

A run's folder holds config.yaml, run.json (versions, git revision, databases, the checkpoint that
it starts from), metrics.jsonl, checkpoints (`rt.checkpoint`) and, at the end, loss.png,
training.json and, with real tasks, scores.png. The same command started again continues from the
last checkpoint; a finished run says so.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from plurel.errors import InputError
from rt import checkpoint
from rt.config import from_dict, to_dict
from rt.corpus import open_corpus, open_stream
from rt.database_stream import DatabaseStream
from rt.loader import Share
from rt.memory import keep_freed_memory
from rt.ranks import Ranks, join_ranks
from rt.runs import Run, stop_signals
from rt.train_config import TrainConfig
from rt.trainer import Trainer

DATABASES = "databases"
"""In a run's folder, the databases that are generated while it trains (`data.generate`)."""
FED = ("embedder", "context_length", "recipes")
"""Keys of `data` that a checkpoint knows."""


def read_config(values: Mapping[str, Any]) -> TrainConfig:
    """The config of plain values, in which the sizes and variants of the model, data.embedder,
    data.context_length and data.recipes may be null: as the checkpoint `load_ckpt_path` says, or
    that of the run itself where it goes on, since the one that it began from may have gone.

    InputError for a null without a checkpoint, and for a model or an embedder that is not the
    checkpoint's; whether a run that goes on is given its own is `rt.runs`' to say.
    """
    name = values.get("load_ckpt_path")
    if name is None:
        for group, keys in (("model", values["model"]), ("data", FED)):
            for key in keys:
                if values[group].get(key, "") is None:
                    raise InputError(
                        f"{group}.{key} is null, as the checkpoint says: give load_ckpt_path, or "
                        f"a value{' (model=small)' if group == 'model' else ''}"
                    )
        return from_dict(TrainConfig, values)
    folder = Path(values["trainer"]["run_dir"])
    goes_on = (folder / "latest").is_file()
    place = folder if goes_on else name
    sizes, settings = checkpoint.load_sizes(place), checkpoint.load_settings(place)
    sized = [key for key in values["model"] if key in sizes]
    model = _filled(values["model"], sizes, sized)
    data = _filled(values["data"], {"embedder": settings.embedder, **settings.context}, FED)
    config = from_dict(TrainConfig, {**values, "model": model, "data": data})
    if goes_on:
        return config
    for key in sized:
        if getattr(config.model, key) != sizes[key]:
            raise InputError(
                f"load_ckpt_path {name}: the model has {key} {sizes[key]}, not "
                f"{getattr(config.model, key)}: give model=checkpoint, which takes all from it"
            )
    if settings.embedder not in (None, config.data.embedder):
        raise InputError(
            f"load_ckpt_path {name}: the model was trained with the text embedder "
            f"{settings.embedder}, not {config.data.embedder}: give "
            f"data.embedder={settings.embedder}"
        )
    return config


def _filled(
    group: Mapping[str, Any], told: Mapping[str, Any], keys: Iterable[str]
) -> dict[str, Any]:
    """The group with what it leaves null taken from `told`; InputError if that does not say."""
    filled = dict(group)
    for key in keys:
        if filled.get(key, "") is None:
            filled[key] = told.get(key)
            if filled[key] is None:
                raise InputError(f"data.{key}: the checkpoint does not say: give a value")
    return filled


def run(config: TrainConfig, stop: list[str] | None = None) -> Path:
    """Train as the config says, alone or as one of torchrun's processes; the run's folder.

    SIGTERM, SIGINT and SIGUSR1 save a checkpoint and return; the names of those that came are left
    in `stop`, on every rank. Raises InputError for a config that does not fit the data, the machine
    or an earlier run in the same folder, for a loss that is not finite, and for a signal that comes
    while databases are made at the beginning, when there is nothing to save.
    """
    trainer = config.trainer
    told: list[str] = [] if stop is None else stop
    with (
        join_ranks(trainer.device, trainer.threads) as ranks,
        stop_signals(told),
        _stream(config, ranks, told) as stream,
    ):
        if ranks.device.type == "cpu":
            keep_freed_memory()
        Share(0, ranks.world_size, trainer.micro_batches).check(config.data.batch_size)
        folder = _run(config, ranks, stream, told)
        # also of a signal that came too late to stop the run: a sweep ends on every rank or on none
        told += ranks.others(told)
    return folder


def _stream(
    config: TrainConfig, ranks: Ranks, told: list[str]
) -> AbstractContextManager[DatabaseStream | None]:
    """The databases that are generated while the run trains, None if it trains on given ones."""
    data = config.data
    if data.generate is None or data.num_dbs is None:
        return nullcontext()
    return DatabaseStream(
        data.generate,
        num_dbs=data.num_dbs,
        heldout_dbs=data.heldout_dbs,
        embedder=data.embedder,
        folder=Path(config.trainer.run_dir) / DATABASES,
        ranks=ranks,
        stop=told,
    )


def _run(config: TrainConfig, ranks: Ranks, stream: DatabaseStream | None, told: list[str]) -> Path:
    """Begin, continue, or find finished the run in the config's folder, which is returned."""
    class_targets = config.model.class_targets
    if stream is None:
        corpus = open_corpus(config.data, class_targets, config.seed)
        names = corpus.names()
    else:
        names = stream.names()
    record = Run(Path(config.trainer.run_dir), to_dict(config), names)
    state = record.last_state()
    if state is not None and state["finished"] and record.complete:
        if ranks.is_main:
            early = ", stopped early" if state["stopped_early"] else ""
            print(f"{record.folder}: this run is finished after {state['step']} steps{early}")
        return record.folder
    if stream is not None:
        step = state["step"] if state is not None else 0
        if state is not None and state["finished"]:
            step -= 1  # only the summary is missing, no database of the next window
        if not stream.open(step):
            signal = (told or ["a signal to another rank"])[0]
            raise InputError(f"{signal} came while databases were made: start again to continue")
        corpus = open_stream(stream, step, config.data, class_targets, config.seed)
    _go_on(Trainer(config, corpus, ranks, record, state, stream), told)
    return record.folder


def _go_on(worker: Trainer, told: list[str]) -> None:
    """Train to the end, or until a signal is in `told`."""
    config, ranks, record = worker.config, worker.ranks, worker.run
    ranks.barrier()  # everyone has read the folder before the first one writes to it
    if ranks.is_main:
        # the checkpoint that it began from may have gone, or another may have its name by now
        began = record.start if worker.step else None
        record.begin(ranks.world_size, began or _start(config.load_ckpt_path), step=worker.step)
    if worker.train(told):
        scores = worker.final_scores()
        if ranks.is_main:
            record.finish(scores)


def _start(name: str | None) -> dict[str, Any] | None:
    """The checkpoint that a run starts from: its name and the hash of its parameters."""
    if name is None:
        return None
    place = checkpoint.resolve(name)
    digest = checkpoint.digest(place)
    return {"load_ckpt_path": name, "checkpoint": place.name, "sha256": digest}
