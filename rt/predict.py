"""Predictions on a database of one's own, from a checkpoint: `Predictor`.

    predictor = Predictor.from_pretrained("my-run/best")
    predictor.predict("data/raw/shop", "churn", [17, 23], at="2026-01-31")

The answers come from the model as it is, with the labels that are known by the rows' times in its
contexts, or from a head fitted on the frozen model (`fit_head`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from plurel.errors import InputError
from rt.asked import SOURCE_KEY, Entities, RowKeys, frame_of, new_rows
from rt.asked_times import check_known, last_time, seconds
from rt.data import Batch
from rt.explain import BY, By, averaged, chunks, explanation, parts_of, without
from rt.heads import Floats, Head, Kind, Labelled, different, fit_head
from rt.memory import cells_at_a_time
from rt.meta import META
from rt.model import RelationalTransformer
from rt.opened import Opened, open_task
from rt.parted_keys import parted_keys
from rt.precision import Device, Precision, autocast, choose, choose_device
from rt.predictions import Answer, Contexts, ContextSettings, NewRows, of_contexts
from rt.recipes import facts_of
from rt.scores import Protocol
from rt.shipped import DEFAULT
from rt.tasks import Split

MOST_KEPT = 4
"""Tasks whose contexts a predictor keeps open."""
Rows = NDArray[np.uint32] | NewRows
PROBABILITY = "probability of "


class Predictor:
    """A model, how its contexts are sampled, and where the stores of databases are made (None:
    `plurel.paths.pre_dir()`)."""

    def __init__(
        self,
        model: RelationalTransformer,
        settings: ContextSettings,
        pre_dir: str | Path | None = None,
    ) -> None:
        self.model, self.settings, self.pre_dir = model.eval(), settings, pre_dir
        self._kept: dict[str, Contexts] = {}

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path = DEFAULT,
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        context_length: int | None = None,
        recipe: str | None = None,
        embedder: str | None = None,
        num_threads: int = 1,
        pre_dir: str | Path | None = None,
    ) -> "Predictor":
        """The model of a checkpoint (a path, a `.pt` file, OWNER/NAME of the Hub), or the one that
        comes with the package (`rt.shipped`). Contexts are those that it was trained with, unless
        their length or recipe is given."""
        model = RelationalTransformer.from_pretrained(checkpoint)
        place = choose_device(device)
        bf16 = choose(precision, place) == "bf16"
        settings = ContextSettings.of(
            model.settings, embedder=embedder, context_length=context_length, recipe=recipe,
            num_threads=num_threads, precision="bf16" if bf16 else "fp32",
        )  # fmt: skip
        size = max(1, cells_at_a_time(model.config, place) // settings.context_length)
        return cls(model.to(place), replace(settings, batch_size=size), pre_dir)

    def predict(
        self,
        database: str | Path,
        task: str,
        rows: Any = None,
        *,
        at: Any = None,
        key: str | None = None,
        split: Split = "test",
        protocol: Protocol = "rolling",
        num_contexts: int = 1,
        seed: int = 0,
        head: Head | None = None,
        show_progress: bool = True,
    ) -> pd.DataFrame:
        """The predictions for rows of a task, in their order.

        database: a folder in RelBench's format; its store is made where it is not there yet
        (`rt.sources`). rows: keys of the task's entities, or a frame with the column of keys and,
        for tasks with times, the column of times; None: the label rows of `split`. at: the time of
        all rows, None: that of the frame, or else the last time in the database. key: the column of
        the entities' table whose values name them, or `original`, the keys that they had before an
        import numbered them (of several parts: `rt.parted_keys`); None: its primary key, or these
        if they are texts of one part. protocol: what may
        be known (`rt.scores`). num_contexts: contexts of each row, whose predictions are averaged.

        A frame with the keys and times and a column `prediction`: the probability of a binary
        task's true, the value on the original scale of a regression, or the likeliest class, beside
        `probability of <class>` of each. Raises InputError for tables, tasks, keys and times that
        are not there, for entities whose own time is later, and for times before all others."""
        opened = self._open(database, task, show_progress)
        answer = self._answer(opened, head)
        asked, which = self._rows(opened, (rows, at, split), key)
        settings: dict[str, Any] = {
            "settings": self.settings, "protocol": protocol, "seed": seed,
            "num_contexts": num_contexts, "progress": opened.name if show_progress else None,
        }  # fmt: skip
        classes = [name for name, _ in opened.task.classes] if head is None else head.classes
        found = self._of_contexts(answer, opened, which, len(classes) or 1, settings)
        return _answers(asked, found, tuple(classes))

    def asked(
        self,
        database: str | Path,
        task: str,
        rows: Any = None,
        *,
        at: Any = None,
        key: str | None = None,
        split: Split = "test",
        show_progress: bool = True,
    ) -> pd.DataFrame:
        """The keys and times of the rows that `predict` would answer for, without the answers;
        InputError, as there, for what is not there."""
        opened = self._open(database, task, show_progress)
        return self._rows(opened, (rows, at, split), key)[0]

    def fit_head(
        self,
        database: str | Path,
        task: str,
        *,
        num_rows: int = 2000,
        seed: int = 0,
        show_progress: bool = True,
    ) -> Head:
        """A head for a task, fitted on at most num_rows of its train rows; the penalty is chosen on
        at most as many validation rows. Test rows take no part. Raises InputError as `predict`
        does, and for train labels that are all equal."""
        opened, parts = self._open(database, task, show_progress), []
        relbench_task = opened.relbench_task()
        splits: tuple[Split, ...] = ("train", "val")
        for split in splits:
            rows, labels = opened.labelled(relbench_task, split, num_rows, seed)
            if split == "train":
                different(opened.name, labels)  # before the vectors, which take minutes
            settings = {
                "settings": self.settings, "protocol": "rolling", "seed": seed,
                "progress": f"{opened.name}, {split}" if show_progress else None,
            }  # fmt: skip
            width = self.model.vector_width
            vectors = self._of_contexts(self._vectors, opened, rows, width, settings)
            parts.append(Labelled(vectors, labels))
        kind: Kind = opened.task.task_type  # type: ignore[assignment]
        head = fit_head(opened.name, kind, *parts)
        return replace(head, model=self._fingerprint(), contexts=self._contexts())

    def explain(
        self,
        database: str | Path,
        task: str,
        row: Any,
        *,
        at: Any = None,
        key: str | None = None,
        by: By = "column",
        num_contexts: int = 4,
        seed: int = 0,
        head: Head | None = None,
    ) -> pd.DataFrame:
        """What the prediction for one row, named as in `predict`, owes to the tables, columns or
        rows of its contexts (`rt.explain`): a frame of part, cells, `without` (the prediction
        without it), `effect` (the prediction less that) and contexts (those that have the part),
        means over `num_contexts` contexts, the largest effects first. Of a task with classes it is
        the probability of the likeliest; head: as in `predict`. Rows are called by their primary
        keys, or by those of the source where the row is asked for by its own.
        """
        if by not in BY:
            raise InputError(f"by must be {', '.join(BY)}, not {by!r}")
        if num_contexts < 1:
            raise InputError(f"num_contexts must be 1 or more, not {num_contexts}")
        opened = self._open(database, task)
        meta, found = opened.meta, opened.task
        answer = self._answer(opened, head)
        asked, rows = self._rows(opened, (row, at, "test"), key)
        if len(rows) != 1:
            raise InputError(f"explain is for one row, not {len(rows)}")
        sample = self._contexts_of(opened)
        keys = _names_of(opened, asked, key)
        contexts = [
            sample.arrays(found, rows, None, seed + number) for number in range(num_contexts)
        ]
        wholes = [answer(Batch.from_arrays(arrays)) for arrays in contexts]
        likeliest = int(torch.cat(wholes).mean(0).argmax())  # one class for all contexts
        frames = []
        for arrays, whole in zip(contexts, wholes, strict=True):
            parts = parts_of(arrays, meta, by, keys)
            ablated = [
                answer(Batch.from_arrays(without(arrays, some)))[:, likeliest]
                for some in chunks(parts, self.settings.batch_size)
            ]
            if parts:
                values = torch.cat(ablated).tolist()
                frames.append(explanation(parts, float(whole[0, likeliest]), values))
        if not frames:
            raise InputError(f"task {task}: the row's context holds nothing but the target")
        return averaged(frames)

    def _open(self, database: str | Path, task: str, show_progress: bool = True) -> Opened:
        """The database, made ready, and its task."""
        return open_task(database, task, self.settings.embedder, self.pre_dir, show_progress)

    def _rows(
        self, opened: Opened, given: tuple[Any, Any, Split], named_by: str | None
    ) -> tuple[pd.DataFrame, Rows]:
        """What is asked, as a frame, and the rows that it means."""
        (rows, at, split), meta, task = given, opened.meta, opened.task
        time = None if task.kind == "autocomplete" else meta.tables[task.table].time_column
        if at is not None and (rows is None or time is None):
            raise InputError(
                f"task {task.name}: at is the time of named rows of a task with times; "
                + ("name rows" if rows is None else "here each row has its own, leave it out")
            )
        if rows is None:
            table, found, target = opened.label_rows(opened.relbench_task(), split)
            return table.drop(columns=target), found
        if at is None and time and not (isinstance(rows, pd.DataFrame) and time in rows):
            last = last_time(opened.store)
            at = None if last is None else pd.Timestamp(last, unit="s")
        asked, entity = self._entities(opened, (rows, at), time, named_by)
        if task.kind == "autocomplete":
            return asked, entity
        if time is None:
            return asked, new_rows(meta, task, entity, np.zeros(0, np.int64))
        times = seconds(asked[time], f"task {task.name}: {time}")
        check_known(opened.store, meta, task, asked, times, entity)
        return asked, new_rows(meta, task, entity, times)

    def _entities(
        self, opened: Opened, given: tuple[Any, Any], time: str | None, named_by: str | None
    ) -> tuple[pd.DataFrame, NDArray[np.uint32]]:
        """What is asked, as a frame of keys and times, and the rows of the keys."""
        (rows, at), task = given, opened.task
        place = opened.raw, opened.store, opened.meta, str(task.entity_table)
        parted = parted_keys(*place) if named_by == SOURCE_KEY else None
        if parted is not None:
            asked = parted.typed(frame_of(parted.frame(rows), task, time, at, parted.names))
            return asked, parted.rows(asked)
        entities = Entities(*place, named_by)
        key = str(task.entity_column or entities.key or "position")
        if named_by not in (None, SOURCE_KEY):
            key = str(named_by)
        asked = frame_of(rows, task, time, at, [key])
        asked[key] = entities.typed(asked[key])
        return asked, entities.rows(asked[key])

    def _fingerprint(self) -> str:
        """Of the model's parameters."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            flat = value.detach().cpu().reshape(-1).contiguous()  # a scalar has no bytes to view
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _contexts(self) -> dict[str, Any]:
        """What vectors depend on beside the model."""
        return facts_of(self.settings.context_length, self.settings.recipe)

    def _answer(self, opened: Opened, head: Head | None) -> Callable[[Batch], torch.Tensor]:
        """What the model, or a head, says of a batch: f64[B, C]."""
        if head is None:
            return Answer(self.model, opened.meta, opened.task, self.settings.precision)
        task = opened.task
        head.check(task.name, task.task_type, self._fingerprint(), self._contexts())

        def answer(batch: Batch) -> torch.Tensor:
            found = head(self._vectors(batch).numpy())
            return torch.from_numpy(found).view(batch.num_contexts, -1)

        return answer

    def _vectors(self, batch: Batch) -> torch.Tensor:
        """f64[B, F]: of the contexts' targets, before the model's own heads."""
        device = next(self.model.parameters()).device
        with torch.no_grad(), autocast(device, self.settings.precision):
            return self.model.vectors(batch.to(device)).double().cpu()

    def _of_contexts(
        self,
        function: Callable[[Batch], torch.Tensor],
        opened: Opened,
        rows: Rows,
        width: int,
        settings: dict[str, Any],
    ) -> Floats:
        """f64[N, width]: what a function says of the rows' contexts."""
        return of_contexts(
            function, opened.store, opened.task, rows, width=width,
            contexts=self._contexts_of(opened), **settings,
        )  # fmt: skip

    def _contexts_of(self, opened: Opened) -> Contexts:
        """Those of the last tasks that were asked for are kept: the first context of a task takes
        a second."""
        # a store that was made anew is another one
        made = (opened.store / META).stat()
        key = f"{opened.store} {made.st_ino} {made.st_mtime_ns} {self.settings} {opened.task}"
        found = self._kept.pop(key, None) or Contexts(
            opened.store, [opened.task], self.settings, self.model.config.child_counts
        )
        self._kept[key] = found
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return found


def _names_of(opened: Opened, asked: pd.DataFrame, named_by: str | None) -> RowKeys:
    """What rows are called: as the one that is asked for."""
    texts = pd.api.types.infer_dtype(asked.iloc[:, 0]) == "string"
    original = named_by == SOURCE_KEY or (named_by is None and texts)
    return RowKeys(opened.raw, opened.store, opened.meta, original=original)


def _answers(asked: pd.DataFrame, found: Floats, classes: tuple[str, ...]) -> pd.DataFrame:
    """The rows with what is predicted of them, f64[N, C]."""
    if not classes:
        return asked.assign(prediction=found[:, 0])
    likeliest = np.array(classes, dtype=object)[found.argmax(1)]
    named = {f"{PROBABILITY}{name}": found[:, i] for i, name in enumerate(classes)}
    return asked.assign(prediction=likeliest, **named)
