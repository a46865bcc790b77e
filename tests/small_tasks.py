"""Tasks made by hand for tests of what a model can learn: contexts written row by row, and a small
model trained on them in seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from random_contexts import no_classes

from rt.data import Batch
from rt.model import ModelConfig, RelationalTransformer

D_TEXT = 16


@dataclass
class Row:
    """cells: (column, value) each, all numbers; parents: positions of rows in the context; counts:
    (foreign key, children) each, keys named by the texts of columns; part, time, alike: of
    `row_part`, `row_time`, `row_alike`. The first cell of a context's first row is its target."""

    cells: Sequence[tuple[int, float]]
    parents: Sequence[int] = ()
    counts: Sequence[tuple[int, int]] = ()
    part: int = 0
    time: int = 0
    alike: float = -1.0


def arrays_of(contexts: Sequence[Sequence[Row]], num_columns: int) -> dict[str, NDArray[Any]]:
    """The contexts as the sampler would hand them out."""
    num_slots = max(sum(len(row.cells) for row in rows) for rows in contexts)
    shape = (len(contexts), num_slots)
    row, column = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    value = np.zeros(shape, np.float32)
    for b, rows in enumerate(contexts):
        cells = [(i, *cell) for i, r in enumerate(rows) for cell in r.cells]
        for array, values in zip((row, column, value), zip(*cells, strict=True), strict=True):
            array[b, : len(cells)] = values
    every = [r for rows in contexts for r in rows]
    parents = [list(r.parents) for r in every]
    is_target = np.zeros(shape, bool)
    is_target[:, 0] = True
    none, rows_of = np.zeros(len(contexts), np.int32), np.zeros(len(every), np.int32)
    embedding = np.random.default_rng(0).normal(size=(num_columns, D_TEXT))
    return {
        "row": row,
        "column": column,
        "semantic_type": np.zeros(shape, np.uint8),
        "value": value,
        "text": np.full(shape, -1, np.int32),
        "is_target": is_target,
        "is_padding": row < 0,
        "target_slot": none,
        "target_row": none.astype(np.uint32),
        "context_task": none,
        "context_store": none,
        "context_recipe": none,
        "context_row_ptr": np.append(0, np.cumsum([len(rows) for rows in contexts])),
        "row_number": rows_of.astype(np.uint32),
        "row_table": rows_of,
        "row_time": np.array([r.time for r in every], np.int64),
        "row_depth": rows_of,
        "row_part": np.array([r.part for r in every], np.uint8),
        "row_origin": rows_of - 1,
        "row_alike": np.array([r.alike for r in every], np.float32),
        "context_told": np.full(len(contexts), 0.5, np.float32),
        "parent_ptr": np.append(0, np.cumsum([len(p) for p in parents])).astype(np.int64),
        "parent": np.array([at for p in parents for at in p], np.int32),
        "column_text": np.arange(num_columns, dtype=np.int32),
        "column_number": np.arange(num_columns, dtype=np.int32),
        "column_store": np.zeros(num_columns, np.int32),
        "count_ptr": np.append(0, np.cumsum([len(r.counts) for r in every])).astype(np.int64),
        "count_key": np.array([key for r in every for key, _ in r.counts], np.int32),
        "count": np.array([count for r in every for _, count in r.counts], np.uint32),
        "key_text": np.arange(num_columns, dtype=np.int32),
        **no_classes(len(contexts)),
        "text_embedding": embedding.astype(np.float16),
    }


def config(**changes: Any) -> ModelConfig:
    """A model of one block of width 32."""
    sizes = {"num_blocks": 1, "d_model": 32, "num_heads": 4, "d_ff": 32, "d_text": D_TEXT}
    return ModelConfig.from_dict(sizes | changes)


def trained(
    config: ModelConfig, batches: Sequence[Batch], steps: int, lr: float = 1e-2, seed: int = 0
) -> RelationalTransformer:
    """A model trained on the batches in turn, the rate falling linearly."""
    torch.manual_seed(seed)
    model = RelationalTransformer(config)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        model.loss(batches[step % len(batches)]).backward()
        optimizer.step()
    return model


def unexplained(model: RelationalTransformer, batch: Batch) -> float:
    """The share of the targets' variance that the model leaves: 0 solved, 1 no better than the
    mean."""
    with torch.no_grad():
        found = model(batch).number[:, 0]
    truth = batch.target_value
    return float(((found - truth) ** 2).mean() / truth.var(correction=0))


def drawn(make: Callable[[np.random.Generator], list[Row]], seed: int, count: int) -> list:
    """`count` contexts drawn one after another."""
    rng = np.random.default_rng(seed)
    return [make(rng) for _ in range(count)]
