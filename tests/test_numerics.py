"""No NaN where a number is too large, a column constant or a mask empty; losses in fp32."""

from typing import Any

import numpy as np
import pytest
import torch
from flex_on_cpu import form
from numpy.typing import NDArray
from random_contexts import random_arrays

from rt.data import NUMBER, TEXT, Batch
from rt.losses import Outputs, target_losses
from rt.model import ModelConfig, RelationalTransformer, target_loss

__all__ = ["form"]  # a fixture

EVERY: dict[str, Any] = {
    "attention_gate": "head",
    "log_keys": True,
    "child_counts": True,
    "class_targets": True,
    "row_roles": True,
    "row_likeness": True,
    "label_attention": True,
}


def model_of(form: str, variants: bool) -> RelationalTransformer:
    torch.manual_seed(0)
    sizes = {"num_blocks": 2, "d_model": 32, "num_heads": 2, "d_ff": 24, "d_text": 8}
    config = ModelConfig.from_dict(sizes | (EVERY if variants else {}))
    return RelationalTransformer(config, attention=form)


def assert_finite(model: RelationalTransformer, arrays: dict[str, NDArray[Any]]) -> None:
    batch = Batch.from_arrays(arrays)
    loss = target_loss(model(batch), batch)
    assert loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def constant(value: float) -> dict[str, NDArray[Any]]:
    """All numbers of all contexts are the same."""
    arrays = random_arrays(2)
    shown = ~arrays["is_padding"] & (arrays["semantic_type"] != TEXT)
    return arrays | {"value": np.where(shown, np.float32(value), 0)}


def no_masks() -> dict[str, NDArray[Any]]:
    """No row references another, each has one cell, no two cells share a column."""
    arrays = random_arrays(2, num_slots=7, max_rows=7, padding=0.0, max_parents=0)
    place = np.tile(np.arange(7, dtype=np.int32), (3, 1))
    ends = np.arange(0, 22, 7)
    of_rows = (
        "row_number",
        "row_table",
        "row_time",
        "row_depth",
        "row_part",
        "row_origin",
        "row_alike",
    )
    none = {name: np.zeros(21, arrays[name].dtype) for name in of_rows}
    counts = {"count_ptr": np.zeros(22, np.int64), "count_key": np.zeros(0, np.int32),
              "count": np.zeros(0, np.uint32)}  # fmt: skip
    rows = {"row": place, "column": place, "context_row_ptr": ends,
            "parent_ptr": np.zeros(22, np.int64), "parent": np.zeros(0, np.int32)}  # fmt: skip
    return arrays | none | counts | rows


def no_targets() -> dict[str, NDArray[Any]]:
    arrays = random_arrays(2)
    return arrays | {"is_target": np.zeros_like(arrays["is_target"])}


def only_padding() -> dict[str, NDArray[Any]]:
    arrays = random_arrays(2)
    arrays |= {name: np.full_like(arrays[name], -1) for name in ("row", "column", "text")}
    nothing = {name: np.zeros_like(arrays[name]) for name in ("is_target", "semantic_type")}
    return arrays | nothing | {"is_padding": np.ones_like(arrays["is_padding"])}


CASES = {
    "constant": lambda: constant(0.0),
    "clipped": lambda: constant(-20.0),
    "huge": lambda: constant(1e30),
    "no masks": no_masks,
    "no targets": no_targets,
    "only padding": only_padding,
}


@pytest.mark.parametrize("variants", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_finite(case: str, variants: bool, form: str) -> None:
    assert_finite(model_of(form, variants), CASES[case]())


@pytest.mark.parametrize("variants", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_in_bfloat16_too(case: str, variants: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert_finite(model_of("auto", variants), CASES[case]())


def test_a_loss_is_computed_in_fp32() -> None:
    """A difference that bfloat16 cannot hold, of outputs that it can."""
    arrays = random_arrays(2, padding=0.0)
    arrays["semantic_type"][:], arrays["value"][:] = NUMBER, 1 + 2**-12
    batch = Batch.from_arrays(arrays)
    one = torch.ones(batch.row.shape, dtype=torch.bfloat16)
    losses, scored = target_losses(Outputs(one, one, one), batch)
    assert losses.dtype == torch.float32
    expected = torch.full_like(losses[scored], 2**-25)
    torch.testing.assert_close(losses[scored], expected, rtol=1e-6, atol=0)
