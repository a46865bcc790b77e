"""The CUDA form: torch's flex_attention over `rt.tiles`, compiled.

Compiled or an error: where torch would fall back to its plain implementation, which writes all
scores out, this form stops and says why. On the CPU torch compiles the forward pass only.

Letters: N packed cells, H heads, D channels of a head, B contexts, Lq and Lk places of queries and
keys (`rt.tiles`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from plurel.errors import InputError
from rt.plan import Groups
from rt.tiles import BLOCK, Tiles

SHAPES = 64
"""Shapes of batches that are compiled for. Sizes are rounded up to few ones: more than this many
means that something else changes from batch to batch."""

SMALLEST_DIM = 16
"""Channels of a head that the kernels need."""


def attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """Attention over groups, in the type of v. q, k, v and the result: [N, H, D]."""
    if len(q) == 0:
        return (q + k + v).to(v.dtype)  # nothing, but a gradient for all three: others may wait
    tiles, dim = groups.tiles, q.shape[-1]
    # autocast leaves v in its narrow type and the normalised q and k in fp32
    q, k = q.to(v.dtype), k.to(v.dtype)
    width = max(SMALLEST_DIM, 1 << (dim - 1).bit_length())
    if width > dim:  # the kernels are at home with powers of two; zeros change no score
        q, k, v = (F.pad(x, (0, width - dim)) for x in (q, k, v))
    out = _kernel(_queries(q, tiles), *_keys_and_values(k, v, tiles), tiles, dim**-0.5)
    found = out.transpose(1, 2).flatten(0, 1).index_select(0, tiles.query_at)
    return torch.zeros_like(q).index_copy(0, tiles.query.long(), found)[..., :dim]


def _queries(q: Tensor, tiles: Tiles) -> Tensor:
    """[N, H, D] to [B, H, Lq, D], 0 where there is no query."""
    num_contexts, length = tiles.query_group.shape
    places = q.new_zeros(num_contexts * length, *q.shape[1:])
    places = places.index_copy(0, tiles.query_at, q.index_select(0, tiles.query))
    return places.unflatten(0, (num_contexts, length)).transpose(1, 2)


def _keys_and_values(k: Tensor, v: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Both [N, H, D] to [B, H, Lk, D]."""
    both = torch.stack((k, v), 1)
    # backward of an embedding adds up the copies of a cell in fp32 and in a fixed order
    places = F.embedding(tiles.key_cell, both.flatten(1)).unflatten(1, both.shape[1:])
    places = places.unflatten(0, tiles.key_group.shape).permute(2, 0, 3, 1, 4)
    return places[0], places[1]


def block_mask(tiles: Tiles) -> BlockMask:
    """The mask as flex_attention takes it."""
    query_group, key_group = tiles.query_group, tiles.key_group

    def allowed(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return query_group[b, i] == key_group[b, j]

    return BlockMask(
        seq_lengths=(query_group.shape[1], key_group.shape[1]),
        kv_num_blocks=tiles.key_block_count,
        kv_indices=tiles.key_block,
        full_kv_num_blocks=None,
        full_kv_indices=None,
        q_num_blocks=tiles.query_block_count,
        q_indices=tiles.query_block,
        full_q_num_blocks=None,
        full_q_indices=None,
        BLOCK_SIZE=(BLOCK, BLOCK),
        mask_mod=allowed,
    )


def _kernel(q: Tensor, k: Tensor, v: Tensor, tiles: Tiles, scale: float) -> Tensor:
    """q and the result [B, H, Lq, D], k and v [B, H, Lk, D]."""
    _refuse_gradients_on_cpu(q, k, v)
    # a limit that is reached raises; left to itself torch goes on with the plain implementation
    limits = {"recompile_limit": SHAPES, "fail_on_recompile_limit_hit": True}
    try:
        with torch._dynamo.config.patch(limits):
            return _compiled()(q, k, v, tiles, scale)
    except torch._dynamo.exc.FailOnRecompileLimitHit:
        raise InputError(
            f"attention form 'flex' was compiled for {SHAPES} shapes of batches and met another: "
            "use fewer context lengths and batch sizes in one process, or attention 'reference'"
        ) from None


def _refuse_gradients_on_cpu(*tensors: Tensor) -> None:
    on_cpu = any(x.device.type == "cpu" and x.requires_grad for x in tensors)
    if on_cpu and torch.is_grad_enabled():
        raise InputError(
            "attention form 'flex' has no gradients on the CPU: choose 'auto' or 'cpu' to train"
        )


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(_fused, dynamic=False, fullgraph=True)


def _fused(q: Tensor, k: Tensor, v: Tensor, tiles: Tiles, scale: float) -> Tensor:
    if not torch.compiler.is_compiling():
        raise InputError(
            "attention form 'flex' needs torch.compile, which is switched off: switch it on, or "
            "choose attention 'reference'"
        )
    options: Any = kernel_options(q.dtype)
    return flex_attention(
        q, k, v, block_mask=block_mask(tiles), scale=scale, kernel_options=options
    )


def kernel_options(dtype: torch.dtype) -> dict[str, int | bool]:
    """Parts of a block that the kernels work on at a time; torch's own choice may exceed it."""
    return {
        "FORCE_USE_FLEX_ATTENTION": True,
        "fwd_BLOCK_M": BLOCK,
        "fwd_BLOCK_N": BLOCK // 2 if dtype == torch.float32 else BLOCK,
        "bwd_BLOCK_M1": BLOCK // 2,
        "bwd_BLOCK_N1": BLOCK,
        "bwd_BLOCK_M2": BLOCK,
        "bwd_BLOCK_N2": BLOCK // 2,
    }
