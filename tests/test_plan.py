"""The plan against the masks written out from their definition, and its own promises."""

import numpy as np
import pytest
import torch
from random_contexts import SHAPES, random_arrays

from rt.attention import padded_mask
from rt.plan import MASKS, Groups, Plan, dense_masks
from rt.plan import build_plan as plan_of

ARGUMENTS = ("row", "column", "context_row_ptr", "parent_ptr", "parent")


def tensors_of(arrays: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(arrays[name]) for name in ARGUMENTS)


def build_plan(*tensors: torch.Tensor) -> Plan:
    """The plan of a batch without targets."""
    return plan_of(*tensors, torch.zeros_like(tensors[0], dtype=torch.bool))


def pairs(groups: Groups, cell: torch.Tensor) -> list[tuple[int, int]]:
    """(query slot, key slot) of every group, one after another, with repetitions if there are."""
    found = []
    for g in range(len(groups.query_ptr) - 1):
        for q in groups.query[groups.query_ptr[g] : groups.query_ptr[g + 1]]:
            for k in groups.key[groups.key_ptr[g] : groups.key_ptr[g + 1]]:
                found.append((int(cell[q]), int(cell[k])))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mask", MASKS)
def test_groups_are_the_dense_masks(shape: str, mask: str) -> None:
    tensors = tensors_of(random_arrays(1, **SHAPES[shape]))
    plan = build_plan(*tensors)
    dense = dense_masks(*tensors)[mask]
    b, i, j = torch.nonzero(dense).unbind(1)
    length = dense.shape[1]
    expected = list(zip((b * length + i).tolist(), (b * length + j).tolist(), strict=True))
    # as lists, so that a pair that stands in two groups, or twice in one, is found
    assert sorted(pairs(getattr(plan, mask), plan.cell)) == sorted(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_promises(shape: str) -> None:
    arrays = random_arrays(2, **SHAPES[shape])
    plan = build_plan(*tensors_of(arrays))
    assert plan.cell.tolist() == np.flatnonzero(~arrays["is_padding"]).tolist()
    for mask in MASKS:
        groups = getattr(plan, mask)
        assert len(set(groups.query.tolist())) == len(groups.query)
        assert (groups.query_ptr.diff() > 0).all()
        assert (groups.key_ptr.diff() > 0).all()
        for b in range(len(groups.group_ptr) - 1):
            first, last = groups.group_ptr[b], groups.group_ptr[b + 1]
            for ptr, cells in ((groups.query_ptr, groups.query), (groups.key_ptr, groups.key)):
                here = cells[ptr[first] : ptr[last]]
                assert ((here >= groups.cell_ptr[b]) & (here < groups.cell_ptr[b + 1])).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_queries_that_are_targets(shape: str, share: float) -> None:
    tensors = tensors_of(random_arrays(1, **SHAPES[shape]))
    is_target = torch.rand(tensors[0].shape, generator=torch.Generator().manual_seed(0)) < share
    plan = plan_of(*tensors, is_target)  # padding may be marked too
    assert plan.target.tolist() == torch.nonzero(is_target.reshape(-1)[plan.cell])[:, 0].tolist()
    wanted = set(plan.cell[plan.target].tolist())
    expected = [pair for pair in pairs(plan.nbr, plan.cell) if pair[0] in wanted]
    assert pairs(plan.nbr_of_targets, plan.cell) == expected
    groups = plan.nbr_of_targets
    assert (groups.query_ptr.diff() > 0).all()
    assert groups.group_ptr[-1] == len(groups.query_ptr) - 1
    if share == 1.0:
        assert all(
            torch.equal(getattr(groups, name), getattr(plan.nbr, name))
            for name in ("query_ptr", "query", "key_ptr", "key", "group_ptr", "cell_ptr")
        )


def test_by_hand() -> None:
    """Row 0 references row 1 twice and itself, row 2 references rows 1 and 3, row 3 row 0; row 3
    has no cells."""
    row = torch.tensor([[2, 0, -1, 1, 0]])
    column = torch.tensor([[0, 1, -1, 2, 0]])
    ptr, parent = torch.tensor([0, 3, 3, 5, 6]), torch.tensor([1, 1, 0, 1, 3, 0])
    tensors = (row, column, torch.tensor([0, 4]), ptr, parent)
    plan = build_plan(*tensors)
    assert plan.cell.tolist() == [0, 1, 3, 4]
    assert set(pairs(plan.col, plan.cell)) == {(0, 0), (0, 4), (4, 0), (4, 4), (1, 1), (3, 3)}
    own = {(0, 0), (1, 1), (1, 4), (4, 1), (4, 4), (3, 3)}
    assert set(pairs(plan.feat, plan.cell)) == own | {(1, 3), (4, 3), (0, 3)}
    assert set(pairs(plan.nbr, plan.cell)) == {(1, 1), (1, 4), (4, 1), (4, 4)} | {
        (3, 1),
        (3, 4),
        (3, 0),
    }


def test_order_of_cells_does_not_matter() -> None:
    arrays = random_arrays(3)
    order = np.random.default_rng(0).permutation(arrays["row"].shape[1])
    shuffled = arrays | {name: arrays[name][:, order] for name in ("row", "column")}
    before, after = build_plan(*tensors_of(arrays)), build_plan(*tensors_of(shuffled))
    for mask in MASKS:
        at = torch.from_numpy(order)
        one = {
            (q // 40, int(at[q % 40]), int(at[k % 40]))
            for q, k in pairs(getattr(after, mask), after.cell)
        }
        other = {(q // 40, q % 40, k % 40) for q, k in pairs(getattr(before, mask), before.cell)}
        assert one == other


def test_padded_mask_is_the_dense_mask_without_padding() -> None:
    tensors = tensors_of(random_arrays(4, padding=0.0))
    plan = build_plan(*tensors)
    for mask, dense in dense_masks(*tensors).items():
        position, found = padded_mask(getattr(plan, mask))
        assert torch.equal(found, dense)
        assert torch.equal(position, plan.cell)


def test_only_padding() -> None:
    empty = torch.full((2, 4), -1)
    ptr = torch.zeros(3, dtype=torch.int64)
    plan = build_plan(empty, empty, ptr, torch.zeros(1, dtype=torch.int64), ptr[:0])
    assert plan.cell.numel() == 0
    assert plan.target.numel() == 0
    for mask in (*MASKS, "nbr_of_targets"):
        assert getattr(plan, mask).query.numel() == 0
