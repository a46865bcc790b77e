"""How much a label row is like the target (variant `row_likeness`), as its cells read it.

The sampler ranks label rows by their likeness to the target in the cells and facts that tell most
of the training labels (`nearest`, docs/contexts.md), and knows how much these tell. The model would
have to find both out from the few cells that the context shows of each row.

Letters: N packed cells, n rows, A numbers that say a likeness.
"""

import torch
from torch import Tensor

from rt.data import Batch

POWERS = (0, 1, 4, 16)
"""Of the likeness, from 0 to 1: the larger ones tell very like rows apart."""
NUM_ALIKE = 2 * len(POWERS)


def row_likeness(batch: Batch) -> Tensor:
    """f32[N, A], for each packed cell of a label row: powers of the row's likeness to the target,
    and these times what the most telling column tells; 0 of other rows' cells, and in contexts
    whose recipe does not ask."""
    told = batch.context_told.index_select(0, batch.row_context)[:, None]
    alike = batch.row_alike[:, None]
    powers = torch.cat([alike.clamp(min=0).pow(power) for power in POWERS], 1)
    found = torch.cat((powers, told * powers), 1) * (alike >= 0)
    return found.index_select(0, batch.cell_row)
