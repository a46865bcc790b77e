"""One context in words: its rows, why each of them is there, its cells as people read them, and
what is left out. `rt.viz_text`, `rt.viz_png` and `rt.viz_html` show it; `rt.viz_masks` shows which
cells attend to which."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

import rustler
from plurel.errors import InputError
from rt.meta import NO_TIME, StoreMeta, open_meta
from rt.predictions import cutoff_of
from rt.recipes import PRESETS, Recipe, named
from rt.scores import Protocol
from rt.store import read_arrays, read_texts
from rt.tasks import TASK_TYPES, Task, column_tasks, load_tasks, to_sampler
from rt.text import DEFAULT_EMBEDDER
from rt.viz_why import Graph, Rows, absent, reasons


@dataclass(frozen=True)
class Cell:
    """One cell as people read it; `row` is the row's position in the context. is_label: a known
    label of another row."""

    row: int
    column: str
    value: str
    is_target: bool
    is_label: bool = False


@dataclass(frozen=True)
class Context:
    """One context in words. Per row: table, time ("" for none), depth, parents' positions, part (of
    `rustler.PARTS`) and the reason why it is there. about: lines that say what it is a context of;
    absent: what is not in it."""

    tables: list[str]
    times: list[str]
    depths: NDArray[np.int64]
    parents: list[NDArray[np.int64]]
    parts: list[str]
    reasons: list[str]
    cells: list[Cell]
    target: int
    """Position of the target's row."""
    about: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """Whose context: target `number` of a split of a task, and how it is made (recipe: a name in
    `rt.recipes.PRESETS`). Contexts of training targets are `rolling` whatever the protocol."""

    task: str
    split: str = "test"
    number: int = 0
    recipe: str = "published"
    protocol: Protocol = "split"
    context_length: int = 256
    embedder: str = DEFAULT_EMBEDDER


@dataclass(frozen=True)
class Sampled:
    """A context as `rustler.Sampler.contexts` gives it, and how it was made."""

    arrays: Mapping[str, NDArray[Any]]
    task: Task
    recipe: Recipe
    protocol: Protocol
    cutoff: int | None


def sample_context(store_folder: str | Path, asked: Asked) -> Context:
    """The context that is asked for in words; InputError as in `sample`."""
    return in_words(store_folder, asked, sample(store_folder, asked))


def sample(store_folder: str | Path, asked: Asked) -> Sampled:
    """Draw the context that is asked for, as a prediction with this recipe would see it.

    InputError for an unknown task or recipe, and for a target that the split lacks.
    """
    meta = open_meta(store_folder)
    task = _find_task(store_folder, meta, asked.task)
    start, end = task.splits[asked.split]
    if not 0 <= asked.number < end - start:
        raise InputError(
            f"target {asked.number}: split {asked.split} of {task.name} has {end - start} targets, "
            "numbered from 0"
        )
    if asked.recipe not in PRESETS:
        raise InputError(f"no recipe '{asked.recipe}'; there are: {', '.join(PRESETS)}")
    recipe = named(asked.recipe)
    rows = np.array([start + asked.number], dtype=np.uint32)
    sampler = rustler.Sampler(
        [store_folder],
        [to_sampler(task, 0)],
        embedder=asked.embedder,
        context_length=asked.context_length,
        batch_size=1,
        recipes=[recipe.to_sampler(asked.recipe)],
    )
    protocol: Protocol = "rolling" if asked.split == "train" else asked.protocol
    cutoff = cutoff_of(meta, task, rows, protocol)
    return Sampled(sampler.contexts(0, rows, cutoff=cutoff), task, recipe, protocol, cutoff)


def in_words(store_folder: str | Path, asked: Asked, sampled: Sampled) -> Context:
    """A context that was drawn, with lines that say whose it is."""
    task, recipe = sampled.task, sampled.recipe
    seen = read_context(
        sampled.arrays, store_folder, task,
        cutoff=sampled.cutoff, order=recipe.other_order[0] if recipe.with_labels else None,
    )  # fmt: skip
    name = open_meta(store_folder).name
    length = f"{len(seen.cells)} cells of at most {asked.context_length}"
    title = f"{name}: task {task.name}, target {asked.number} of split {asked.split}"
    made = f"recipe {asked.recipe}, protocol {sampled.protocol}: {len(seen.tables)} rows, {length}"
    return Context(**vars(seen) | {"about": (title, *seen.about, made)})


