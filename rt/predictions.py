"""Predictions of a model for rows of a task: contexts from the store, one forward pass a batch.

The context of a row is a function of the store, the settings, the protocol, the seed and the row
alone, so a prediction does not depend on which other rows are asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import rustler
from plurel.errors import InputError
from rt.data import BOOLEAN, DATETIME, TEXT, Batch
from rt.embedding_file import check_fingerprint
from rt.losses import class_probabilities
from rt.meta import SEMANTIC_TYPES, StoreMeta, open_meta
from rt.model import RelationalTransformer
from rt.precision import autocast
from rt.ranks import Ranks
from rt.recipes import Recipe, context_of
from rt.scores import PROTOCOLS, Protocol
from rt.settings import Settings
from rt.tasks import Task, to_sampler
from rt.text import HUB_EMBEDDER

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ContextSettings:
    """How contexts are sampled (see `rustler.Sampler`) and passed to the model.

    fingerprint: of the embedder that the model was trained with (see `rt.embedding_file`), None if
    it is unknown.
    batch_size: contexts of one forward pass. precision: of the forward pass. Neither batch_size
    nor num_threads changes a prediction beyond rounding.
    """

    embedder: str
    context_length: int = 1024
    recipe: Recipe = field(default_factory=Recipe)
    batch_size: int = 32
    num_threads: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        for name in ("context_length", "batch_size", "num_threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.precision not in ("fp32", "bf16"):
            raise InputError(f"precision must be fp32 or bf16, not {self.precision!r}")

    @classmethod
    def of(
        cls,
        trained: Settings,
        *,
        embedder: str | None = None,
        context_length: int | None = None,
        recipe: str | None = None,
        **passes: Any,
    ) -> "ContextSettings":
        """Contexts as a model was trained with (its `settings`), where nothing else is given.
        passes: batch_size, num_threads, precision. InputError if nobody names the embedder."""
        embedder = embedder or trained.embedder
        if embedder is None:
            raise InputError(
                "the model does not say which text embedder it was trained with: give "
                f"embedder=NAME, or the option --embedder NAME ({HUB_EMBEDDER} for the published "
                ".pt files)"
            )
        length, chosen = context_of(trained.context, context_length, recipe)
        return cls(embedder, length, chosen, fingerprint=trained.fingerprint, **passes)


@dataclass(frozen=True)
class NewRows:
    """N label rows that the store lacks: an entity each, a row of the store (u32[N]), the time in
    seconds (i64[N], `rustler.NO_TIME` for none) and its normalised value (f32[N], NaN for none)."""

    entity: NDArray[np.uint32]
    time: NDArray[np.int64]
    time_value: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.entity)

    def __getitem__(self, part: slice) -> "NewRows":
        return NewRows(self.entity[part], self.time[part], self.time_value[part])


def predict(
    model: RelationalTransformer,
    store_folder: str | Path,
    task: Task,
    rows: NDArray[np.integer] | NewRows,
    *,
    settings: ContextSettings,
    protocol: Protocol = "split",
    seed: int = 0,
    progress: str | None = "predict",
    ranks: Ranks | None = None,
    num_contexts: int = 1,
    contexts: "Contexts | None" = None,
) -> NDArray[np.float64]:
    """f64[N]: a prediction for each of the N rows, in their order: rows of the store that are of
    the task's table, or new ones. For a binary task the probability of true, for a regression the
    value on the original scale. For a task with C classes, which a model with the variant
    `class_targets` predicts, f64[N, C]: the probability of each, in the order of `task.classes`.

    protocol: `split`, nothing after the timestamp that opens the rows' split is visible (all rows
    from one split; new rows are test rows); `rolling`, everything known by a row's own time is.
    progress: what the progress display is called, None for none. num_contexts: contexts of each
    row, of the seeds from `seed` on, whose predictions are averaged. contexts: of these settings,
    opened before.
    Raises InputError for rows outside the task's splits, for targets that are texts or times, and
    for a store whose texts were embedded by another model than the one trained with.
    """
    answer = Answer(model, open_meta(store_folder), task, settings.precision)
    found = of_contexts(
        answer, store_folder, task, rows, settings=settings, protocol=protocol, seed=seed,
        progress=progress, ranks=ranks, child_counts=model.config.child_counts,
        width=len(task.classes) or 1, num_contexts=num_contexts, contexts=contexts,
    )  # fmt: skip
    return found if task.classes else found[:, 0]


class Answer:
    """What a model says of a task's targets."""

    def __init__(
        self, model: RelationalTransformer, meta: StoreMeta, task: Task, precision: str
    ) -> None:
        self.model, self.precision = model, precision
        self._to_scale = _scale(meta, task, model.config.class_targets)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """f64[B, C]: probabilities, or values on the original scale; C is 1 but for classes."""
        found = self._to_scale(_target_outputs(self.model, batch, self.precision))
        return torch.from_numpy(found).view(batch.num_contexts, -1)


