"""The model in torch's own operations, for comparison: dense masks, and grouped attention.

Letters: N packed cells, B contexts, S slots, H heads, D channels a head; G groups of a bucket, each
with P queries and L keys once padded.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rt.blocks import Block, without_autocast
from rt.data import Batch
from rt.model import RelationalTransformer
from rt.plan import MASKS, Groups, dense_masks

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q, k, v [N, H, D] to the output [N, H, D] under one mask."""

SMALL = 80 * 80
"""Scores of a group up to which plain products are faster than torch's fused attention."""


def hidden(model: RelationalTransformer, batch: Batch, forms: Mapping[str, Attend]) -> Tensor:
    """As `model.hidden`."""
    with without_autocast(batch.value.device):
        x = model.embed(batch)
    for block in model.blocks:
        x = run_block(block, x, forms)
    return model.norm_out(x)


def run_block(block: Block, x: Tensor, forms: Mapping[str, Attend]) -> Tensor:
    """A block, with attention by `forms`."""
    for name in MASKS:
        layer, y = block.attns[name], block.norms[name](x)
        q, k, v = (
            w(y).unflatten(-1, (layer.num_heads, -1)) for w in (layer.wq, layer.wk, layer.wv)
        )
        out = forms[name](_norm(q, layer.q_norm.weight), _norm(k, layer.k_norm.weight), v)
        x = x + layer.wo(out.flatten(-2))
    return x + block.ffn(block.norms["ffn"](x))


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), torch.finfo(torch.float32).eps)


def dense(batch: Batch) -> dict[str, Attend]:
    """Boolean masks [B, S, S] and torch's fused attention over padded contexts."""
    names = ("row", "column", "context_row_ptr", "parent_ptr", "parent")
    masks = dense_masks(*(getattr(batch, name) for name in names))
    shape, cell = batch.row.shape, batch.plan.cell

    def form(mask: Tensor) -> Attend:
        def attend(*qkv: Tensor) -> Tensor:
            padded = (x.new_zeros(batch.row.numel(), *x.shape[1:]) for x in qkv)
            full = (p.index_copy(0, cell, x) for p, x in zip(padded, qkv, strict=True))
            heads = (x.unflatten(0, shape).transpose(1, 2) for x in full)
            out = F.scaled_dot_product_attention(*heads, attn_mask=mask[:, None])
            return out.transpose(1, 2).flatten(0, 1).index_select(0, cell)

        return attend

    return {name: form(masks[name]) for name in MASKS}


class _Bucket(NamedTuple):
    """Groups of similar sizes, padded to one. query [G, P], key [G, L]: cells; mask [G, 1, 1, L],
    0 or minus infinity, None if there is no padding among the keys."""

    query: Tensor
    key: Tensor
    mask: Tensor | None


class _Gather(torch.autograd.Function):
    """x[index]; backward sums over `uses`, the places of each row in index, one after another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, uses: Tensor, uses_ptr: Tensor) -> Tensor:
        ctx.uses = uses, uses_ptr
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        uses, uses_ptr = ctx.uses
        grad = F.embedding_bag(
            uses, grad.contiguous(), uses_ptr, mode="sum", include_last_offset=True
        )
        return grad, None, None, None


class Gather:
    """A gather from `rows` rows whose backward pass is one too. unused: places of padding."""

    def __init__(self, index: Tensor, rows: int, unused: Tensor) -> None:
        self.index = index
        used = torch.nonzero(~unused)[:, 0]
        self.uses = used[torch.argsort(index[used], stable=True)]
        counts = torch.bincount(index[used], minlength=rows)
        self.uses_ptr = F.pad(counts.cumsum(0), (1, 0))

    def __call__(self, x: Tensor) -> Tensor:
        return _Gather.apply(x, self.index, self.uses, self.uses_ptr)


class Grouped:
    """Attention over groups: cells gathered into buckets, small products, gathered back."""

    def __init__(self, groups: Groups, cells: int) -> None:
        self.buckets = _buckets(groups)
        unused = [torch.zeros(0, dtype=torch.bool)]
        query, key = ([torch.zeros(0, dtype=torch.long)] for _ in range(2))
        key_unused = [torch.zeros(0, dtype=torch.bool)]
        for bucket in self.buckets:
            query.append(bucket.query.clamp(min=0).flatten())
            unused.append((bucket.query < 0).flatten())
            key.append(bucket.key.clamp(min=0).flatten())
            key_unused.append((bucket.key < 0).flatten())
        self.queries = Gather(torch.cat(query), cells, torch.cat(unused))
        self.keys = Gather(torch.cat(key), cells, torch.cat(key_unused))
        # place of each cell among the results; those without keys read a row of zeros
        place = torch.full((cells,), len(self.queries.index))
        place[self.queries.index[self.queries.uses]] = self.queries.uses
        none = torch.zeros(cells, dtype=torch.bool)
        self.back = Gather(place, len(self.queries.index) + 1, none)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape
        q, k, v = self.queries(q.flatten(1)), *(self.keys(x.flatten(1)) for x in (k, v))
        first_query = first_key = 0
        parts = []
        for bucket in self.buckets:
            (groups, queries), keys = bucket.query.shape, bucket.key.shape[1]
            of_query = slice(first_query, first_query := first_query + groups * queries)
            of_key = slice(first_key, first_key := first_key + groups * keys)
            split = (x.view(groups, -1, *shape[1:]).transpose(1, 2) for x in
                     (q[of_query], k[of_key], v[of_key]))  # fmt: skip
            parts.append(_small(*split, bucket.mask).transpose(1, 2).reshape(-1, q.shape[1]))
        results = torch.cat([*parts, q.new_zeros(1, q.shape[1])])
        return self.back(results).view(shape)


def _small(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[G, H, P or L, D] to [G, H, P, D]."""
    if mask is not None:
        mask = mask.to(q.dtype)
    if q.shape[2] * k.shape[2] > SMALL:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


def _buckets(groups: Groups) -> list[_Bucket]:
    """The groups by size: each padded to the next of a few lengths that grow by half."""
    steps = [1, 2]
    while steps[-1] < max(len(groups.query), len(groups.key), 1):
        steps.append(-(-steps[-1] * 3 // 2))
    grid = torch.tensor(steps)
    lists = [(groups.query_ptr.long(), groups.query), (groups.key_ptr.long(), groups.key)]
    sizes = [grid[torch.searchsorted(grid, ptr.diff())] for ptr, _ in lists]
    both = torch.stack(sizes, 1)
    buckets = []
    for size in both.unique(dim=0):
        chosen = torch.nonzero((both == size).all(1))[:, 0]
        query, key = (_padded(*part, chosen, int(n)) for part, n in zip(lists, size, strict=True))
        hidden = key < 0
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)[:, None, None]
        buckets.append(_Bucket(query, key, mask if bool(hidden.any()) else None))
    return buckets


def _padded(ptr: Tensor, cells: Tensor, chosen: Tensor, length: int) -> Tensor:
    """The lists of the chosen groups, [G, length], -1 behind their ends."""
    within = torch.arange(length)
    at = ptr[chosen][:, None] + within
    inside = within < ptr.diff()[chosen][:, None]
    return torch.where(inside, cells[at.clamp(max=len(cells) - 1)].long(), -1)


def grouped(batch: Batch) -> dict[str, Attend]:
    """Grouped attention for each mask of a batch."""
    return {name: Grouped(getattr(batch.plan, name), batch.num_cells) for name in MASKS}
