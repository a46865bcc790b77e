"""A target's answer as a weighted mean of the labels that its context shows (variant
`label_attention`).

The target's vector after the last norm asks, the labels' vectors before the last block are keys,
and what each head's softmax weighs are the labels' values themselves, so that a number is copied
exactly and however large it is (Matching Networks, arXiv 1606.04080, section 2.1). What the model
says without them is then a correction, in multiples of what the labels differ by. At first all
labels weigh alike, and their mean has no share in the answer.

Letters: B contexts, N packed cells, K of them labels, d = d_model, H heads.
"""

import torch
from torch import Tensor, nn

from rt.data import BOOLEAN, TEXT, Batch
from rt.shown_labels import shown_labels

LARGEST = 1e4
"""Of values, far beyond what a store holds, whose squares must stay finite."""
MORE = 0.1
"""Labels one deviation of the column apart that spreads count beside those that are shown."""


class LabelAttention(nn.Module):
    """See the module's docstring."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.RMSNorm(d_model)
        self.wq = nn.Linear(d_model, d_model, bias=False)
        self.wk = nn.Linear(d_model, d_model, bias=False)
        self.w_share = nn.Linear(d_model, num_heads)
        for parameter in (self.wq.weight, self.w_share.weight, self.w_share.bias):
            nn.init.zeros_(parameter)

    def forward(self, asking: Tensor, cells: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The answers, on the scale of the model's outputs (normalised values, or log odds of a
        boolean; 0 for texts and without labels), and the spreads by which to multiply what is added
        to them, 1 for all but numbers and times: f32[B] both.

        asking [B, d]: of each context's own target; cells [N, d]: before the last block."""
        at = shown_labels(batch).reshape(-1).index_select(0, batch.plan.cell).nonzero()[:, 0]
        slot = batch.plan.cell.index_select(0, at)
        context = slot // batch.num_slots
        weight = self._weights(asking, cells.index_select(0, at), context)

        def total(parts: Tensor) -> Tensor:
            sums = parts.new_zeros(batch.num_contexts, parts.shape[1])
            return sums.index_add(0, context, parts)

        boolean, text = ((batch.target_type == kind)[:, None] for kind in (BOOLEAN, TEXT))
        value = batch.value.reshape(-1).index_select(0, slot)[:, None].float()
        shown = torch.where(
            boolean.index_select(0, context), (value > 0).float(), value.clamp(-LARGEST, LARGEST)
        )
        mean = total(weight * shown)
        count = total(torch.ones_like(shown))
        # one more label of even odds, so that labels that agree are no certainty
        chance = (torch.where(boolean, mean, 0.5) * count + 0.5) / (count + 1)
        means = torch.where(boolean, chance.logit(), mean)
        share = self.w_share(asking).float() * ~text
        with torch.no_grad():
            apart = total(weight * (shown - mean.index_select(0, context)).square())
            spread = (apart.mean(1, keepdim=True) * count + MORE) / (count + MORE)
            spread = torch.where(boolean | text, 1, spread.sqrt())[:, 0]
        return (share * means).sum(1), spread

    def _weights(self, asking: Tensor, labels: Tensor, context: Tensor) -> Tensor:
        """f32[K, H] of labels [K, d], which sum to 1 over those of a context."""
        shape = (self.num_heads, -1)
        query = self.wq(asking).unflatten(-1, shape).index_select(0, context)
        key = self.wk(self.norm(labels.to(self.norm.weight.dtype))).unflatten(-1, shape)
        score = (query * key).sum(-1).float() * key.shape[-1] ** -0.5
        place = context[:, None].expand_as(score)
        none = score.new_full((len(asking), self.num_heads), -torch.inf)
        highest = none.scatter_reduce(0, place, score.detach(), "amax")
        power = (score - highest.index_select(0, context)).exp()
        total = torch.zeros_like(none).index_add(0, context, power)
        return power / total.index_select(0, context)
