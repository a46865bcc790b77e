"""Checkpoints come back as they were saved, or in one line say why not."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from random_contexts import random_batch
from safetensors.torch import save
from small_disk import files_up_to

from plurel.errors import InputError
from rt import checkpoint
from rt.checkpoint import Settings, load_model, load_settings, save_checkpoint, save_pretrained
from rt.model import ModelConfig, RelationalTransformer

CONFIG = ModelConfig(num_blocks=2, d_model=16, num_heads=2, d_ff=24, d_text=8)
SETTINGS = Settings(
    "some-embedder", {"context_length": 40, "recipes": {"published": {"width": [16]}}}
)
WITH = "format_version: 1\nmodel: {model}\nembedder: e\ncontext: {{}}"
SIZES = str(CONFIG.to_dict())


@pytest.fixture
def model() -> RelationalTransformer:
    torch.manual_seed(0)
    return RelationalTransformer(CONFIG)


def outputs(model: RelationalTransformer) -> torch.Tensor:
    with torch.no_grad():
        return model(random_batch(0)).number


def test_round_trip(tmp_path: Path, model: RelationalTransformer) -> None:
    folder = save_checkpoint(tmp_path, 7, model, SETTINGS)
    assert folder == tmp_path / "step_7"
    loaded = RelationalTransformer.from_pretrained(folder)
    assert torch.equal(outputs(loaded), outputs(model))
    assert loaded.config == CONFIG
    assert checkpoint.load_settings(folder) == SETTINGS
    assert checkpoint.load_config(folder)["step"] == 7
    needs = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in loaded.named_parameters()} == needs


def test_pointers(tmp_path: Path, model: RelationalTransformer) -> None:
    one = save_checkpoint(tmp_path, 1, model, SETTINGS)
    checkpoint.point(tmp_path, "best", one)
    two = save_checkpoint(tmp_path, 2, model, SETTINGS)
    assert checkpoint.find_checkpoint(tmp_path) == two
    assert checkpoint.find_checkpoint(tmp_path, "best") == one
    assert checkpoint.find_checkpoint(tmp_path / "best") == one
    assert checkpoint.find_checkpoint(tmp_path / "latest") == two
    assert RelationalTransformer.from_pretrained(tmp_path / "best").config == CONFIG
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "latest", "step_1", "step_2"]


def test_saving_again_replaces(tmp_path: Path, model: RelationalTransformer) -> None:
    save_checkpoint(tmp_path, 1, model, SETTINGS, trainer={"step": 1})
    torch.manual_seed(1)
    other = RelationalTransformer(CONFIG)
    save_checkpoint(tmp_path, 1, other, SETTINGS)
    assert torch.equal(outputs(load_model(tmp_path)), outputs(other))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_1"]
    with pytest.raises(InputError, match=r"trainer.pt is missing"):
        checkpoint.load_trainer(tmp_path)


def test_a_checkpoint_knows_its_embedder_and_one_of_an_older_version_does_not(
    tmp_path: Path, model: RelationalTransformer
) -> None:
    settings = Settings("some-embedder", {}, "0123abcd")
    folder = save_pretrained(model, tmp_path / "model", settings)
    assert load_settings(folder) == settings
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("embedder_fingerprint: 0123abcd\n", ""))
    assert load_settings(folder) == Settings("some-embedder", {})


def test_trainer_state(tmp_path: Path, model: RelationalTransformer) -> None:
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    model.loss(random_batch(0)).backward()
    optimizer.step()
    trainer = {"optimizer": optimizer.state_dict(), "step": 3, "generator": torch.get_rng_state()}
    folder = save_checkpoint(tmp_path, 3, model, SETTINGS, trainer)
    loaded = checkpoint.load_trainer(folder)
    assert loaded["step"] == 3
    torch.testing.assert_close(loaded["optimizer"], trainer["optimizer"], rtol=0, atol=0)


@pytest.mark.parametrize("fits", [(), ("model",)])
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, model: RelationalTransformer, fits: tuple[str, ...]
) -> None:
    size = len(save(model.state_dict()))
    trainer = {"optimizer": torch.zeros(size)}
    full = rf"can't write {tmp_path}/step_1: File too large; check the rights and the space there"
    limit = 2 * size if fits else size // 2
    with pytest.raises(InputError, match=full), files_up_to(limit):
        save_checkpoint(tmp_path, 1, model, SETTINGS, trainer)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_nothing(tmp_path: Path, model: RelationalTransformer) -> None:
    save_checkpoint(tmp_path, 1, model, SETTINGS)
    with pytest.raises(yaml.YAMLError):
        save_checkpoint(tmp_path, 2, model, Settings("e", {"rate": object()}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_1"]
    assert torch.equal(outputs(load_model(tmp_path)), outputs(model))


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_published_files(
    tmp_path: Path, model: RelationalTransformer, prefix: str, dtype: torch.dtype
) -> None:
    file = tmp_path / "published.pt"
    torch.save({prefix + name: t.to(dtype) for name, t in model.state_dict().items()}, file)
    loaded = load_model(file)
    assert loaded.config == CONFIG
    assert loaded.norm_out.weight.dtype == torch.float32
    tolerance = 0.0 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(outputs(loaded), outputs(model), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["bad.pt", "trainer.pt", "model.safetensors", "config.yaml"])
def test_loading_runs_no_code(tmp_path: Path, model: RelationalTransformer, name: str) -> None:
    class Harmful:
        def __reduce__(self) -> tuple:
            return (os.system, (f"touch '{tmp_path}/touched'",))

    folder = save_checkpoint(tmp_path, 1, model, SETTINGS, {"step": 1})
    if name == "config.yaml":
        (folder / name).write_text(f"!!python/object/apply:os.system ['touch {tmp_path}/touched']")
    else:
        torch.save({"norm_out.weight": Harmful()}, folder / name)
    load = checkpoint.load_trainer if name == "trainer.pt" else load_model
    with pytest.raises(InputError, match=rf"{name} (cannot be read|is not YAML)"):
        load(folder / name if name == "bad.pt" else folder)
    assert not (tmp_path / "touched").exists()


@dataclass(frozen=True)
class Wider(ModelConfig):
    """A config of a later version, with one more key, which has a default."""

    wheels: int = 1


def test_an_older_config_lacks_later_variants(
    tmp_path: Path, model: RelationalTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save_pretrained(model, tmp_path / "old")
    model.config = Wider(**CONFIG.to_dict(), wheels=2)
    new = save_pretrained(model, tmp_path / "new")
    with pytest.raises(InputError, match=r"new/config.yaml: model.wheels is not known: choose"):
        load_model(new)
    monkeypatch.setattr(checkpoint, "ModelConfig", Wider)
    assert load_model(old).config == Wider(**CONFIG.to_dict())
    assert load_model(new).config == model.config


def test_the_model_keeps_its_settings(tmp_path: Path, model: RelationalTransformer) -> None:
    save_checkpoint(tmp_path, 1, model, SETTINGS)
    loaded = RelationalTransformer.from_pretrained(tmp_path)
    assert loaded.settings == SETTINGS
    loaded.save_pretrained(tmp_path / "alone")
    assert load_settings(tmp_path / "alone") == SETTINGS
    loaded.save_pretrained(tmp_path / "alone", Settings("other"))
    assert load_settings(tmp_path / "alone") == Settings("other")


def test_a_checkpoint_of_a_run_is_not_replaced_by_its_model(
    tmp_path: Path, model: RelationalTransformer
) -> None:
    folder = save_checkpoint(tmp_path, 1, model, SETTINGS, {"step": 1})
    with pytest.raises(InputError, match="step_1 belongs to a training run: choose another place"):
        model.save_pretrained(folder)
    assert checkpoint.load_trainer(folder) == {"step": 1}


def test_the_model_knows_of_no_files() -> None:
    """DESIGN: what reads and writes files is imported when it is called, and the Hub's client when
    a name is not a path."""
    files = "{'rt.checkpoint', 'rt.state', 'rt.hub', 'huggingface_hub', 'yaml'}"
    code = (
        f"import sys, rt.model; assert not set(sys.modules) & {files}, set(sys.modules) & {files}"
    )
    code += "; import rt.checkpoint; assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "config.yaml is not YAML"),
        ("", "lacks the keys context, embedder, format_version, model"),
        ("format_version: 9\nmodel: {}\nembedder: e\ncontext: {}", "has format version 9"),
        ("- {a: 1}", "config.yaml is a list, not a group of keys"),
        ("caf\xe9: 1", "config.yaml is not YAML: .*can't decode byte 0xe9"),
        ("!!python/object/apply:os.getcwd []", "config.yaml is not YAML: could not determine a"),
        ("when: 2024-13-45", "config.yaml is not YAML: month must be in 1..12"),
        ("[" * 5000, "config.yaml is not YAML: maximum recursion depth"),
        (
            WITH.format(model=SIZES).replace("blocks': 2", "blocks': 1000000000"),
            "config.yaml: model.num_blocks must be at most 1000, not 1000000000",
        ),
        (
            WITH.format(model=SIZES).replace("d_ff': 24", "d_ff': 1000000000000000000000"),
            "config.yaml: model.d_ff must be at most 1048576, not 1000000000000000000000",
        ),
        (WITH.format(model="{}"), "config.yaml: model.num_blocks is missing: give it a value"),
        (WITH.format(model="3"), "config.yaml: model must be a group of keys, not 3"),
        (WITH.format(model="{gate: 1}"), "config.yaml: model.gate is not known: choose one of att"),
        (WITH.format(model=SIZES).replace(": e", ": 3"), "config.yaml: embedder cannot be 3"),
        (WITH.format(model=SIZES).replace("{}", "7"), "config.yaml: context cannot be 7"),
    ],
)
def test_bad_configs(tmp_path: Path, model: RelationalTransformer, text: str, message: str) -> None:
    folder = save_checkpoint(tmp_path, 1, model, SETTINGS)
    (folder / "config.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path)


def test_bad_paths(tmp_path: Path, model: RelationalTransformer) -> None:
    with pytest.raises(InputError, match="is no checkpoint"):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"nothing.pt does not exist"):
        load_model(tmp_path / "nothing.pt")
    folder = save_checkpoint(tmp_path, 1, model, SETTINGS)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model.safetensors cannot be read"):
        load_model(tmp_path)
    (tmp_path / "latest").write_text("step_9\n")
    with pytest.raises(InputError, match="names step_9, which is no checkpoint"):
        load_model(tmp_path)
