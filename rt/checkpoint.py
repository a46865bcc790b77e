"""Checkpoints: what is needed to use a model again, and to go on training it.

A run's folder holds one folder a checkpoint, `step_<n>/`, with
- `model.safetensors`: the parameters under their published names, averaged over the steps if the
  run keeps an average (optim.ema_decay);
- `config.yaml`: format_version, step, model (sizes), embedder (name of the text embedder),
  embedder_fingerprint (see `rt.embedding_file`) and context (settings of the sampler): enough to
  build the model and to sample as it was trained;
- `trainer.pt` (optional): optimizer, counters, random states, early stopping and, beside an
  average, the live weights.
and the text files `latest` and `best`, each with the name of one of these folders. Everything is
written to a temporary neighbour, fsynced and renamed: a checkpoint is complete or is not there.
A folder of the first two files is a model by itself (`save_pretrained`), and so is a repository of
the Hugging Face Hub that holds them. Nothing that is loaded can run code.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch import Tensor

from plurel.atomic import complete_file, new_folder
from plurel.errors import InputError
from plurel.nearest import did_you_mean, did_you_mean_path
from rt import hub
from rt.model import ModelConfig, RelationalTransformer
from rt.settings import Settings
from rt.shipped import find_shipped, shipped_models
from rt.state import ADVICE, check_state, config_of, plain_names, read_tensors, read_torch

__all__ = ["Settings", "find_checkpoint", "load_config", "load_model", "load_settings",
           "load_sizes", "load_trainer", "point", "resolve", "save_checkpoint",
           "save_pretrained"]  # fmt: skip

FORMAT_VERSION = 1
MODEL_FILE, CONFIG_FILE, TRAINER_FILE = "model.safetensors", "config.yaml", "trainer.pt"
POINTERS = ("latest", "best")

AnyPath = str | os.PathLike[str]


def save_checkpoint(
    run: AnyPath,
    step: int,
    model: RelationalTransformer,
    settings: Settings,
    trainer: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write `run`/step_<step> and let `latest` point at it; the folder's path.

    state: the model's state dict, None for its own. `trainer` may hold tensors, numbers, strings,
    lists and dicts, nothing else.
    """
    folder = Path(run) / f"step_{step}"

    with new_folder(folder, marker=MODEL_FILE, overwrite=True) as place:
        _write_model(place, model, settings, step, state)
        if trainer is not None:
            _save_torch(trainer, place / TRAINER_FILE)
    point(run, "latest", folder)
    return folder


