"""Checkpoints: what is needed to use a model again, and to go on training it.

A run's folder holds one folder a checkpoint, `step_<n>/`, with
- `model.safetensors`: the parameters under their published names;
- `config.yaml`: format_version, step, model (sizes), embedder (name of the text embedder),
  embedder_fingerprint (see `rt.embedding_file`) and context (settings of the sampler): enough to
  build the model and to sample as it was trained;
- `trainer.pt` (optional): optimizer, schedule, counters, random states.
and the text files `latest` and `best`, each with the name of one of these folders. Everything is
written to a temporary neighbour, fsynced and renamed: a checkpoint is complete or is not there.
Nothing that is loaded can run code.
"""

import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from plurel.atomic import complete_file, new_folder
from plurel.errors import InputError
from rt.model import ModelConfig, RelationalTransformer

FORMAT_VERSION = 1
MODEL_FILE, CONFIG_FILE, TRAINER_FILE = "model.safetensors", "config.yaml", "trainer.pt"
POINTERS = ("latest", "best")
_ADVICE = "give another checkpoint"

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Settings:
    """What a model must be fed with: the name of the text embedder, None if unknown, and the
    settings of the sampler (context_length, recipes), plain values for YAML."""

    embedder: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    """Of the text embedder (see `rt.embedding_file`), None if unknown."""


def save_checkpoint(
    run: AnyPath,
    step: int,
    model: RelationalTransformer,
    settings: Settings,
    trainer: Mapping[str, Any] | None = None,
) -> Path:
    """Write `run`/step_<step> and let `latest` point at it; the folder's path.

    `trainer` may hold tensors, numbers, strings, lists and dicts, nothing else.
    """
    folder = Path(run) / f"step_{step}"

    with new_folder(folder, marker=MODEL_FILE, overwrite=True) as place:
        _write_model(place, model, settings, step)
        if trainer is not None:
            _save_torch(trainer, place / TRAINER_FILE)
    point(run, "latest", folder)
    return folder


def save_pretrained(
    model: RelationalTransformer, path: AnyPath, settings: Settings | None = None
) -> Path:
    """Write the model alone to the folder `path`, which `load_model` reads."""
    folder = Path(path)
    with new_folder(folder, marker=MODEL_FILE, overwrite=True) as place:
        _write_model(place, model, settings or Settings(), None)
    return folder


def point(run: AnyPath, name: str, folder: Path) -> None:
    """Let the pointer `name`, "latest" or "best", name one of the run's checkpoints."""
    if name not in POINTERS:
        raise InputError(f"a checkpoint pointer is one of {', '.join(POINTERS)}, not {name!r}")
    with complete_file(Path(run) / name) as file:
        file.write_text(f"{folder.name}\n")


def find_checkpoint(path: AnyPath, pointer: str = "latest") -> Path:
    """The checkpoint folder that `path` means: itself, the one that it names as a run's pointer
    file (RUN/best), or the one that the run's `pointer` names."""
    folder = Path(path)
    if folder.name in POINTERS and folder.is_file():
        folder, pointer = folder.parent, folder.name
    if (folder / MODEL_FILE).is_file():
        return folder
    try:
        named = folder / (folder / pointer).read_text().strip()
    except OSError:
        raise InputError(
            f"{folder} is no checkpoint: it has neither {MODEL_FILE} nor the file {pointer}; "
            "give a step_<n> folder, a run's folder or a .pt file"
        ) from None
    if not (named / MODEL_FILE).is_file():
        raise InputError(
            f"{folder / pointer} names {named.name}, which is no checkpoint; give a step_<n> folder"
        )
    return named


def load_model(path: AnyPath, attention: str = "auto") -> RelationalTransformer:
    """The model of a checkpoint folder, of a run's latest checkpoint, or of a published `.pt` file,
    in fp32 on the CPU."""
    if Path(path).suffix == ".pt":
        state = _plain_names(_load_torch(Path(path)))
        config = _config_of(state, Path(path))
        source = Path(path)
    else:
        folder = find_checkpoint(path)
        config = ModelConfig.from_dict(load_config(folder)["model"])
        source = folder / MODEL_FILE
        state = _plain_names(_load_tensors(source))
    with torch.device("meta"):
        model = RelationalTransformer(config, attention)
    _check_state(state, model.state_dict(), source)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    model.dec_dict["text"].requires_grad_(False)
    return model


