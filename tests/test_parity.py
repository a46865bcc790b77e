"""Agreement with the published model on inputs, parameters, outputs and gradients that it made.

data/published_model.safetensors holds what the published program computed in fp32 on the CPU: four
contexts in random order of cells, among them one of a single cell, with parents outside the context
and repeated ones. Every attention form has to agree, with parameters read as they were published: a
`.pt` file in float32 or bfloat16, with the prefixes of whatever was wrapped around the model.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flex_on_cpu import ON_CPU, form
from naive_model import assert_agreement, run_naive
from numpy.typing import NDArray
from random_contexts import no_classes, no_counts
from safetensors.torch import load_file
from torch import Tensor

from rt.attention import FORMS
from rt.checkpoint import load_model
from rt.data import TEXT, Batch
from rt.model import ModelConfig, RelationalTransformer

__all__ = ["form"]  # a fixture

DATA = Path(__file__).parent / "data" / "published_model.safetensors"
CONFIG = ModelConfig(num_blocks=2, d_model=32, num_heads=4, d_ff=48, d_text=16)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return load_file(DATA)


def batch_of(published: dict[str, Tensor]) -> Batch:
    return Batch.from_arrays(arrays_of(published))


def arrays_of(published: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The file's arrays as the sampler would hand them out: rows counted from 0, only parents that
    are in the context, texts and columns once each."""
    p = {key[6:]: value.numpy() for key, value in published.items() if key.startswith("batch.")}
    shape, zeros = p["row"].shape, np.zeros(len(p["row"]), np.int32)
    columns, first, column = np.unique(p["column"], return_index=True, return_inverse=True)
    named = p["column_embedding"].reshape(-1, CONFIG.d_text)[first]
    is_text = (p["type"] == TEXT) & ~p["is_padding"]
    texts, text = np.unique(p["text_embedding"][is_text], axis=0, return_inverse=True)
    text_of_slot = np.full(shape, -1, np.int32)
    text_of_slot[is_text] = text.reshape(-1) + len(columns)
    return rows_of(p) | {
        "column": np.where(p["is_padding"], -1, column.reshape(shape)).astype(np.int32),
        "semantic_type": p["type"].astype(np.uint8),
        "value": p["value"],
        "text": text_of_slot,
        "is_target": p["is_masked"],
        "is_padding": p["is_padding"],
        "target_slot": p["is_masked"].argmax(1).astype(np.int32),
        "target_row": zeros.astype(np.uint32),
        "context_task": zeros,
        "context_store": zeros,
        "context_recipe": zeros,
        "column_text": np.arange(len(columns), dtype=np.int32),
        "column_number": columns.astype(np.int32),
        "column_store": np.zeros(len(columns), np.int32),
        **no_counts(),
        **no_classes(len(zeros)),
        # fp32: the published model read its embeddings in fp32
        "text_embedding": np.concatenate((named, texts)),
    }


