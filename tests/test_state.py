"""State dicts that do not fit: every wrong key is named, whatever is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from plurel.errors import InputError
from rt.checkpoint import load_model, save_pretrained
from rt.model import ModelConfig, RelationalTransformer
from rt.state import shortened

CONFIG = ModelConfig(num_blocks=2, d_model=16, num_heads=2, d_ff=24, d_text=8)


@pytest.fixture
def model() -> RelationalTransformer:
    torch.manual_seed(0)
    return RelationalTransformer(CONFIG)


@pytest.mark.parametrize("kind", ["folder", ".pt"])
def test_state_that_does_not_fit(tmp_path: Path, model: RelationalTransformer, kind: str) -> None:
    """Whatever is missing, also what the sizes of a published file are read from first."""
    folder = save_pretrained(model, tmp_path / "model")
    place = folder if kind == "folder" else tmp_path / "published.pt"
    state = load_file(folder / "model.safetensors")
    for name in ("norm_out.weight", "enc_dict.text.weight", "blocks.0.ffn.w1.weight"):
        del state[name]
    for block in (0, 1):
        del state[f"blocks.{block}.attns.col.q_norm.weight"]
        state[f"blocks.{block}.attns.nbr.wq.weight"] = torch.zeros(4, 16)
    state |= {"gate.weight": torch.zeros(2), "mask_embs.text": torch.zeros(3)}
    if kind == "folder":
        save_file(state, folder / "model.safetensors")
    else:
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, place)
    with pytest.raises(InputError) as error:
        load_model(place)
    for part in (
        "published.pt does not fit"
        if kind == ".pt"
        else "model.safetensors does not fit the model",
        "missing keys: enc_dict.text.weight, norm_out.weight, "
        "blocks.0.ffn.w1.weight, blocks.{0-1}.attns.col.q_norm.weight;",
        "unexpected keys: gate.weight;",
        "mask_embs.text has shape (3,), not (16,)",
        "blocks.{0-1}.attns.nbr.wq.weight has shape (4, 16), not (16, 16)",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "none of its keys tells d_model and d_text and d_ff and head; it holds nothing"),
        ({"fc.weight": torch.zeros(2)}, "is no relational transformer: .* it holds fc.weight"),
        ({"norm_out.weight": 3}, "is no relational transformer"),
        ({7: torch.zeros(2)}, "is no relational transformer"),
        ([torch.zeros(2)], "holds a list, not a dictionary"),
        ("more", "norm_out.weight is a str, not a tensor"),
        ("twice", "holds parameters twice, with and without a prefix"),
        ("far", "is no relational transformer"),
        (
            "heads",
            "is no relational transformer: model.d_model 16 is not a multiple of num_heads 5",
        ),
    ],
)
def test_other_pt_files(
    tmp_path: Path, model: RelationalTransformer, content: object, message: str
) -> None:
    state = model.state_dict()
    special: dict[str, dict[str, object]] = {
        "more": {"norm_out.weight": "text"},
        "twice": {"module.norm_out.weight": torch.zeros(16)},
        "far": {"blocks.1000000000.ffn.w1.weight": torch.zeros(24, 16)},
        "heads": {name: torch.zeros(3) for name in state if name.endswith("_norm.weight")},
    }
    torch.save(state | special[content] if isinstance(content, str) else content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=rf"a.pt .*{message}|a.pt {message}"):
        load_model(tmp_path / "a.pt")


WRONG: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "int64": lambda t: t.long(),
    "complex64": lambda t: t + 1j,
    "sparse_coo": lambda t: t.to_sparse(),
    "on meta": lambda t: t.to("meta"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("kind", WRONG)
def test_tensors_of_other_types(tmp_path: Path, model: RelationalTransformer, kind: str) -> None:
    """Made floats, they would be a model with other numbers than the file's, or with none."""
    state = model.state_dict()
    name = "blocks.0.ffn.w1.weight"
    torch.save(state | {name: WRONG[kind](state[name])}, tmp_path / "a.pt")
    said = rf"a.pt does not fit.*: {name} is no dense tensor of real numbers \(.*{kind}"
    with pytest.raises(InputError, match=said):
        load_model(tmp_path / "a.pt")


def test_parameters_share_no_memory(tmp_path: Path, model: RelationalTransformer) -> None:
    """Whatever a file ties together is trained apart."""
    state = model.state_dict()
    one = torch.ones(1).expand(16)
    torch.save(state | {"norm_out.weight": one, "norm_dict.text.weight": one}, tmp_path / "a.pt")
    loaded = load_model(tmp_path / "a.pt")
    with torch.no_grad():
        loaded.norm_out.weight[0] = 2
    assert loaded.norm_out.weight.tolist() == [2] + [1] * 15
    assert loaded.norm_dict["text"].weight.tolist() == [1] * 16


@pytest.mark.parametrize("content", ["pickle", "text"])
def test_no_advice_to_run_what_is_in_a_file(tmp_path: Path, content: str) -> None:
    """Torch's own message names the switch with which the file would run its code."""
    if content == "pickle":
        torch.save({"norm_out.weight": Path("x")}, tmp_path / "a.pt")
    else:
        (tmp_path / "a.pt").write_text("no pickle")
    with pytest.raises(InputError, match="or holds more than tensors and plain values") as error:
        load_model(tmp_path / "a.pt")
    assert "weights_only" not in str(error.value)


def test_a_key_names_each_block_once() -> None:
    names = [f"blocks.{n}.norm" for n in (0, 1, 2, 5)] + ["blocks.3.ffn", "b", "a"]
    assert shortened(names) == "a, b, blocks.3.ffn, blocks.{0-2,5}.norm"