class Contexts:
    """Contexts of given rows of tasks of a store, as a model was trained with. To be kept for as
    long as more are asked for: what a task's labels tell is found out with its first context."""

    def __init__(
        self,
        store_folder: str | Path,
        tasks: Sequence[Task],
        settings: ContextSettings,
        child_counts: bool,
    ) -> None:
        check_fingerprint(store_folder, settings.embedder, settings.fingerprint)
        self._number = {task.name: number for number, task in enumerate(tasks)}
        self._sampler = rustler.Sampler(
            [store_folder],
            [to_sampler(task, 0) for task in tasks],
            embedder=settings.embedder,
            context_length=settings.context_length,
            # one that training leaves out may be for predictions alone
            recipes=[replace(settings.recipe, weight=1.0).to_sampler("recipe")],
            num_threads=settings.num_threads,
            child_counts=child_counts,
        )

    def arrays(
        self, task: Task, rows: NDArray[np.uint32] | NewRows, cutoff: int | None, seed: int
    ) -> dict[str, NDArray[Any]]:
        """The arrays of `rustler.Sampler.contexts` for rows of the store, or new ones."""
        number = self._number[task.name]
        if isinstance(rows, NewRows):
            given = rows.entity, rows.time, rows.time_value
            return self._sampler.new_contexts(number, *given, cutoff=cutoff, seed=seed)
        return self._sampler.contexts(number, rows, cutoff=cutoff, seed=seed)