def rows_of(p: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays about rows."""
    row = np.full(p["row"].shape, -1, np.int32)
    context_row_ptr, parent_ptr, parent, row_number, row_table = [0], [0], [], [], []
    for b in range(len(row)):
        numbers = sorted(set(p["row"][b][~p["is_padding"][b]].tolist()))
        place = {number: i for i, number in enumerate(numbers)}
        for number in numbers:
            slots = np.flatnonzero(p["row"][b] == number)
            row[b, slots] = place[number]
            row_number.append(number)
            row_table.append(p["table"][b, slots[0]])
            parent += [place[n] for n in p["parents"][b, slots[0]].tolist() if n in place]
            parent_ptr.append(len(parent))
        context_row_ptr.append(len(row_number))
    return {
        "row": row,
        "context_row_ptr": np.array(context_row_ptr),
        "row_number": np.array(row_number, np.uint32),
        "row_table": np.array(row_table, np.int32),
        "row_time": np.zeros(len(row_number), np.int64),
        "row_depth": np.zeros(len(row_number), np.int32),
        "row_part": np.zeros(len(row_number), np.uint8),
        "row_origin": np.full(len(row_number), -1, np.int32),
        "row_alike": np.full(len(row_number), -1, np.float32),
        "context_told": np.zeros(len(row), np.float32),
        "parent_ptr": np.array(parent_ptr),
        "parent": np.array(parent, np.int32),
    }


def parameters_of(published: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[6:]: value for k, value in published.items() if k.startswith("param.")}


@pytest.fixture(scope="module")
def model(
    published: dict[str, Tensor], form: str, tmp_path_factory: pytest.TempPathFactory
) -> RelationalTransformer:
    """The published parameters from a file of a compiled model in a data-parallel wrapper."""
    file = tmp_path_factory.mktemp("parity") / "published.pt"
    state = {f"module._orig_mod.{name}": p for name, p in parameters_of(published).items()}
    torch.save(state, file)
    return load_model(file, form)


def test_all_forms_are_compared() -> None:
    assert {"auto", *ON_CPU} == set(FORMS)


def test_outputs_and_loss(published: dict[str, Tensor], model: RelationalTransformer) -> None:
    batch = batch_of(published)
    outputs = model(batch)
    for name in ("number", "datetime", "boolean"):
        expected = published[f"output.{name}"].masked_fill(batch.is_padding, 0)
        torch.testing.assert_close(getattr(outputs, name), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.loss(batch), published["loss"], rtol=1e-5, atol=1e-5)


def test_gradients(published: dict[str, Tensor], model: RelationalTransformer) -> None:
    model.zero_grad()
    model.loss(batch_of(published)).backward()
    expected = {key[5:]: value for key, value in published.items() if key.startswith("grad.")}
    parameters = dict(model.named_parameters())
    assert set(expected) == set(parameters)
    for name, gradient in expected.items():
        found = parameters[name].grad
        found = torch.zeros_like(gradient) if found is None else found
        error = (found - gradient).norm() / gradient.norm().clamp(min=1e-9)
        assert error < 1e-4, f"{name}: relative error {error}"


@pytest.mark.parametrize(
    "prefix", ["", "_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_published_files_give_the_published_parameters(
    published: dict[str, Tensor], tmp_path: Path, prefix: str, dtype: torch.dtype
) -> None:
    state = {name: p.to(dtype) for name, p in parameters_of(published).items()}
    torch.save({prefix + name: p for name, p in state.items()}, tmp_path / "published.pt")
    model = load_model(tmp_path / "published.pt")
    assert model.config == CONFIG
    assert all(p.dtype == torch.float32 for p in model.parameters())
    expected = {name: p.float() for name, p in state.items()}
    torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)


def test_a_file_in_bfloat16(published: dict[str, Tensor], form: str, tmp_path: Path) -> None:
    """Its parameters are rounded, so what was published for unrounded ones is no measure."""
    state = {name: p.bfloat16() for name, p in parameters_of(published).items()}
    torch.save({f"module.{name}": p for name, p in state.items()}, tmp_path / "published.pt")
    proof = run_naive(state, CONFIG.num_heads, arrays_of(published))
    assert_agreement(load_model(tmp_path / "published.pt", form), batch_of(published), proof)


def test_the_plain_loops_are_the_published_model(published: dict[str, Tensor]) -> None:
    """The second proof's own measure."""
    proof = run_naive(parameters_of(published), CONFIG.num_heads, arrays_of(published))
    torch.testing.assert_close(proof.loss.float(), published["loss"], rtol=1e-5, atol=1e-5)
    for name, gradient in proof.gradients.items():
        expected = published.get(f"grad.{name}", torch.zeros_like(gradient))
        error = (gradient - expected).norm() / expected.norm().clamp(min=1e-9)
        assert error < 1e-4, f"{name}: relative error {error}"
