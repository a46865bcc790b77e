"""The blocks' native form against torch's own operations, in fp32 and in bf16."""

import dataclasses

import numpy as np
import pytest
import torch
from random_contexts import SHAPES, random_arrays, random_batch
from torch import Tensor

import rustler
from plurel.errors import InputError
from rt import cpu_blocks
from rt.blocks import Block, run_blocks
from rt.data import TEXT, Batch
from rt.model import ModelConfig, RelationalTransformer
from rt.plan import Plan


def blocks_of(config: ModelConfig, count: int = 2) -> list[Block]:
    """Blocks whose norms' weights are not 1, which would hide a weight in a wrong place."""
    torch.manual_seed(0)
    blocks = [Block(config) for _ in range(count)]
    for block in blocks:
        for norm in block.modules():
            if isinstance(norm, torch.nn.RMSNorm):
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return blocks


def results(
    blocks: list[Block], x: Tensor, plan: Plan, form: str, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = run_blocks(x, blocks, plan, form)
    inputs = [x, *(p for block in blocks for p in block.parameters())]
    return out.detach(), list(torch.autograd.grad((out * weights).sum(), inputs))


def errors(one: Tensor, other: Tensor) -> float:
    """Norm of the difference, relative to the norm."""
    return float((one - other).norm() / one.norm().clamp(min=1e-6))


CONFIGS = {
    "whole vectors": ModelConfig(2, 64, 4, 128, 8),
    "rests of vectors": ModelConfig(2, 40, 2, 37, 8),
    "wide heads": ModelConfig(2, 64, 1, 64, 8),
}


@pytest.mark.parametrize("size", CONFIGS)
@pytest.mark.parametrize("shape", ["usual", "nearly empty", "long"])
def test_fp32_is_torch(size: str, shape: str) -> None:
    blocks = blocks_of(CONFIGS[size])
    batch = random_batch(0, **SHAPES[shape])
    x = torch.randn(batch.num_cells, CONFIGS[size].d_model)
    expected, found = (results(blocks, x, batch.plan, form) for form in ("reference", "cpu"))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(expected[1], found[1], strict=True):
        assert errors(one, other) < 1e-5


@pytest.mark.parametrize("size", CONFIGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_is_fp32_but_for_rounding(size: str, shape: str) -> None:
    blocks = blocks_of(CONFIGS[size])
    batch = random_batch(0, **SHAPES[shape])
    x = torch.randn(batch.num_cells, CONFIGS[size].d_model)
    out, grads = results(blocks, x, batch.plan, "cpu")
    low_out, low_grads = results(blocks, x, batch.plan, "cpu", torch.bfloat16)
    assert low_out.dtype == torch.float32
    error = errors(out, low_out)
    # a rounding that did not happen would be as wrong as one too many
    assert 1e-5 < error < 6e-3
    assert all(low.dtype == torch.float32 for low in low_grads)
    worst = max(errors(one, other) for one, other in zip(grads, low_grads, strict=True))
    assert worst < 2e-2
    # the stream and its gradient are kept in fp32, not rounded on their way
    for stream in (low_out, low_grads[0]):
        assert (stream != stream.bfloat16().float()).any()


def test_values_and_outputs_are_not_rounded_by_autocast() -> None:
    """With blocks that add nothing: whatever differs is of the encoders or of the heads."""
    torch.manual_seed(0)
    model = RelationalTransformer(dataclasses.replace(CONFIGS["whole vectors"], zero_init=True))
    for kind in ("number", "datetime", "boolean"):
        torch.nn.init.normal_(model.dec_dict[kind].weight)
    batch = random_batch(0)
    expected = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch)
    assert expected.number.any()
    assert torch.equal(found.number, expected.number)


def test_no_cells() -> None:
    blocks = blocks_of(CONFIGS["whole vectors"])
    arrays = random_arrays(0)
    for name in ("row", "column"):
        arrays[name][:] = -1
    plan = Batch.from_arrays(arrays).plan
    out, grads = results(blocks, torch.zeros(0, 64), plan, "cpu", torch.bfloat16)
    assert out.shape == (0, 64)
    assert all((grad == 0).all() for grad in grads)


def test_a_block_of_another_kind_is_left_to_torch() -> None:
    blocks = blocks_of(CONFIGS["whole vectors"])
    batch = random_batch(0)
    x = torch.randn(batch.num_cells, 64)
    expected, _ = results(blocks, x, batch.plan, "reference")
    blocks[1].extra = torch.nn.Parameter(torch.zeros(1))
    assert not blocks[1].native()
    with torch.no_grad():
        found = run_blocks(x, blocks, batch.plan, "cpu")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_backward_pass_goes_once() -> None:
    blocks = blocks_of(CONFIGS["whole vectors"])
    batch = random_batch(0)
    out = run_blocks(torch.randn(batch.num_cells, 64), blocks, batch.plan, "cpu").sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one pass only"):
        out.backward()


def test_parameters_may_not_change_before_the_backward_pass() -> None:
    """As with torch's own operations: gradients would be those of neither state."""
    blocks, batch = blocks_of(CONFIGS["whole vectors"]), random_batch(0)
    out = run_blocks(torch.randn(batch.num_cells, 64), blocks, batch.plan, "cpu").sum()
    with torch.no_grad():
        blocks[0].norms["col"].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_nothing_is_kept_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, batch = blocks_of(CONFIGS["whole vectors"]), random_batch(0)
    parameters = [block.native() for block in blocks]
    x, made, layers = torch.randn(batch.num_cells, 64), [], cpu_blocks._layers
    monkeypatch.setattr(cpu_blocks, "_layers", lambda *of: made.append(layers(*of)) or made[-1])
    with torch.no_grad():
        plain = cpu_blocks.run_blocks(x, batch.plan, parameters, torch.float32)
    assert not any(layer.saved for layer in made[0])
    again = cpu_blocks.run_blocks(x, batch.plan, parameters, torch.float32)
    assert all(layer.saved for layer in made[1])
    assert not plain.requires_grad
    assert again.requires_grad
    assert torch.equal(plain, again)


EXTREMES = {
    "huge values": 1e30,
    "values that bf16 cannot hold apart": 1000.001,
    "constant columns": 0.0,
}


@pytest.mark.parametrize("value", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("parents", [0, 3])
def test_extreme_inputs_give_finite_numbers(value: float, parents: int) -> None:
    arrays = random_arrays(1, max_parents=parents)
    shown = ~arrays["is_padding"] & ~arrays["is_target"]
    arrays["value"][shown] = value
    batch = Batch.from_arrays(arrays)
    torch.manual_seed(0)
    model = RelationalTransformer(CONFIGS["whole vectors"])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch)
    loss.backward()
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all(), name


def curve(batches: list[Batch], dtype: torch.dtype) -> list[float]:
    """Losses of a short training run."""
    torch.manual_seed(0)
    model = RelationalTransformer(dataclasses.replace(CONFIGS["whole vectors"], num_blocks=3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(45):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model.loss(batches[step % len(batches)])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_a_bf16_run_stays_beside_the_fp32_one() -> None:
    """The targets are learned by heart: the loss falls to a fraction, in both."""
    batches = [random_batch(seed, num_contexts=4, num_slots=60) for seed in range(3)]
    one, other = (torch.tensor(curve(batches, t)) for t in (torch.float32, torch.bfloat16))
    assert one[-3:].mean() < 0.4 * one[:3].mean()
    assert (one - other).abs().max() > 0
    # means over each batch once: a step alone is noise
    smooth_one, smooth_other = (losses.view(-1, 3).mean(1) for losses in (one, other))
    assert (smooth_one - smooth_other).abs().max() < 0.05 * smooth_one[0]


def test_a_text_passes_its_layer_once_and_padding_never() -> None:
    """Rows that reach the encoders and the blocks, however many cells share a text."""
    rows: dict[str, int] = {}

    def count(name: str):
        return lambda module, inputs: rows.__setitem__(name, inputs[0].shape[0])

    torch.manual_seed(0)
    model = RelationalTransformer(CONFIGS["whole vectors"])
    for name in ("text", "col_name"):
        model.enc_dict[name].register_forward_pre_hook(count(name))
    model.norm_out.register_forward_pre_hook(count("cells"))
    arrays = random_arrays(2, num_contexts=5, num_slots=300, padding=0.5)
    is_text = arrays["column"] == 1
    arrays["semantic_type"][is_text], arrays["text"][is_text] = TEXT, 9
    batch = Batch.from_arrays(arrays)
    model(batch)
    assert int((batch.text >= 0).sum()) > 2 * len(batch.text_embedding)
    assert rows["text"] == len(batch.text_embedding)
    assert rows["col_name"] == len(batch.column_text)
    assert rows["cells"] == int((~batch.is_padding).sum()) < 0.6 * batch.row.numel()


def test_heads_that_are_too_wide_for_the_kernels() -> None:
    model = RelationalTransformer(ModelConfig(1, 65, 1, 8, 8))
    with pytest.raises(InputError, match=r"at most 64 channels, not of 65: .* more heads, or "):
        model(random_batch(0))
    model.attention = "reference"
    assert model(random_batch(0)).number.isfinite().all()


def test_too_many_threads_are_refused() -> None:
    x, y, factor = (np.ones(shape, np.float32) for shape in [(200, 4), (200, 4), (200,)])
    with pytest.raises(ValueError, match="threads: 9223372036854775808 are too many"):
        rustler.norm_forward(x, None, y, factor, 2**63)
    rustler.norm_forward(x, None, y, factor, 0)
