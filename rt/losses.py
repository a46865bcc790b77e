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
    """The heads' outputs at every slot, [B, S] each, 0 at padding and where none was asked for:
    normalised values for number and datetime, a logit of (value > 0) for boolean.

    text f32[B, d_text]: at each context's own target, a vector whose product with the unit vector
    of a text is that text's score; None without the variant `class_targets`."""

    number: Tensor
    datetime: Tensor
    boolean: Tensor
    text: Tensor | None = None

    def of_type(self, semantic_type: int) -> Tensor:
        """The head of one semantic type with a number as value."""
        return getattr(self, TYPE_NAMES[semantic_type])


def target_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """The mean over contexts of the mean over a context's targets, a scalar in fp32.

    Huber loss (delta 1) for number and datetime, binary cross-entropy of (value > 0) for boolean.
    A text target is scored as `class_losses` says, or else not at all; a context without a scored
    target is left out of the mean.
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
    losses = loss.new_zeros(scored.numel()).index_copy(0, at, loss).view(scored.shape)
    if outputs.text is None:
        return losses, scored
    context, loss = class_losses(outputs.text, batch)
    place = (context, batch.target_slot.long()[context])
    return losses.index_put(place, loss), scored.index_put(place, torch.ones_like(context).bool())


def class_losses(text: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The contexts i64[k] whose own target is one of the classes of their task, and the
    cross-entropy f32[k] of it among these, scored by the product with their embeddings (as CLIP's
    classifier: arXiv 2103.00020, section 3.1.2). A text that is no class is not scored."""
    lists, truth = batch.context_classes.long(), batch.target_text
    member = class_members(batch)
    known = (lists >= 0) & (truth >= 0) & member[lists, truth.clamp(min=0)]
    context = torch.nonzero(known)[:, 0]
    scores = class_scores(text[context], batch, member[lists[context]])
    return context, F.cross_entropy(scores, truth[context], reduction="none")


def class_probabilities(outputs: Outputs, batch: Batch) -> Tensor:
    """f32[B, C]: how probable each of the C classes of a task is, in their order; all contexts are
    of this task."""
    assert outputs.text is not None
    every = torch.ones(1, 1, dtype=torch.bool, device=outputs.text.device)
    scores = class_scores(outputs.text, batch, every)
    return scores.index_select(1, batch.class_text.long()).softmax(-1)


def class_members(batch: Batch) -> Tensor:
    """bool [L + 1, U]: which texts of the batch are classes of list l; none are of the last."""
    ptr, texts = batch.class_ptr, batch.class_text.long()
    number = torch.arange(len(ptr) - 1, device=ptr.device)
    lists = torch.repeat_interleave(number, ptr.diff(), output_size=len(texts))
    member = torch.zeros(len(ptr), len(batch.text_embedding), dtype=torch.bool, device=ptr.device)
    return member.index_put((lists, texts), torch.ones_like(texts).bool())


def class_scores(text: Tensor, batch: Batch, allowed: Tensor) -> Tensor:
    """f32[k, U]: scores of the batch's texts for k of `Outputs.text`, -inf unless allowed."""
    unit = F.normalize(batch.text_embedding.float(), dim=-1)
    return (text.float() @ unit.T).masked_fill(~allowed, -torch.inf)