def of_contexts(
    function: Callable[[Batch], torch.Tensor],
    store_folder: str | Path,
    task: Task,
    rows: NDArray[np.integer] | NewRows,
    *,
    settings: ContextSettings,
    protocol: Protocol,
    width: int,
    seed: int = 0,
    progress: str | None = None,
    ranks: Ranks | None = None,
    child_counts: bool = False,
    num_contexts: int = 1,
    contexts: Contexts | None = None,
) -> NDArray[np.float64]:
    """f64[N, width]: what a function gives for the context of each row, f64[B, width] of a batch;
    the other arguments are `predict`'s. InputError for fewer than one context a row."""
    if num_contexts < 1:
        raise InputError(f"num_contexts must be 1 or more, not {num_contexts}")
    cutoff = cutoff_of(open_meta(store_folder), task, rows, protocol)
    sample = contexts or Contexts(store_folder, [task], settings, child_counts)
    ranks, size = ranks or Ranks(), settings.batch_size
    if not isinstance(rows, NewRows):
        rows = np.asarray(rows, dtype=np.uint32)

    def batch_of(asked: tuple[NDArray[np.uint32] | NewRows, int]) -> Batch:
        return Batch.from_arrays(sample.arrays(task, asked[0], cutoff, asked[1]))

    turns = ranks.turns(-(-len(rows) // size)) * num_contexts
    seeds = np.repeat(seed + np.arange(num_contexts), len(turns) // num_contexts).tolist()
    asked = [
        (rows[number * size : (number + 1) * size], own)
        for (number, _), own in zip(turns, seeds, strict=True)
    ]
    found, total = torch.zeros(len(rows), width, dtype=torch.float64), num_contexts * len(rows)
    with tqdm(total=total, desc=progress, unit="ctx", disable=progress is None) as bar:
        for (number, counts), batch in zip(turns, _ahead(batch_of, asked), strict=True):
            part = function(batch).view(-1, width)
            if counts:
                found[number * size : number * size + len(part)] += part
            bar.update(min(ranks.world_size * size, total - bar.n))
    return ranks.total(found).numpy() / num_contexts


def cutoff_of(
    meta: StoreMeta, task: Task, rows: NDArray[np.integer] | NewRows, protocol: Protocol
) -> int | None:
    """The time, in seconds, after which nothing is visible for `rows`; None for `rolling`."""
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if isinstance(rows, NewRows):
        return None if protocol == "rolling" else meta.test_timestamp
    found = set()
    for name in SPLITS:
        start, end = task.splits[name]
        inside = (rows >= start) & (rows < end)
        if inside.any():
            found.add(name)
        rows = rows[~inside]
    if len(rows):
        raise InputError(
            f"task {task.name}: row {rows[0]} is in none of the task's splits; choose others"
        )
    if protocol == "rolling":
        return None
    if len(found) > 1:
        raise InputError(
            f"task {task.name}: rows of {' and '.join(sorted(found))} have different cutoffs under "
            "the protocol split; predict one split at a time"
        )
    return meta.test_timestamp if "test" in found else meta.val_timestamp


def _scale(
    meta: StoreMeta, task: Task, class_targets: bool
) -> Callable[[torch.Tensor], NDArray[np.float64]]:
    """What turns the head's output into a probability or a value on the original scale."""
    column = meta.columns[task.column]
    kind = SEMANTIC_TYPES.index(column.type)
    if kind == TEXT and class_targets and task.classes:
        return lambda probability: probability.numpy()
    if kind in (TEXT, DATETIME):
        raise InputError(
            f"task {task.name}: predictions of {column.type} columns are not possible; choose a "
            "task with a number or a boolean, or for one with classes fit a head (--fit_head of "
            "scripts/predict.py, Predictor.fit_head) or take a model with class_targets"
        )

    def to_scale(output: torch.Tensor) -> NDArray[np.float64]:
        if kind == BOOLEAN:
            return torch.sigmoid(output).numpy()
        value = output.numpy() * column.std + column.mean
        return value.clip(0, 1) if task.task_type == "binary_classification" else value

    return to_scale


def _target_outputs(model: RelationalTransformer, batch: Batch, precision: str) -> torch.Tensor:
    """f64[B] on the CPU: the outputs at the contexts' own targets, by the head of their type; of
    texts the probabilities of classes, f64[B, C]."""
    device = next(model.parameters()).device
    kind = int(batch.target_type[0])
    slot = batch.target_slot.long()[:, None].to(device)
    training = model.training
    model.eval()
    with torch.no_grad(), autocast(device, precision):
        batch = batch.to(device)
        outputs = model(batch, targets_only=True)
        if kind == TEXT:
            found = class_probabilities(outputs, batch)
        else:
            found = outputs.of_type(kind).gather(1, slot)[:, 0]
    model.train(training)
    return found.double().cpu()


def _ahead(make: Callable[[Any], Batch], chunks: Sequence[Any]) -> Iterator[Batch]:
    """make(chunk) for each chunk, in order, one prepared while the caller works on the last."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(make, chunk) for chunk in chunks[:1]]
        for chunk in [*chunks[1:], None]:
            if not pending:
                return
            ready = pending.pop().result()
            if chunk is not None:
                pending.append(pool.submit(make, chunk))
            yield ready