def read_context(
    arrays: Mapping[str, NDArray[Any]],
    store_folder: str | Path,
    task: Task,
    *,
    context: int = 0,
    cutoff: int | None = None,
    order: str | None = "recency",
) -> Context:
    """Context number `context` of the arrays of `rustler.Sampler.contexts`, its texts and original
    values read from the store. Targets have the value "?". order: in which label rows of others
    came; None where the recipe hides all labels."""
    if not 0 <= context < len(arrays["row"]):
        raise InputError(f"context {context} is not among the {len(arrays['row'])} of this batch")
    meta = open_meta(store_folder)
    graph = Graph(meta, read_arrays(store_folder))
    first, last = map(int, arrays["context_row_ptr"][context : context + 2])
    rows = Rows(
        *(arrays[f"row_{name}"][first:last] for name in ("number", "time", "part", "origin"))
    )
    style = _style(rows.time)
    pointers = arrays["parent_ptr"][first : last + 1]
    return Context(
        tables=[meta.tables[number].name for number in arrays["row_table"][first:last]],
        times=[time_text(seconds, style) for seconds in rows.time],
        depths=arrays["row_depth"][first:last].astype(np.int64),
        parents=[arrays["parent"][a:b].astype(np.int64) for a, b in pairwise(pointers)],
        parts=[rustler.PARTS[part] for part in rows.part],
        reasons=reasons(rows, graph, task, order),
        cells=_cells(arrays, graph, read_texts(store_folder), context, (task.column, style)),
        target=int(arrays["row"][context, arrays["target_slot"][context]]),
        about=(_bound(meta, task, int(rows.time[0]), cutoff),),
        absent=absent(rows, graph, task, cutoff, labels=order is not None),
    )


def time_text(seconds: int, style: str) -> str:
    """A time in words, "" for none."""
    return "" if seconds == NO_TIME else pd.Timestamp(int(seconds), unit="s").strftime(style)


def _style(times: NDArray[np.int64]) -> str:
    # a picture of days has no need of hours
    days = (times[times != NO_TIME] % 86_400 == 0).all()
    return "%Y-%m-%d" if days else "%Y-%m-%d %H:%M"


def _find_task(store: str | Path, meta: StoreMeta, name: str) -> Task:
    """A task of the store, or "<table>.<column>" of a number or boolean column."""
    columns = {task.name: task for task in column_tasks(meta)}
    if name in columns and all(entry["name"] != name for entry in meta.tasks):
        return columns[name]
    try:
        return load_tasks(store, [name], (*TASK_TYPES, "multiclass_classification"))[0]
    except InputError as error:
        if not columns:
            raise
        raise InputError(f"{error}; a column is a task too, such as {min(columns)}") from None


def _bound(meta: StoreMeta, task: Task, time: int, cutoff: int | None) -> str:
    """What is predicted, of when, and up to when the target sees."""
    column = meta.columns[task.column]
    asked = f"predicts {meta.tables[task.table].name}.{column.name}"
    times = np.array([time, NO_TIME if cutoff is None else cutoff])
    at, end = (time_text(seconds, _style(times)) for seconds in times)
    if time == NO_TIME:
        asked += " of a row without a time"
        return f"{asked}; nothing after {end} is visible" if end else asked
    if cutoff is None or cutoff >= time:
        return f"{asked} as of {at}; nothing later is visible"
    return f"{asked} as of {at}; nothing after {end}, when the split begins, is visible"


def _cells(
    arrays: Mapping[str, NDArray[Any]],
    graph: Graph,
    texts: pa.ChunkedArray,
    context: int,
    label: tuple[int, str],
) -> list[Cell]:
    """label: the number of the target's column, and the style of times. A batch holds the
    embeddings of texts only."""
    meta = graph.meta
    target_column, style = label
    first = int(arrays["context_row_ptr"][context])
    cells = []
    for slot in np.flatnonzero(~arrays["is_padding"][context]):
        row = int(arrays["row"][context, slot])
        number = int(arrays["column_number"][arrays["column"][context, slot]])
        column = meta.columns[number]
        is_target = bool(arrays["is_target"][context, slot])
        if is_target:
            value = "?"
        elif column.type == "text":
            stored = graph.arrays.cells_of(int(arrays["row_number"][first + row]))
            value = str(texts[stored[number]].as_py())
        else:
            normalised = float(arrays["value"][context, slot])
            original = normalised * column.std + column.mean
            if column.type == "boolean":
                value = "true" if normalised > 0 else "false"
            elif column.type == "datetime":
                known = int(arrays["row_time"][first + row])
                value = time_text(_near(original, known, column.std), style)
            else:
                # the last digits are those of float32
                digits = 5 - math.floor(math.log10(column.std))
                value = f"{round(original, digits) + 0.0:.6g}"
        is_label = number == target_column and not is_target
        cells.append(Cell(row, column.name, value, is_target, is_label))
    return cells


def _near(seconds: float, row_time: int, std: float) -> int:
    """A time from its normalised float32, which is off by seconds: the row's own or a midnight
    where it may be one, else the nearest minute."""
    tolerance = max(60.0, 5e-7 * std)
    for time in (row_time, round(seconds / 86_400) * 86_400):
        if abs(seconds - time) < tolerance:
            return time
    return round(seconds / 60) * 60
