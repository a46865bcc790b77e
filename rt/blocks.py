"""The layers of a block: attention under the three masks, then SwiGLU.

Letters: N packed cells, d = d_model, H heads, D = d / H.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rt import cpu
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
        self, x: Tensor, groups: Groups, form: str, counts: ChildCounts | None = None
    ) -> Tensor:
        """x, the normed cells, and the result: [N, d]."""
        q, k, v = (w(x).unflatten(-1, (self.num_heads, -1)) for w in (self.wq, self.wk, self.wv))
        q, k = normed(self.q_norm, q), normed(self.k_norm, k)
        if self.key_scale is not None:
            log_keys = q.new_zeros(len(q)).index_copy(0, groups.query.long(), groups.log_keys)
            q = q * (log_keys[:, None] * self.key_scale)[..., None]
        out = masked_attention(q, k, v, groups, form)
        if self.w_gate is not None:
            out = out * torch.sigmoid(self.w_gate(x)).unflatten(-1, (self.num_heads, -1))
        mean = self.wo(out.flatten(-2))
        if counts is None or self.w_key is None or self.wo_sum is None:
            return mean
        # a head picks the keys whose children it reads; their number makes a sum of its mean
        times = counts.per_cell(torch.sigmoid(self.w_key(counts.names)))
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
        self.fused = config.plain_attention  # what the kernels of whole layers compute

    def last_matrices(self) -> list[nn.Parameter]:
        """The weights through which the layers add to the cells."""
        names = ("wo.weight", "wo_sum.weight", "w2.weight")
        return [weight for name, weight in self.named_parameters() if name.endswith(names)]

    def forward(
        self, x: Tensor, plan: Plan, form: str, counts: ChildCounts | None = None
    ) -> Tensor:
        """x and the result: [N, d]. counts: for the variant `child_counts`."""
        if form == "cpu" and self.fused and len(x):  # a batch of padding alone has no shape to view
            return self._native(x, plan)
        for name in MASKS:
            y = self.norms[name](x)
            x = x + self.attns[name](y, getattr(plan, name), form, counts)
        return x + self.ffn(self.norms["ffn"](x))

    def _native(self, x: Tensor, plan: Plan) -> Tensor:
        """The same with the kernels of `rt.cpu`."""
        p = dict(self.named_parameters())
        for name in MASKS:
            at = f"attns.{name}"
            qkv = torch.cat([p[f"{at}.{w}.weight"] for w in ("wq", "wk", "wv")])
            weight = p[f"{at}.q_norm.weight"] * p[f"{at}.k_norm.weight"]
            x = cpu.attention_layer(
                x,
                qkv * p[f"norms.{name}.weight"],
                weight * len(weight) ** -0.5,
                p[f"{at}.wo.weight"],
                getattr(plan, name),
            )
        w_in = torch.cat((p["ffn.w1.weight"], p["ffn.w3.weight"])) * p["norms.ffn.weight"]
        return cpu.feed_forward_layer(x, w_in, p["ffn.w2.weight"])
