"""The labels that a context shows: the visible cells of its target's column.

A label is the target's *own* if its row shares a parent with the target's row, as earlier label
rows of its entity do.

Letters: B contexts, S slots, n rows.
"""

import torch
from torch import Tensor

from rt.data import Batch


def shown_labels(batch: Batch) -> Tensor:
    """bool [B, S]: cells of the column of the context's own target that are no targets, whose
    values are hidden."""
    number = batch.column_number.long()
    column = torch.where(batch.is_padding, -1, number[batch.column.long().clamp(min=0)])
    target = column.gather(1, batch.target_slot.long()[:, None])
    return (column == target) & ~batch.is_padding & ~batch.is_target


def is_own(batch: Batch) -> Tensor:
    """bool [B, S]: cells of rows that share a parent with the target's row."""
    rows = batch.row.long().clamp(min=0) + batch.context_row_ptr[:-1, None]
    rows = rows.clamp(max=len(batch.row_time) - 1)  # of padding any
    return shares_parent(batch)[rows]


def shares_parent(batch: Batch) -> Tensor:
    """bool [n]: rows that have a parent in common with the row of their context's target."""
    num_rows, context = len(batch.row_time), batch.row_context
    rows = torch.arange(num_rows, device=context.device)
    child = torch.repeat_interleave(rows, batch.parent_ptr.diff(), output_size=len(batch.parent))
    of_child = context[child]
    parent = batch.parent.long() + batch.context_row_ptr[of_child]
    of_target = (child == batch.own_row[of_child]).int()
    parent_of_target = torch.zeros_like(rows, dtype=torch.int32).index_add(0, parent, of_target)
    shared = parent_of_target.index_select(0, parent).clamp(max=1)
    return torch.zeros_like(parent_of_target).index_add(0, child, shared) > 0
