"""How many children the rows of a batch have, as the model reads it (variant `child_counts`).

Attention under `nbr` is a mean over those of a row's children that are in the context, so 3 and
300 alike ones give the same. The sampler says how many visible ones the store has for each foreign
key. Their logarithms, weighted by key and added up over the keys of a row, enter the row's cells
and scale a second output of that attention, as the degree scalers of Principal Neighbourhood
Aggregation do (arXiv 2004.05718, section 3.2).

Letters: N packed cells, n rows, K foreign keys, m counts, d = d_model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from plurel.errors import InputError
from rt.data import Batch

USUAL_LOG = 4.0
"""log(1 + 50), about: counts enter as multiples of it, of order one."""


@dataclass(frozen=True)
class ChildCounts:
    """names [K, d]: the encoded names of the keys; amount [m]: log(1 + count) / USUAL_LOG, of
    key i64[m] and row i64[m]; cell_row i64[N]: the row of each packed cell, of num_rows."""

    names: Tensor
    amount: Tensor
    key: Tensor
    row: Tensor
    cell_row: Tensor
    num_rows: int

    def per_cell(self, weights: Tensor) -> Tensor:
        """[N, c]: amount times the key's weights [K, c], summed over the keys of the cell's row."""
        terms = self.amount[:, None] * weights.index_select(0, self.key)
        rows = terms.new_zeros(self.num_rows, terms.shape[1]).index_add(0, self.row, terms)
        return rows.index_select(0, self.cell_row)


def child_counts(batch: Batch, names: Tensor) -> ChildCounts:
    """The counts of a batch; names [K, d]: of its keys, encoded."""
    num_rows = len(batch.row_number)
    if len(batch.count_ptr) != num_rows + 1:
        raise InputError(
            "the model reads counts of children, but the batch has none: make the sampler with "
            "child_counts=True"
        )
    each = batch.count_ptr.diff()
    rows = torch.arange(num_rows, device=each.device)
    return ChildCounts(
        names=names,
        amount=(batch.count.float().log1p() / USUAL_LOG).to(names.dtype),
        key=batch.count_key.long(),
        row=torch.repeat_interleave(rows, each, output_size=len(batch.count)),
        cell_row=batch.cell_row,
        num_rows=num_rows,
    )
