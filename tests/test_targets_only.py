"""A model that is asked for the targets alone says of them what it says when asked for all cells,
and learns the same, in every form; and it computes less."""

import dataclasses
from typing import Any

import pytest
import torch
from flex_on_cpu import form
from random_contexts import SHAPES, random_arrays
from test_variants import VARIANTS
from torch import Tensor, nn

from rt.blocks import FeedForward
from rt.data import Batch
from rt.losses import SCALAR_TYPES, target_loss
from rt.model import ModelConfig, RelationalTransformer

__all__ = ["form"]  # a fixture

TARGETS = ("usual", "own", "none", "all")


def batch_of(shape: str, targets: str) -> Batch:
    arrays = random_arrays(4, **SHAPES[shape])
    is_target, is_padding = arrays["is_target"], arrays["is_padding"]
    if targets != "usual":
        is_target[:] = ~is_padding & (targets == "all")
        is_target[:, 0] |= targets == "own"  # where random contexts have their own target
    return Batch.from_arrays(arrays)


def model_of(form: str, **variants: Any) -> RelationalTransformer:
    """One whose parameters are all away from their first values."""
    sizes = {"num_blocks": 2, "d_model": 48, "num_heads": 3, "d_ff": 40, "d_text": 8}
    model = RelationalTransformer(ModelConfig.from_dict(sizes | variants), attention=form)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator)
    return model


def learned(model: RelationalTransformer, batch: Batch, targets_only: bool) -> dict[str, Tensor]:
    """The loss, and the gradient of every parameter."""
    model.zero_grad()
    loss = target_loss(model(batch, targets_only=targets_only), batch)
    loss.backward()
    named = model.named_parameters()
    return {"loss": loss.detach()} | {
        name: parameter.grad.clone() for name, parameter in named if parameter.requires_grad
    }


def assert_same(model: RelationalTransformer, batch: Batch) -> None:
    with torch.no_grad():
        every, some = model(batch), model(batch, targets_only=True)
    for kind in SCALAR_TYPES:
        expected = torch.where(batch.is_target & ~batch.is_padding, every.of_type(kind), 0)
        torch.testing.assert_close(some.of_type(kind), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(some.text, every.text, rtol=1e-5, atol=1e-5)
    expected, found = learned(model, batch, False), learned(model, batch, True)
    for name, one in expected.items():
        # every parameter gets a gradient, or ranks would wait for it
        error = (one - found[name]).norm() / one.norm().clamp(min=1e-2)
        assert error < 1e-4, f"{name}: {error}"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("targets", TARGETS)
def test_same_outputs_and_gradients(form: str, shape: str, targets: str) -> None:
    assert_same(model_of(form), batch_of(shape, targets))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", ["usual", "no parents"])
def test_with_every_variant(form: str, variant: str, shape: str) -> None:
    assert_same(model_of(form, **VARIANTS[variant]), batch_of(shape, "usual"))


def test_only_padding() -> None:
    arrays = random_arrays(0)
    for name in ("row", "column", "text"):
        arrays[name][:] = -1
    arrays["is_padding"][:] = True
    batch = Batch.from_arrays(arrays)
    for name in ("reference", "cpu"):
        assert all((grad == 0).all() for grad in learned(model_of(name), batch, True).values())


@pytest.mark.parametrize("shape", ["usual", "no parents", "long"])
def test_in_bf16(shape: str) -> None:
    model, batch = model_of("cpu"), batch_of(shape, "usual")
    with torch.autocast("cpu", torch.bfloat16):
        every, some = model(batch), model(batch, targets_only=True)
        learned(model, batch, True)
    target = batch.is_target & ~batch.is_padding
    one, other = (torch.stack([x.number, x.boolean])[:, target] for x in (every, some))
    assert (one - other).norm() < 1e-2 * one.norm()


def test_other_cells_are_left_out() -> None:
    """Rows that reach the last layers; in the forms of torch, where they can be counted."""
    rows: dict[str, int] = {}

    def count(name: str) -> Any:
        return lambda module, inputs: rows.__setitem__(name, len(inputs[0]))

    model, batch = model_of("reference"), batch_of("usual", "usual")
    for number, block in enumerate(model.blocks):
        layers = {"wq": block.attns["nbr"].wq, "wo": block.attns["nbr"].wo, "ffn": block.ffn}
        for name, layer in layers.items():
            layer.register_forward_pre_hook(count(f"{number} {name}"))
    model(batch, targets_only=True)
    targets = int((batch.is_target & ~batch.is_padding).sum())
    assert 0 < targets < batch.num_cells
    assert [rows[f"0 {name}"] for name in ("wq", "wo", "ffn")] == [batch.num_cells] * 3
    assert [rows[f"1 {name}"] for name in ("wq", "wo", "ffn")] == [targets] * 3


def test_a_loss_asks_for_targets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    found = FeedForward.forward
    monkeypatch.setattr(
        FeedForward, "forward", lambda self, x: (asked.append(len(x)), found(self, x))[1]
    )
    batch = batch_of("usual", "own")
    model_of("reference").loss(batch)
    assert asked == [batch.num_cells, batch.num_contexts]


def test_the_batch_can_move() -> None:
    """Every tensor of a plan moves, the targets' too."""
    plan = batch_of("usual", "usual").to("meta").plan
    for field in dataclasses.fields(plan.nbr_of_targets):
        value = getattr(plan.nbr_of_targets, field.name)
        assert not isinstance(value, Tensor) or value.device.type == "meta"
    assert plan.target.device.type == "meta"
