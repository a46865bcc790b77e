"""What the model reads and what it must not, its loss by hand, its parameters and its errors."""

import numpy as np
import pytest
import torch
from random_contexts import random_arrays, random_batch

from plurel.errors import InputError
from rt.data import BOOLEAN, DATETIME, NUMBER, TEXT, Batch
from rt.model import ModelConfig, Outputs, RelationalTransformer, target_loss

CONFIG = ModelConfig(num_blocks=2, d_model=16, num_heads=2, d_ff=24, d_text=8)


@pytest.fixture
def model() -> RelationalTransformer:
    torch.manual_seed(0)
    return RelationalTransformer(CONFIG)


def all_equal(one: Outputs, other: Outputs) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("replacement", [7.5, -1e30, np.nan])
def test_a_target_is_never_read(model: RelationalTransformer, replacement: float) -> None:
    arrays = random_arrays(5)
    is_target, is_text = arrays["is_target"], arrays["semantic_type"] == TEXT
    assert (is_target & is_text).any()
    assert (is_target & ~is_text).any()
    changed = arrays | {
        "value": np.where(is_target, np.float32(replacement), arrays["value"]),
        "text": np.where(is_target & is_text, 8, arrays["text"]),
    }
    assert (changed["text"] != arrays["text"]).any()
    assert all_equal(model(Batch.from_arrays(arrays)), model(Batch.from_arrays(changed)))


@pytest.mark.parametrize("kind", [NUMBER, TEXT, DATETIME, BOOLEAN])
def test_every_other_cell_is_read(model: RelationalTransformer, kind: int) -> None:
    arrays = random_arrays(5, num_contexts=6)
    shown = ~arrays["is_target"] & ~arrays["is_padding"] & (arrays["semantic_type"] == kind)
    b, s = np.argwhere(shown)[0]
    changed = {name: array.copy() for name, array in arrays.items()}
    changed["text" if kind == TEXT else "value"][b, s] += 1
    before, after = model(Batch.from_arrays(arrays)), model(Batch.from_arrays(changed))
    assert not torch.equal(before.number[b], after.number[b])
    others = [c for c in range(6) if c != b]
    assert torch.equal(before.number[others], after.number[others])


def test_order_of_cells_does_not_matter(model: RelationalTransformer) -> None:
    arrays = random_arrays(6)
    order = np.random.default_rng(0).permutation(arrays["row"].shape[1])
    shuffled = {
        name: array[:, order] if array.shape == arrays["row"].shape else array
        for name, array in arrays.items()
    }
    before, after = model(Batch.from_arrays(arrays)), model(Batch.from_arrays(shuffled))
    torch.testing.assert_close(before.number[:, order], after.number, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_and_gets_zero(model: RelationalTransformer) -> None:
    arrays = random_arrays(7)
    shape = arrays["row"].shape
    filler = {"row": -1, "column": -1, "text": -1, "is_padding": True}
    longer = {
        name: np.concatenate((a, np.full((shape[0], 5), filler.get(name, 0), a.dtype)), axis=1)
        if a.shape == shape
        else a
        for name, a in arrays.items()
    }
    before, after = model(Batch.from_arrays(arrays)), model(Batch.from_arrays(longer))
    torch.testing.assert_close(before.number, after.number[:, : shape[1]], rtol=1e-4, atol=1e-5)
    assert (after.boolean[:, shape[1] :] == 0).all()
    assert (before.datetime[torch.from_numpy(arrays["is_padding"])] == 0).all()


def test_loss_by_hand() -> None:
    """Context 0: a number off by 0.5 and one off by 3, a text target that does not count.
    Context 1: a boolean and a datetime. Context 2: nothing to score."""
    arrays = random_arrays(8, num_contexts=3, num_slots=4, padding=0.0)
    arrays["semantic_type"] = np.array([[0, 0, 1, 0], [3, 2, 0, 0], [1, 0, 0, 0]], np.uint8)
    arrays["is_target"] = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    arrays["value"] = np.array([[1, -1, 0, 5], [0.2, 2, 0, 0], [0, 0, 0, 0]], np.float32)
    arrays["text"] = np.where(arrays["semantic_type"] == TEXT, 0, -1).astype(np.int32)
    batch = Batch.from_arrays(arrays)
    number = torch.tensor([[1.5, 2.0, 9.0, 9.0], [9.0] * 4, [9.0] * 4])
    datetime, boolean = torch.full((3, 4), 1.0), torch.full((3, 4), 0.7)
    first = (0.5 * 0.5**2 + (3 - 0.5)) / 2
    second = (np.log1p(np.exp(-0.7)) + 0.5 * 1.0**2) / 2
    found = target_loss(Outputs(number, datetime, boolean), batch)
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_parameters_have_gradients_or_are_frozen(model: RelationalTransformer) -> None:
    """A data-parallel wrapper hangs on a parameter that waits for a gradient in vain."""
    arrays = random_arrays(9)
    arrays["semantic_type"][:] = NUMBER
    arrays["text"][:] = -1
    model.loss(Batch.from_arrays(arrays)).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.requires_grad != name.startswith("dec_dict.text")


def test_paper_size_and_keys() -> None:
    with torch.device("meta"):
        model = RelationalTransformer(ModelConfig.named("paper", d_text=384))
    assert sum(p.numel() for p in model.parameters()) == 19_189_635
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    assert shapes["enc_dict.col_name.weight"] == (256, 384)
    assert shapes["dec_dict.text.weight"] == (384, 256)
    assert shapes["mask_embs.datetime"] == (256,)
    assert shapes["blocks.11.attns.nbr.q_norm.weight"] == (32,)
    assert shapes["blocks.0.ffn.w2.weight"] == (256, 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 0}, r"model.d_model must be a positive integer, not 0"),
        ({"num_blocks": 1.5}, r"model.num_blocks must be an integer, not 1.5"),
        ({"num_heads": 3}, r"d_model 16 is not a multiple of num_heads 3"),
        ({"width": 3}, r"model.width is not known: choose one of .*d_ff, d_model, d_text"),
    ],
)
def test_bad_configs(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelConfig.from_dict(CONFIG.to_dict() | change)


def test_bad_names_and_embedders(model: RelationalTransformer) -> None:
    with pytest.raises(InputError, match="model size 'huge' is unknown"):
        ModelConfig.named("huge", d_text=8)
    with pytest.raises(InputError, match="attention form 'flash' is unknown"):
        RelationalTransformer(CONFIG, attention="flash")
    with pytest.raises(InputError, match=r"have length 9, .* d_text 8"):
        model(random_batch(0, d_text=9))
    arrays = random_arrays(0)
    del arrays["parent"]
    with pytest.raises(InputError, match="parent"):
        Batch.from_arrays(arrays)
