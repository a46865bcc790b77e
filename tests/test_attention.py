"""Every attention form against the definition, outputs and gradients, over adversarial contexts."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from flex_on_cpu import form
from random_contexts import SHAPES, random_arrays, random_batch
from torch import Tensor

from plurel.errors import InputError
from rt import cpu
from rt.attention import choose_form, masked_attention
from rt.data import Batch
from rt.model import ModelConfig, RelationalTransformer
from rt.plan import MASKS, dense_masks

__all__ = ["form"]  # a fixture


def random_qkv(cells: int, heads: int, dim: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(cells)
    shape = (cells, heads, dim)
    return [torch.randn(shape, generator=generator, requires_grad=True) for _ in range(3)]


def by_definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention under a mask [N, N] between cells, with a plain loop over queries."""
    out = []
    for i in range(q.shape[0]):
        keys = mask[i].nonzero()[:, 0]
        weights = (torch.einsum("hd,khd->hk", q[i], k[keys]) / q.shape[2] ** 0.5).softmax(1)
        out.append(torch.einsum("hk,khd->hd", weights, v[keys]))
    return torch.stack(out)


def cell_mask(batch: Batch, mask: Tensor) -> Tensor:
    """[B, S, S] to [N, N] between the packed cells of all contexts."""
    full = torch.block_diag(*mask)
    return full[batch.plan.cell][:, batch.plan.cell].bool()


@pytest.mark.parametrize("mask", MASKS)
def test_forms_are_the_definition(form: str, mask: str) -> None:
    arrays = random_arrays(0)
    batch = Batch.from_arrays(arrays)
    names = ("row", "column", "context_row_ptr", "parent_ptr", "parent")
    dense = dense_masks(*(torch.from_numpy(arrays[name]) for name in names))[mask]
    q, k, v = random_qkv(batch.num_cells, 2, 8)
    found = masked_attention(q, k, v, getattr(batch.plan, mask), form)
    expected = by_definition(q, k, v, cell_mask(batch, dense))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("heads", "dim"), [(2, 16), (3, 8), (1, 64), (2, 20)])