def load_config(path: AnyPath) -> dict[str, Any]:
    """The config of a checkpoint: format_version, step, model, embedder, context."""
    file = find_checkpoint(path) / CONFIG_FILE
    try:
        config = yaml.safe_load(file.read_text())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; {_ADVICE}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not YAML: {str(error).splitlines()[0]}; {_ADVICE}") from None
    missing = {"format_version", "model", "embedder", "context"} - set(config or ())
    if not isinstance(config, dict) or missing:
        raise InputError(f"{file} lacks the keys {', '.join(sorted(missing))}; {_ADVICE}")
    if config["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{file} has format version {config['format_version']}, this program reads "
            f"{FORMAT_VERSION}: use the program that wrote it"
        )
    return config


def load_settings(path: AnyPath) -> Settings:
    """How the model of a checkpoint must be fed."""
    config = load_config(path)
    return Settings(config["embedder"], config["context"], config.get("embedder_fingerprint"))


def load_trainer(path: AnyPath) -> dict[str, Any]:
    """What `save_checkpoint` was given as `trainer`, on the CPU."""
    file = find_checkpoint(path) / TRAINER_FILE
    if not file.is_file():
        raise InputError(f"{file} is missing: training cannot go on from this checkpoint")
    return _load_torch(file)


def _write_model(
    folder: Path, model: RelationalTransformer, settings: Settings, step: int | None
) -> None:
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    (folder / MODEL_FILE).write_bytes(save(state))  # save_file has errors of its own: a full disk
    config = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "model": model.config.to_dict(),
        "embedder": settings.embedder,
        "embedder_fingerprint": settings.fingerprint,
        "context": settings.context,
    }
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(config, sort_keys=False))


def _save_torch(content: Mapping[str, Any], file: Path) -> None:
    # through memory: onto a full disk torch.save fails with a RuntimeError about positions
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    file.write_bytes(buffer.getbuffer())


def _load_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{file} cannot be read: {str(error).splitlines()[0]}; {_ADVICE}"
        ) from None


def _load_torch(file: Path) -> dict[str, Any]:
    """A file of `torch.save` that may hold tensors and plain values only."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; {_ADVICE}") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{file} cannot be read: {str(error).splitlines()[0]}; {_ADVICE}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{file} holds a {type(content).__name__}, not a dictionary; {_ADVICE}")
    return content


def _plain_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names without what torch.compile and data-parallel wrappers put before them."""
    return {
        name.replace("_orig_mod.", "").removeprefix("module."): tensor
        for name, tensor in state.items()
    }


def _config_of(state: Mapping[str, Tensor], file: Path) -> ModelConfig:
    """The sizes of the model that a state dict belongs to."""
    try:
        d_model, d_text = state["enc_dict.text.weight"].shape
        return ModelConfig(
            num_blocks=1 + max(int(n.split(".")[1]) for n in state if n.startswith("blocks.")),
            d_model=d_model,
            num_heads=d_model // state["blocks.0.attns.col.q_norm.weight"].shape[0],
            d_ff=state["blocks.0.ffn.w1.weight"].shape[0],
            d_text=d_text,
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{file} is no relational transformer: {error}; {_ADVICE}") from None


def _check_state(found: Mapping[str, Any], expected: Mapping[str, Tensor], file: Path) -> None:
    """Raise an InputError that names missing and unexpected keys and wrong shapes."""
    problems = []
    for what, names in (
        ("missing", sorted(set(expected) - set(found))),
        ("unexpected", sorted(set(found) - set(expected))),
    ):
        if names:
            problems.append(f"{what} keys: {', '.join(names)}")
    for name in sorted(set(found) & set(expected)):
        shape = tuple(getattr(found[name], "shape", ()))
        if shape != tuple(expected[name].shape):
            problems.append(f"{name} has shape {shape}, not {tuple(expected[name].shape)}")
    if problems:
        raise InputError(f"{file} does not fit the model: {'; '.join(problems)}")
