"""Agreement with the published model on inputs, parameters, outputs and gradients that it made.

data/published_model.safetensors holds what the published program computed in fp32 on the CPU: four
contexts in random order of cells, among them one of a single cell, with parents outside the context
and repeated ones. Every attention form has to agree.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rt.attention import FORMS
from rt.data import TEXT, Batch
from rt.model import ModelConfig, RelationalTransformer

DATA = Path(__file__).parent / "data" / "published_model.safetensors"
CONFIG = ModelConfig(num_blocks=2, d_model=32, num_heads=4, d_ff=48, d_text=16)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return load_file(DATA)


def batch_of(published: dict[str, Tensor]) -> Batch:
    """The file's arrays as the sampler would hand them out: rows counted from 0, only parents that
    are in the context, texts and columns once each."""
    p = {key[6:]: value.numpy() for key, value in published.items() if key.startswith("batch.")}
    shape = p["row"].shape
    row = np.full(shape, -1, np.int32)
    context_row_ptr, parent_ptr, parent, row_number, row_table = [0], [0], [], [], []
    for b in range(shape[0]):
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
    columns, first, column = np.unique(p["column"], return_index=True, return_inverse=True)
    named = p["column_embedding"].reshape(-1, CONFIG.d_text)[first]
    is_text = (p["type"] == TEXT) & ~p["is_padding"]
    texts, text = np.unique(p["text_embedding"][is_text], axis=0, return_inverse=True)
    text_of_slot = np.full(shape, -1, np.int32)
    text_of_slot[is_text] = text.reshape(-1) + len(columns)
    zeros = np.zeros(shape[0], np.int32)
    arrays = {
        "row": row,
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
        "context_row_ptr": np.array(context_row_ptr),
        "row_number": np.array(row_number, np.uint32),
        "row_table": np.array(row_table, np.int32),
        "row_time": np.zeros(len(row_number), np.int64),
        "row_depth": np.zeros(len(row_number), np.int32),
        "row_part": np.zeros(len(row_number), np.uint8),
        "row_origin": np.full(len(row_number), -1, np.int32),
        "parent_ptr": np.array(parent_ptr),
        "parent": np.array(parent, np.int32),
        "column_text": np.arange(len(columns), dtype=np.int32),
        "column_number": columns.astype(np.int32),
        "column_store": np.zeros(len(columns), np.int32),
        # fp32: the published model read its embeddings in fp32
        "text_embedding": np.concatenate((named, texts)),
    }
    return Batch.from_arrays(arrays)


@pytest.fixture(scope="module", params=[form for form in FORMS if form != "auto"])
def model(request: pytest.FixtureRequest, published: dict[str, Tensor]) -> RelationalTransformer:
    model = RelationalTransformer(CONFIG, attention=request.param)
    model.load_state_dict({k[6:]: v for k, v in published.items() if k.startswith("param.")})
    return model


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
