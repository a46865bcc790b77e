"""The layers of a block: attention under the three masks, then SwiGLU.

Letters: N packed cells, T of them targets, d = d_model, H heads, D = d / H.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rt import cpu_blocks
from rt.attention import masked_attention
from rt.counts import ChildCounts
from rt.model_config import ModelConfig
from rt.plan import MASKS, Groups, Plan

USUAL_KEYS = 16
"""Keys at which the variant `log_keys` begins as the published model."""


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    """norm(x) in the type of its weight, also where autocast has narrowed x."""
    return norm(x.to(norm.get_parameter("weight").dtype))


class Attention(nn.Module):
    """Attention of every cell over the keys that one mask gives it, with the variants of
    `rt.model_config.Variants`."""

    def __init__(self, config: ModelConfig, counting: bool = False) -> None:
        super().__init__()
        d, heads = config.d_model, config.num_heads
        self.num_heads = heads
        self.wq = nn.Linear(d, d, bias=False)
        self.wk = nn.Linear(d, d, bias=False)
        self.wv = nn.Linear(d, d, bias=False)
        self.wo = nn.Linear(d, d, bias=False)
        self.q_norm = nn.RMSNorm(d // heads)
        self.k_norm = nn.RMSNorm(d // heads)
        gates = {"none": 0, "head": heads, "channel": d}[config.attention_gate]
        self.w_gate = nn.Linear(d, gates, bias=False) if gates else None
        usual = torch.full((heads,), 1 / math.log(USUAL_KEYS))
        self.key_scale = nn.Parameter(usual) if config.log_keys else None
        self.w_key = nn.Linear(d, heads) if counting else None
        self.wo_sum = nn.Linear(d, d, bias=False) if counting else None

    def forward(
        self,
        x: Tensor,
        groups: Groups,
        form: str,
        counts: ChildCounts | None = None,
        asking: Tensor | None = None,
    ) -> Tensor:
        """x, the normed cells [N, d]; the result [N, d], or [T, d] for the cells i64[T] that are
        asking, which then are the only queries of groups."""
        x_q = x if asking is None else x.index_select(0, asking)
        q, k, v = (
            w(y).unflatten(-1, (self.num_heads, -1))
            for w, y in ((self.wq, x_q), (self.wk, x), (self.wv, x))
        )
        q, k = normed(self.q_norm, q), normed(self.k_norm, k)
        if asking is not None:
            q = q.new_zeros(k.shape).index_copy(0, asking, q)
        if self.key_scale is not None:
            log = groups.log_keys.to(q.dtype)
            log_keys = q.new_zeros(len(q)).index_copy(0, groups.query.long(), log)
            q = q * (log_keys[:, None] * self.key_scale)[..., None]
        out = masked_attention(q, k, v, groups, form)
        if asking is not None:
            out = out.index_select(0, asking)
        if self.w_gate is not None:
            out = out * torch.sigmoid(self.w_gate(x_q)).unflatten(-1, (self.num_heads, -1))
        mean = self.wo(out.flatten(-2))
        if counts is None or self.w_key is None or self.wo_sum is None:
            return mean
        # a head picks the keys whose children it reads; their number makes a sum of its mean
        times = counts.per_cell(torch.sigmoid(self.w_key(counts.names)))
        if asking is not None:
            times = times.index_select(0, asking)
        return mean + self.wo_sum((out * times[..., None]).flatten(-2))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(d_model, d_ff, bias=False)
        self.w2 = nn.Linear(d_ff, d_model, bias=False)
        self.w3 = nn.Linear(d_model, d_ff, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: [N, d]."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Attention under the three masks, then the feed-forward layer, each pre-norm and residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norms = nn.ModuleDict({name: nn.RMSNorm(d) for name in (*MASKS, "ffn")})
        self.attns = nn.ModuleDict(
            {name: Attention(config, config.child_counts and name == "nbr") for name in MASKS}
        )
        self.ffn = FeedForward(d, config.d_ff)
        self.is_plain = config.plain_attention

    def last_matrices(self) -> list[nn.Parameter]:
        """The weights through which the layers add to the cells."""
        names = ("wo.weight", "wo_sum.weight", "w2.weight")
        return [weight for name, weight in self.named_parameters() if name.endswith(names)]

    def forward(
        self,
        x: Tensor,
        plan: Plan,
        form: str,
        counts: ChildCounts | None = None,
        targets_only: bool = False,
    ) -> Tensor:
        """x [N, d]; the result [N, d], or of plan.target alone [T, d]. counts: for the variant
        `child_counts`."""
        for name in MASKS:
            y = self.norms[name](x)
            if targets_only and name == MASKS[-1]:
                found = self.attns[name](y, plan.nbr_of_targets, form, counts, plan.target)
                x = x.index_select(0, plan.target) + found
            else:
                x = x + self.attns[name](y, getattr(plan, name), form, counts)
        return x + self.ffn(self.norms["ffn"](x))

    def native(self) -> list[Tensor]:
        """The parameters for `rt.cpu_blocks`, none if it does not know all that the block does."""
        named = dict(self.named_parameters())
        known = self.is_plain and set(named) == set(cpu_blocks.PARAMETERS)
        return [named[name] for name in cpu_blocks.PARAMETERS] if known else []


def without_autocast(device: torch.device) -> torch.autocast:
    """For the small products at both ends: rounding values to bf16 would save no time."""
    return torch.autocast(device.type, enabled=False)


def run_blocks(
    x: Tensor,
    blocks: Sequence[nn.Module],
    plan: Plan,
    form: str,
    counts: ChildCounts | None = None,
    targets_only: bool = False,
) -> Tensor:
    """x [N, d] after the blocks, or of plan.target alone [T, d]."""
    parameters = [block.native() if isinstance(block, Block) else [] for block in blocks]
    if form == "cpu" and parameters and all(parameters):
        return cpu_blocks.run_blocks(x, plan, parameters, cpu_blocks.compute_dtype(), targets_only)
    for number, block in enumerate(blocks, 1):
        x = block(x, plan, form, counts, targets_only and number == len(blocks))
    return x