def save_pretrained(
    model: RelationalTransformer,
    path: AnyPath,
    settings: Settings | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write the model alone to the folder `path`, which `load_model` reads, here or as a repository
    of the Hub; settings: None for the model's own; dtype: of the parameters in the file; texts:
    further files by name, such as a model card."""
    folder = Path(path)
    if (folder / TRAINER_FILE).exists():
        raise InputError(f"{folder} belongs to a training run: choose another place for the model")
    with new_folder(folder, marker=MODEL_FILE, overwrite=True) as place:
        state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
        _write_model(place, model, settings or model.settings, None, state)
        for name, text in (texts or {}).items():
            (place / name).write_text(text, encoding="utf-8")
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
        raise InputError(_no_checkpoint(folder, pointer)) from None
    if not (named / MODEL_FILE).is_file():
        raise InputError(
            f"{folder / pointer} names {named.name}, which is no checkpoint; give a step_<n> folder"
        )
    return named


def _no_checkpoint(folder: Path, pointer: str) -> str:
    """What is wrong with a folder that is neither a checkpoint nor a run, and what to give."""
    wrong, near = f"it has neither {MODEL_FILE} nor the file {pointer}", ""
    if not folder.exists():
        wrong = "there is nothing of this name"
        bare = len(folder.parts) == 1
        near = did_you_mean(folder.name, shipped_models()) if bare else did_you_mean_path(folder)
    asked = hub.parse(os.fspath(folder))
    of_hub = "OWNER/NAME" if asked is None or not asked.hidden else asked.at("main")
    return (
        f"{folder} is no checkpoint: {wrong}; "
        f"give a step_<n> folder, a run's folder, a .pt file, {of_hub} of the Hub"
        + "".join(f" or {name}" for name in shipped_models())
        + near
    )


def resolve(name: AnyPath) -> Path:
    """The checkpoint folder or `.pt` file that a name means: the text that is the name of a model
    that comes with the package (`rt.shipped`) means that one, and `./<name>`, or a Path, a folder
    called so; else a path of this machine if there is one (see `find_checkpoint`), else a
    repository of the Hugging Face Hub (see `rt.hub`)."""
    path = Path(name)
    found = find_shipped(os.fspath(name))
    # a Path has lost its ./
    if found is not None and (isinstance(name, str) or not path.exists()):
        return found
    if path.suffix == ".pt" and path.is_file():
        return path
    if path.exists():
        return find_checkpoint(path)
    reference = hub.parse(os.fspath(name))
    if reference is not None and not reference.hidden:
        return hub.fetch(reference)
    if path.suffix == ".pt":
        raise InputError(f"{path} does not exist; {ADVICE}")
    return find_checkpoint(path)


def digest(place: Path) -> str:
    """The SHA-256 of the parameters of what `resolve` found, in hexadecimal digits."""
    with (place if place.is_file() else place / MODEL_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(name: AnyPath, attention: str = "auto") -> RelationalTransformer:
    """The model of a checkpoint folder, of a run's latest checkpoint, of a published `.pt` file or
    of a repository of the Hub (`resolve`), in fp32 on the CPU; its `settings` say how to feed it,
    as far as the checkpoint does."""
    place = resolve(name)
    if place.is_file():
        source, settings = place, Settings()
        state = plain_names(read_torch(source), source)
        config = config_of(state, source)
    else:
        source, settings = place / MODEL_FILE, load_settings(place)
        config = _model_config(place)
        state = plain_names(read_tensors(source), source)
    with torch.device("meta"):
        model = RelationalTransformer(config, attention)
    check_state(state, model.state_dict(), source)
    # copies: tensors of a file may share memory, and parameters that do would be trained as one
    copies = {
        name: tensor.float().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    model.load_state_dict(copies, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    model.freeze_unused()
    model.settings = settings
    return model


def load_config(path: AnyPath) -> dict[str, Any]:
    """The config of a checkpoint: format_version, step, model, embedder, context."""
    file = find_checkpoint(path) / CONFIG_FILE
    try:
        config = yaml.safe_load(file.read_text())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; {ADVICE}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none, depth
        raise InputError(f"{file} is not YAML: {str(error).splitlines()[0]}; {ADVICE}") from None
    config = {} if config is None else config
    if not isinstance(config, dict):
        raise InputError(f"{file} is a {type(config).__name__}, not a group of keys; {ADVICE}")
    missing = {"format_version", "model", "embedder", "context"} - set(config)
    if missing:
        raise InputError(f"{file} lacks the keys {', '.join(sorted(missing))}; {ADVICE}")
    if config["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{file} has format version {config['format_version']}, this program reads "
            f"{FORMAT_VERSION}: use the program that wrote it"
        )
    return config


def load_settings(name: AnyPath) -> Settings:
    """How the model of a checkpoint must be fed; a published `.pt` file does not say."""
    place = resolve(name)
    if place.is_file():
        return Settings()
    config = load_config(place)
    values = config["embedder"], config["context"], config.get("embedder_fingerprint")
    for key, value, kind in zip(("embedder", "context", "embedder_fingerprint"), values,
                                (str | None, dict, str | None), strict=True):  # fmt: skip
        if not isinstance(value, kind):
            raise InputError(f"{place / CONFIG_FILE}: {key} cannot be {value!r}; {ADVICE}")
    return Settings(*values)


def load_sizes(name: AnyPath) -> dict[str, Any]:
    """The sizes and variants of the model of a checkpoint (`resolve`), plain values."""
    place = resolve(name)
    if place.is_file():
        return config_of(plain_names(read_torch(place), place), place).to_dict()
    return _model_config(place).to_dict()


def load_trainer(path: AnyPath) -> dict[str, Any]:
    """What `save_checkpoint` was given as `trainer`, on the CPU."""
    file = find_checkpoint(path) / TRAINER_FILE
    if not file.is_file():
        raise InputError(f"{file} is missing: training cannot go on from this checkpoint")
    return read_torch(file)


def _model_config(folder: Path) -> ModelConfig:
    try:
        return ModelConfig.from_dict(load_config(folder)["model"])
    except InputError as error:
        raise InputError(f"{folder / CONFIG_FILE}: {error}") from None


def _write_model(
    folder: Path,
    model: RelationalTransformer,
    settings: Settings,
    step: int | None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    state = model.state_dict() if state is None else state
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state.items()}
    (folder / MODEL_FILE).write_bytes(save(tensors))  # save_file has errors of its own: a full disk
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
