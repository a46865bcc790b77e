"""A model's outputs and their loss, always in fp32.

Letters: B contexts, S slots.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rt.data import BOOLEAN, DATETIME, NUMBER, TEXT, Batch

TYPE_NAMES = ("number", "text", "datetime", "boolean")
SCALAR_TYPES = (NUMBER, DATETIME, BOOLEAN)
"""Types whose value is one number, in the order in which the model gives their heads' outputs."""


@dataclass(frozen=True)
class Outputs:
    """The heads' outputs at every slot, [B, S] each, 0 at padding: normalised values for number
    and datetime, a logit of (value > 0) for boolean."""

    number: Tensor
    datetime: Tensor
    boolean: Tensor

    def of_type(self, semantic_type: int) -> Tensor:
        """The head of one semantic type."""
        return getattr(self, TYPE_NAMES[semantic_type])


def target_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """The mean over contexts of the mean over a context's targets, a scalar in fp32.

    Huber loss (delta 1) for number and datetime, binary cross-entropy of (value > 0) for boolean.
    Text targets are not scored; a context without a scored target is left out of the mean.
    """
    losses, scored = target_losses(outputs, batch)
    count = scored.sum(1)
    per_context = losses.sum(1) / count.clamp(min=1)
    return per_context.sum() / (count > 0).sum().clamp(min=1)


def target_losses(outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of each slot, f32[B, S], 0 where it is not scored; and bool [B, S]: scored."""
    scored = batch.is_target & (batch.semantic_type != TEXT) & ~batch.is_padding
    at = torch.nonzero(scored.reshape(-1))[:, 0]
    value, kind = batch.value.reshape(-1)[at].float(), batch.semantic_type.reshape(-1)[at]
    number, datetime, boolean = (outputs.of_type(t).reshape(-1)[at].float() for t in SCALAR_TYPES)
    scalar = torch.where(kind == DATETIME, datetime, number)
    squared = F.huber_loss(scalar, value, reduction="none")
    logistic = F.binary_cross_entropy_with_logits(boolean, (value > 0).float(), reduction="none")
    loss = torch.where(kind == BOOLEAN, logistic, squared)
    return loss.new_zeros(scored.numel()).index_copy(0, at, loss).view(scored.shape), scored
