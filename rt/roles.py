"""What a row is to the target (variant `row_roles`): which part of the context it is in, and how
long before the target its time lies.

The published model has to find both out: which labels are of the target's own entity by comparing
what rows say of their parents, how old a row is by comparing two normalised times. The sampler
knows them (`row_part`, `row_time`).

Letters: N packed cells, n rows, R numbers that say a role.
"""

import torch
from torch import Tensor

import rustler
from rt.data import Batch

HOUR, MOST_LOG = 3600.0, 10.0
"""Ages enter as log(1 + hours) / 10: 0.3 for a day, 0.9 for a year, 1.4 for a century."""
NUM_ROLES = len(rustler.PARTS) + 3


def row_roles(batch: Batch) -> Tensor:
    """f32[N, R], for each packed cell: which of `rustler.PARTS` its row is in, one of them 1; 1 if
    both the row and the target have a time, and then the age and its square. A row is never younger
    than the target, where it is the age is 0."""
    if not len(batch.row_time):
        return torch.zeros(0, NUM_ROLES, device=batch.row.device)
    now = batch.row_time[batch.own_row].index_select(0, batch.row_context)
    known = (batch.row_time != rustler.NO_TIME) & (now != rustler.NO_TIME)
    seconds = torch.where(known, now - torch.where(known, batch.row_time, now), 0).clamp(min=0)
    age = (seconds.double() / HOUR).log1p() / MOST_LOG
    parts = torch.nn.functional.one_hot(batch.row_part.long(), len(rustler.PARTS))
    found = torch.cat((parts, torch.stack((known, age, age.square()), 1)), 1).float()
    return found.index_select(0, batch.cell_row)
