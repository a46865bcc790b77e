"""A mask's groups as sequences cut into blocks, for block-sparse attention kernels.

The queries of a context stand group after group in one sequence, and the keys of its groups, in the
same order, in another; a cell that several groups see stands there once for each of them. So a
query sees one unbroken range of keys, a block of queries one unbroken range of blocks of keys and
the other way round, and a pair is allowed where both sides have the same group. Nothing of size
S x S is needed, and no number of parents or children is a special case.

Letters: B contexts, Lq places for queries and Lk for keys in each, Q queries and K keys of the
batch's groups, G groups, nq and nk blocks of `BLOCK` places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 64
"""Places in a block of queries or of keys."""

NO_QUERY, NO_KEY = -1, -2
"""Groups of places without a query and without a key: they differ, so that no such pair is seen."""


@dataclass(frozen=True)
class Tiles:
    """One mask of a batch. B, Lq and Lk are rounded up (`bucket`), so that they seldom change.

    query i32[Q]: the packed cell of each query, query_at i64[Q]: its place among B * Lq;
    key_cell i32[B * Lk]: the packed cell of each key's place, cell 0 where there is no key;
    query_group i32[B, Lq], key_group i32[B, Lk]: a pair is allowed where they are equal;
    key_block_count i32[B, 1, nq], key_block i32[B, 1, nq, nk]: the first `count` entries are the
    blocks of keys that a block of queries sees; query_block_count i32[B, 1, nk] and query_block
    i32[B, 1, nk, nq] say the same from the side of the keys.
    """

    query: Tensor
    query_at: Tensor
    key_cell: Tensor
    query_group: Tensor
    key_group: Tensor
    key_block_count: Tensor
    key_block: Tensor
    query_block_count: Tensor
    query_block: Tensor


def bucket(count: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: few sizes, at most half as much again."""
    power = 1 << max(count - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power


def build_tiles(
    ptrs: tuple[Tensor, Tensor, Tensor], query: Tensor, key: Tensor, num_slots: int, most_keys: int
) -> Tiles:
    """Tiles of `rt.plan.Groups`, whose fields the arguments are; ptrs: group_ptr, query_ptr,
    key_ptr. Runs on the device of the tensors and never waits for it."""
    group_ptr, query_ptr, key_ptr = (ptr.long() for ptr in ptrs)
    num_contexts = bucket(len(group_ptr) - 1)
    # two blocks at least: kernels for very short sequences have rules of their own
    query_length = BLOCK * max(bucket(_blocks(num_slots)), 2)
    # never fewer than queries, whose places are the same for every batch of a run
    key_length = max(BLOCK * bucket(_blocks(most_keys)), query_length)
    query_side = _side(group_ptr, query_ptr, len(query), query_length)
    key_side = _side(group_ptr, key_ptr, len(key), key_length)
    query_group = query.new_full((num_contexts * query_length,), NO_QUERY)
    query_group = query_group.index_copy(0, query_side.at, query_side.group.int())
    key_group = key.new_full((num_contexts * key_length,), NO_KEY)
    key_group = key_group.index_copy(0, key_side.at, key_side.group.int())
    query_group = query_group.view(num_contexts, query_length)
    key_group = key_group.view(num_contexts, key_length)
    key_block_count, key_block = _block_lists(query_group, key_side, key_length)
    query_block_count, query_block = _block_lists(key_group, query_side, query_length)
    return Tiles(
        query=query,
        query_at=query_side.at,
        key_cell=key.new_zeros(key_group.numel()).index_copy(0, key_side.at, key),
        query_group=query_group,
        key_group=key_group,
        key_block_count=key_block_count,
        key_block=key_block,
        query_block_count=query_block_count,
        query_block=query_block,
    )


@dataclass(frozen=True)
class _Side:
    """The queries, or the keys: group i64[n] of each and place i64[n] among B * L; first and last
    i64[G + 1]: places of a group within its context (an entry more, for batches without any)."""

    group: Tensor
    at: Tensor
    first: Tensor
    last: Tensor


def _blocks(places: int) -> int:
    return -(-places // BLOCK)


def _side(group_ptr: Tensor, ptr: Tensor, count: int, length: int) -> _Side:
    num_groups, device = len(ptr) - 1, ptr.device
    numbers = torch.arange(len(group_ptr) - 1, device=device)
    # sizes are given because to find them out would be to wait for the device
    context = torch.repeat_interleave(numbers, group_ptr.diff(), output_size=num_groups)
    numbers = torch.arange(num_groups, device=device)
    group = torch.repeat_interleave(numbers, ptr.diff(), output_size=count)
    start = ptr[group_ptr[:-1]][context]
    at = torch.arange(count, device=device) + (context * length - start)[group]
    none = ptr.new_zeros(1)
    return _Side(
        group=group,
        at=at,
        first=torch.cat((ptr[:-1] - start, none)),
        last=torch.cat((ptr[1:] - start - 1, none)),
    )


def _block_lists(group: Tensor, other: _Side, other_length: int) -> tuple[Tensor, Tensor]:
    """How many blocks of the other side each block of `group` [B, L] meets, i32[B, 1, n], and
    which, i32[B, 1, n, m]. They are a range, as groups lie in the same order on both sides."""
    blocks = group.long().unflatten(1, (-1, BLOCK))
    num_groups = len(other.first) - 1
    lowest = torch.where(blocks >= 0, blocks, num_groups).amin(2)
    highest = blocks.amax(2)
    first = other.first[lowest] // BLOCK
    count = other.last[highest.clamp(min=0)] // BLOCK - first + 1
    count = torch.where(highest >= 0, count, 0)
    m = other_length // BLOCK
    # kernels take lists that are contiguous for granted; what stands after `count` is never read
    index = (first[:, :, None] + torch.arange(m, device=group.device)) % m
    return count.int()[:, None].contiguous(), index.int()[:, None].contiguous()