def test_forms_equal_the_reference(shape: str, heads: int, dim: int, form: str) -> None:
    batch = random_batch(1, **SHAPES[shape])
    inputs = random_qkv(batch.num_cells, heads, dim)
    for mask in MASKS:
        groups = getattr(batch.plan, mask)
        one = masked_attention(*inputs, groups, "reference")
        other = masked_attention(*inputs, groups, form)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
        expected = torch.autograd.grad((one * weights).sum(), inputs)
        found = torch.autograd.grad((other * weights).sum(), inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_is_the_same_under_all_forms(shape: str, form: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(num_blocks=2, d_model=48, num_heads=3, d_ff=40, d_text=8)
    models = [RelationalTransformer(config, attention=form) for form in ("reference", form)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        for norm in model.modules():
            if isinstance(norm, torch.nn.RMSNorm):  # ones would hide a weight in a wrong place
                generator = torch.Generator().manual_seed(0)
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5, generator)
    batch = random_batch(2, **SHAPES[shape])
    losses = [model.loss(batch) for model in models]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    outputs = [vars(model(batch)) for model in models]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    pairs = zip(models[0].named_parameters(), models[1].parameters(), strict=True)
    for (name, one), other in pairs:
        if one.requires_grad:
            # where nearly all queries have one key, their gradient is hardly more than rounding
            error = (one.grad - other.grad).norm() / one.grad.norm().clamp(min=1e-2)
            assert error < 1e-4, f"{name}: {error}"


def test_queries_without_keys(form: str) -> None:
    batch = random_batch(3, max_parents=0)
    q, k, v = random_qkv(batch.num_cells, 2, 16)
    out = masked_attention(q, k, v, batch.plan.nbr, form)
    assert (out == 0).all()
    for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
        assert (gradient == 0).all()


def test_only_padding(form: str) -> None:
    arrays = random_arrays(3)
    arrays |= {name: np.full_like(arrays[name], -1) for name in ("row", "column", "text")}
    batch = Batch.from_arrays(arrays | {"is_padding": np.ones_like(arrays["is_padding"])})
    q, k, v = random_qkv(0, 2, 16)
    out = masked_attention(q, k, v, batch.plan.feat, form)
    assert out.shape == (0, 2, 16)
    # without gradients, ranks would wait for those of the parameters behind
    assert [x.shape for x in torch.autograd.grad(out.sum(), (q, k, v))] == [(0, 2, 16)] * 3


def test_the_shapes_hold_what_they_are_for() -> None:
    """Self-references, rows that reference another twice, and queries without keys."""
    batch = random_batch(2, **SHAPES["usual"])
    pairs = list(references(batch))
    assert len(set(pairs)) < len(pairs)
    assert any(child == parent for _, child, parent in pairs)
    assert len(batch.plan.nbr.query) < batch.num_cells


def references(batch: Batch) -> Iterator[tuple[int, int, int]]:
    """Context, row and parent of every reference."""
    for b in range(batch.num_contexts):
        first, end = batch.context_row_ptr[b : b + 2].tolist()
        for row in range(first, end):
            for parent in batch.parent[batch.parent_ptr[row] : batch.parent_ptr[row + 1]].tolist():
                yield b, row - first, parent


def test_threads_change_nothing() -> None:
    batch = random_batch(4, num_contexts=9, num_slots=150, max_rows=40)
    torch.manual_seed(0)
    model = RelationalTransformer(ModelConfig.named("tiny", d_text=8))
    found = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        q, k, v = random_qkv(batch.num_cells, 4, 16)
        out = masked_attention(q, k, v, batch.plan.feat)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
        found[-1] += (model.blocks[0](torch.ones(batch.num_cells, 64), batch.plan, "cpu"),)
    torch.set_num_threads(before)
    # products by torch may round differently, the kernels must not
    torch.testing.assert_close(found[0][:4], found[1][:4], rtol=0, atol=0)
    torch.testing.assert_close(found[0][4], found[1][4], rtol=1e-5, atol=1e-5)


def test_a_wrong_number_is_not_hidden(form: str) -> None:
    batch = random_batch(5)
    q, k, v = (x.detach().clone() for x in random_qkv(batch.num_cells, 2, 16))
    q[3] = torch.nan
    assert masked_attention(q, k, v, batch.plan.col, form)[3].isnan().all()


def test_bfloat16_is_computed_in_float32() -> None:
    batch = random_batch(6)
    q, k, v = (x.detach().bfloat16() for x in random_qkv(batch.num_cells, 2, 16))
    found = masked_attention(q, k, v, batch.plan.feat)
    expected = masked_attention(q.float(), k.float(), v.float(), batch.plan.feat, "reference")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)


def test_bad_groups_are_refused() -> None:
    groups = random_batch(7).plan.col
    q, k, v = random_qkv(int(groups.cell_ptr[-1]), 2, 16)
    outside = dataclasses.replace(groups, key=groups.key + 1)
    with pytest.raises(ValueError, match="a key of context 0 lies outside"):
        cpu.attention(q, k, v, outside)
    with pytest.raises(ValueError, match="qkv has"):
        cpu.attention(q[1:], k[1:], v[1:], groups)
    falling = dataclasses.replace(groups, query_ptr=groups.query_ptr.flip(0))
    with pytest.raises(ValueError, match="query_ptr must rise"):
        cpu.attention(q, k, v, falling)


def test_forms_by_device() -> None:
    assert choose_form("auto", torch.device("cpu")) == "cpu"
    assert choose_form("auto", torch.device("cuda")) == "flex"
    assert choose_form("auto", torch.device("mps")) == "reference"
    for name in ("reference", "flex"):
        assert choose_form(name, torch.device("cuda")) == name
        assert choose_form(name, torch.device("cpu")) == name
    with pytest.raises(InputError, match="'flex' cannot run on mps"):
        choose_form("flex", torch.device("mps"))
    with pytest.raises(InputError, match="cannot run on cuda"):
        choose_form("cpu", torch.device("cuda"))
    with pytest.raises(InputError, match="'dense' is unknown"):
        choose_form("dense", torch.device("cpu"))
