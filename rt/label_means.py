"""What the labels that a context shows say of its target (variant `label_means`): a few means of
them, from which the model departs, so that it need not learn to count.

A label of the context is a visible cell of the target's column. It is the target's *own* if its
row shares a parent with the target's row, as earlier label rows of its entity do.

Letters: B contexts, S slots, n rows.
"""

import torch
from torch import Tensor

from rt.data import BOOLEAN, TEXT, Batch

MEANS = ("all", "own", "own of 2 more", "own of 8 more", "late own", "last own")
"""The mean of all labels; of own ones; of these and 2 or 8 like all; of own ones, each counting
half as much as the next one in time; the last own one."""
NUM_MEANS = len(MEANS)
NUM_FACTS = NUM_MEANS + 3
"""Beside the means: how many own labels and how many in all, and how far own ones are apart."""

LATE = 0.5
LEAST_CHANCE = 0.02
"""Of booleans: the log odds of a mean of 0 or 1 end here."""
LARGEST = 1e4
"""Of values, far beyond what a store holds, whose squares must stay finite."""
COUNTS = 4.0
"""Numbers of labels enter as log(1 + number) / 4."""


def label_facts(batch: Batch) -> Tensor:
    """f32[B, NUM_FACTS], of each context's own target; the first `NUM_MEANS` are the means, on the
    scale of the model's outputs (normalised values, or log odds of a boolean's mean). 0 for targets
    that are texts.

    Where there are no own labels all stand in for them, where there are none at all the normalised
    mean, 0, or for booleans even odds."""
    if not len(batch.row_time):
        return batch.value.new_zeros(batch.num_contexts, NUM_FACTS)
    own, every, value = own_labels(batch)
    kind = batch.target_type
    boolean = (kind == BOOLEAN)[:, None]
    value = torch.where(boolean, (value > 0).to(value.dtype), value.clamp(-LARGEST, LARGEST))
    counts = torch.stack((own.sum(1), every.sum(1)), 1).to(value.dtype)
    own_sum, all_sum = (torch.where(mask, value, 0).sum(1) for mask in (own, every))
    middle = 0.5 * boolean[:, 0].to(value.dtype)
    # one more label of the middle, so that a single label is no certainty
    mean = (all_sum + middle) / (counts[:, 1] + 1)
    none = counts[:, 0] == 0

    def with_more(count: float) -> Tensor:
        found = (own_sum + count * mean) / (counts[:, 0] + count).clamp(min=1e-6)
        return torch.where(none, mean, found)

    late, last = (torch.where(none, mean, found) for found in _late(batch, own, value))
    plain = with_more(0.0)
    means = torch.stack((mean, plain, with_more(2.0), with_more(8.0), late, last), 1)
    apart = torch.where(own, (value - plain[:, None]).square(), 0).sum(1)
    apart = (apart / counts[:, 0].clamp(min=1)).sqrt()
    odds = means.clamp(LEAST_CHANCE, 1 - LEAST_CHANCE).logit()
    means = torch.where(boolean, odds, means)
    facts = torch.cat((means, counts.log1p() / COUNTS, apart[:, None]), 1)
    return torch.where((kind != TEXT)[:, None], facts, 0)


def own_labels(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """bool [B, S] twice: own labels and all labels, neither of which are targets; and the values
    f32[B, S]. A target's own value is never among them."""
    number = batch.column_number.long()
    column = torch.where(batch.is_padding, -1, number[batch.column.long().clamp(min=0)])
    target = column.gather(1, batch.target_slot.long()[:, None])
    every = (column == target) & ~batch.is_padding & ~batch.is_target
    own = every & shares_parent(batch)[_row_of(batch)]
    return own, every, batch.value


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


def _row_of(batch: Batch) -> Tensor:
    """i64[B, S]: the row of each slot, among those of the batch; of padding, any."""
    rows = batch.row.long().clamp(min=0) + batch.context_row_ptr[:-1, None]
    return rows.clamp(max=len(batch.row_time) - 1)


def _late(batch: Batch, own: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Of own labels, from the last one in time on: the mean in which each counts `LATE` times as
    much as the one after it, and the last one. Rows without a time are the first ones."""
    time = batch.row_time[_row_of(batch)]
    first = torch.iinfo(time.dtype).min
    time = torch.where(own, time.clamp(min=first + 1), first)
    order = torch.sort(time, dim=1, descending=True, stable=True)
    value, own = value.gather(1, order.indices), own.gather(1, order.indices)
    place = torch.arange(own.shape[1], device=own.device)
    weight = torch.where(own, LATE ** place.to(value.dtype), 0)
    late = (weight * value).sum(1) / weight.sum(1).clamp(min=1e-6)
    return late, value[:, 0]
