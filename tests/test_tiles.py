"""The layout for block-sparse kernels against the masks written out: which pairs are allowed, which
blocks the kernels visit in either direction, and shapes that do not change from batch to batch."""

import pytest
import torch
from random_contexts import SHAPES, random_arrays, random_batch
from torch import Tensor

from rt.attention import padded_mask
from rt.plan import MASKS, Groups
from rt.tiles import BLOCK, Tiles, bucket

LARGE = {"num_slots": 700, "max_rows": 150, "max_columns": 5, "num_contexts": 5, "max_parents": 6}
CASES = SHAPES | {"large": LARGE, "one context": {"num_contexts": 1}}


def places_of_pairs(groups: Groups) -> Tensor:
    """bool [B, Lq, Lk] by the definition: may the cell in a query's place see that in a key's?

    A query may be allowed a key only at the place that stands for its own group.
    """
    tiles = groups.tiles
    num_contexts, query_length = tiles.query_group.shape
    allowed = torch.zeros(num_contexts, query_length, tiles.key_group.shape[1], dtype=torch.bool)
    place_of = {int(c): int(p) for c, p in zip(tiles.query, tiles.query_at, strict=True)}
    for b in range(len(groups.group_ptr) - 1):
        first_key = int(groups.key_ptr[groups.group_ptr[b]])
        for g in range(int(groups.group_ptr[b]), int(groups.group_ptr[b + 1])):
            keys = slice(int(groups.key_ptr[g]) - first_key, int(groups.key_ptr[g + 1]) - first_key)
            for cell in groups.query[groups.query_ptr[g] : groups.query_ptr[g + 1]].tolist():
                context, place = divmod(place_of[cell], query_length)
                assert context == b
                allowed[b, place, keys] = True
    return allowed


def blocks_of(count: Tensor, index: Tensor) -> Tensor:
    """bool [B, n, m]: the blocks that a kernel visits."""
    assert count.dtype == index.dtype == torch.int32
    assert count.is_contiguous()
    assert index.is_contiguous()
    num_contexts, heads, n, m = index.shape
    assert heads == 1
    visited = torch.zeros(num_contexts, n, m, dtype=torch.int64)
    for b in range(num_contexts):
        for i in range(n):
            for j in index[b, 0, i, : count[b, 0, i]].tolist():
                visited[b, i, j] += 1
            assert 0 <= index[b, 0, i, 0] < m  # read by the kernels even where the count is 0
    assert visited.max() <= 1
    return visited.bool()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mask", MASKS)
def test_pairs_and_blocks(case: str, mask: str) -> None:
    groups = getattr(random_batch(1, **CASES[case]).plan, mask)
    tiles: Tiles = groups.tiles
    allowed = tiles.query_group[:, :, None] == tiles.key_group[:, None, :]
    assert torch.equal(allowed, places_of_pairs(groups))
    blocks = allowed.unflatten(1, (-1, BLOCK)).unflatten(3, (-1, BLOCK)).any(4).any(2)
    # no block without a pair is visited, and none with a pair is left out
    assert torch.equal(blocks_of(tiles.key_block_count, tiles.key_block), blocks)
    found = blocks_of(tiles.query_block_count, tiles.query_block)
    assert torch.equal(found, blocks.transpose(1, 2))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mask", MASKS)
def test_the_places_give_the_mask_between_cells(case: str, mask: str) -> None:
    """As pairs of cells with repetitions: a key that stood twice for a query would count twice."""
    batch = random_batch(2, **CASES[case])
    groups = getattr(batch.plan, mask)
    tiles, (position, dense) = groups.tiles, padded_mask(groups)
    cells = torch.zeros(batch.num_cells, batch.num_cells, dtype=torch.int64)
    b, i, j = torch.nonzero(tiles.query_group[:, :, None] == tiles.key_group[:, None]).unbind(1)
    query_of = torch.full((tiles.query_group.numel(),), -1)
    query_of[tiles.query_at] = tiles.query.long()
    query = query_of[b * tiles.query_group.shape[1] + i]
    key = tiles.key_cell.long()[b * tiles.key_group.shape[1] + j]
    cells.index_put_((query, key), torch.ones_like(query), accumulate=True)
    context, within = position // dense.shape[1], position % dense.shape[1]
    expected = dense[context[:, None], within[:, None], within] & (context[:, None] == context)
    assert torch.equal(cells, expected.long())


def test_a_run_has_few_shapes() -> None:
    """Context lengths and batch sizes are a run's own; what its contexts hold changes little."""
    shapes = set()
    for seed in range(20):
        limits = {"num_slots": 192, "max_rows": 40, "padding": 0.02 * seed}
        plan = random_batch(seed, **limits).plan
        for mask in MASKS:
            tiles = getattr(plan, mask).tiles
            assert tiles.query_group.shape == (3, 192)
            shapes.add((mask, tuple(tiles.key_block.shape)))
    assert len([shape for shape in shapes if shape[0] == "col"]) == 1
    assert len(shapes) <= 8


def test_buckets() -> None:
    sizes = sorted({bucket(count) for count in range(1, 5000)})
    assert sizes[:9] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert len(sizes) == 25
    assert all(count <= bucket(count) < 1.5 * count + 1 for count in range(1, 5000))
    assert bucket(0) == 1


def test_only_the_size_of_lists_of_keys_grows_with_references() -> None:
    """A context where every row references every other one: no array has S x S entries."""
    arrays = random_arrays(0, num_contexts=1, num_slots=512, max_rows=9, max_parents=300)
    tiles = random_batch(0, num_contexts=1, num_slots=512, max_rows=9, max_parents=300).plan.feat
    assert arrays["parent"].size > 512
    assert max(x.numel() for x in vars(tiles.tiles).values()) < 512 * 20
