"""Batches: the sampler's arrays as tensors, with the attention plan.

`Batch` names every array of `rustler.Sampler.contexts`; `Batch.from_arrays` turns the numpy dict
into tensors and builds the attention plan. Both happen in the loader's workers, so that the
training process waits for neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plurel.errors import InputError
from rt.plan import Plan, build_plan

NUMBER, TEXT, DATETIME, BOOLEAN = range(4)
"""Semantic types of cells, as in `rustler.SEMANTIC_TYPES`."""

# torch computes little on unsigned integers; the largest, a row number of 32 bits, needs int64
_WIDER = {np.dtype(np.uint32): np.dtype(np.int64), np.dtype(np.uint8): np.dtype(np.int64)}


@dataclass(frozen=True)
class Batch:
    """B contexts of S slots: cells, then contexts, rows (n in all), columns (K) and texts (U).

    row i32[B, S]: position of the cell's row within its context, -1 padding;
    column i32[B, S]: number in the batch's column table, -1 padding;
    semantic_type i64[B, S]; value f32[B, S]: normalised, 0 for text and padding;
    text i32[B, S]: index into text_embedding for text cells, else -1;
    is_target, is_padding bool[B, S];
    target_slot i32[B]: slot of the context's own target; target_row i64[B]: its row in the store;
    context_task, context_store, context_recipe i32[B];
    context_classes i32[B]: number of the list of classes of the context's task, -1 for none; list l
    is class_text[class_ptr[l]:class_ptr[l+1]], texts: class_ptr i64[L + 1], class_text i32;
    context_row_ptr i64[B + 1]: rows of context b are [ptr[b], ptr[b+1]) of the row arrays:
    row_number i64[n] (in the store), row_table i32[n], row_time i64[n], row_depth i32[n],
    row_part i64[n]: why the row is there, an index into `rustler.PARTS`; row_origin i32[n]:
    position within the context of the row that it was reached from, -1 for none;
    row_alike f32[n]: of rows in the parts of labels how much they are like the target, 0 to 1, of
    others -1; context_told f32[B]: how much of the training labels the most telling column
    explains (`rustler.Sampler.contexts`);
    parent_ptr i64[n + 1], parent i32: positions within the context of the row's parents;
    column_text i32[K]: the text that names the column, column_number i32[K] (in the store's
    meta.json), column_store i32[K];
    count_ptr i64[n + 1], count_key i32, count i64: by which foreign keys (numbers in the batch)
    each row has visible children, and how many in the store; key_text i32: the text that names
    each such key; all four are empty if the sampler did not count;
    text_embedding f16[U, d_text]: each text of the batch once;
    plan: who attends to whom.
    """

    row: Tensor
    column: Tensor
    semantic_type: Tensor
    value: Tensor
    text: Tensor
    is_target: Tensor
    is_padding: Tensor
    target_slot: Tensor
    target_row: Tensor
    context_task: Tensor
    context_store: Tensor
    context_recipe: Tensor
    context_classes: Tensor
    context_told: Tensor
    context_row_ptr: Tensor
    row_number: Tensor
    row_table: Tensor
    row_time: Tensor
    row_depth: Tensor
    row_part: Tensor
    row_origin: Tensor
    row_alike: Tensor
    parent_ptr: Tensor
    parent: Tensor
    column_text: Tensor
    column_number: Tensor
    column_store: Tensor
    count_ptr: Tensor
    count_key: Tensor
    count: Tensor
    key_text: Tensor
    class_ptr: Tensor
    class_text: Tensor
    text_embedding: Tensor
    plan: Plan

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Batch":
        """The batch of the sampler's arrays, with its plan. An array that is missing, or one that
        is not known, is an InputError."""
        names = [field.name for field in fields(cls) if field.name != "plan"]
        wrong = sorted(set(names) ^ set(arrays))
        if wrong:
            raise InputError(f"a batch has the arrays {names}; missing or unknown: {wrong}")
        tensors = {name: _tensor(arrays[name]) for name in names}
        plan = build_plan(
            tensors["row"],
            tensors["column"],
            tensors["context_row_ptr"],
            tensors["parent_ptr"],
            tensors["parent"],
            tensors["is_target"],
        )
        return cls(**tensors, plan=plan)

    @property
    def num_contexts(self) -> int:
        """B."""
        return self.row.shape[0]

    @property
    def num_slots(self) -> int:
        """S, slots of a context."""
        return self.row.shape[1]

    @property
    def num_cells(self) -> int:
        """N, cells of the batch without padding."""
        return self.plan.cell.shape[0]

    @property
    def cell_row(self) -> Tensor:
        """i64[N]: the row of each packed cell, among those of the batch."""
        cell = self.plan.cell
        return self.context_row_ptr[cell // self.num_slots] + self.row.reshape(-1)[cell]

    @property
    def row_context(self) -> Tensor:
        """i64[n]: the context of each row."""
        contexts = torch.arange(self.num_contexts, device=self.row.device)
        sizes = self.context_row_ptr.diff()
        return torch.repeat_interleave(contexts, sizes, output_size=len(self.row_time))

    @property
    def own_row(self) -> Tensor:
        """i64[B]: the row of each context's own target, among those of the batch; of a context
        without rows, any."""
        row = self.row.gather(1, self.target_slot.long()[:, None])[:, 0].long()
        return (row + self.context_row_ptr[:-1]).clamp(min=0, max=len(self.row_time) - 1)

    @property
    def d_text(self) -> int:
        """Length of a text embedding."""
        return self.text_embedding.shape[1]

    @property
    def target_value(self) -> Tensor:
        """f32[B]: value of each context's own target."""
        return self.value.gather(1, self.target_slot.long()[:, None])[:, 0]

    @property
    def target_text(self) -> Tensor:
        """i64[B]: the text of each context's own target, an index into text_embedding, or -1."""
        return self.text.gather(1, self.target_slot.long()[:, None])[:, 0].long()

    @property
    def target_type(self) -> Tensor:
        """i64[B]: semantic type of each context's own target."""
        return self.semantic_type.gather(1, self.target_slot.long()[:, None])[:, 0]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return Batch(**moved)


def _tensor(array: NDArray[Any]) -> Tensor:
    wider = array.astype(_WIDER.get(array.dtype, array.dtype), copy=False)
    return torch.from_numpy(np.ascontiguousarray(wider))
