"""State dicts from files: read without running code, compared with a model name by name."""

import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from plurel.errors import InputError
from rt.model_config import ModelConfig

ADVICE = "give another checkpoint"
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")

# where each size shows: ends of names, and the dimension of the tensor
_SIZES: dict[str, tuple[tuple[str, ...], int]] = {
    "d_model": (("norm_out.weight", ".ffn.weight", ".col.weight", "norm_dict.number.weight"), 0),
    "d_text": (("enc_dict.text.weight", "enc_dict.col_name.weight"), 1),
    "d_ff": (("ffn.w1.weight", "ffn.w3.weight"), 0),
    "head": ((".q_norm.weight", ".k_norm.weight"), 0),
}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which holds nothing else."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read: {_first_line(error)}; {ADVICE}") from None


def read_torch(file: Path) -> dict[Any, Any]:
    """A dictionary that `torch.save` wrote, of tensors and plain values: the reader knows no other
    types, so nothing in the file can run."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; {ADVICE}") from None
    except pickle.UnpicklingError:  # torch's message says how to let the file run its code
        raise InputError(
            f"{file} cannot be read: it is no file of torch.save, or holds more than tensors and "
            f"plain values, which could run code; {ADVICE}"
        ) from None
    except Exception as error:  # a reader of pickles fails with any, as their documentation says
        reason = _first_line(error).split(". ")[0]
        raise InputError(f"{file} cannot be read: {reason}; {ADVICE}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} holds a {type(content).__name__}, not a dictionary; {ADVICE}")
    return content


def plain_names(state: Mapping[Any, Any], file: Path) -> dict[str, Any]:
    """Names without what torch.compile and data-parallel wrappers put before them."""
    plain = {str(n).replace("_orig_mod.", "").removeprefix("module."): t for n, t in state.items()}
    if len(plain) < len(state):
        raise InputError(f"{file} holds parameters twice, with and without a prefix; {ADVICE}")
    return plain


def config_of(state: Mapping[str, Any], file: Path) -> ModelConfig:
    """The sizes of the model that a state dict of the published names belongs to: those on which
    most of its tensors agree, so that a wrong or missing one can be named (`check_state`)."""
    blocks = [int(match[1]) for match in map(_BLOCK.fullmatch, state) if match]
    blocks = blocks if max(blocks, default=0) < len(state) else []  # a stray number, however large
    found = {name: _size(state, *where) for name, where in _SIZES.items()}
    unknown = [name for name, size in found.items() if size is None]
    if unknown or not blocks:
        held = shortened(map(str, state)) or "nothing"
        raise InputError(
            f"{file} is no relational transformer: none of its keys tells "
            f"{' and '.join(unknown or ['num_blocks'])}; it holds {held}; {ADVICE}"
        )
    d_model, d_text, d_ff, head = (found[name] or 0 for name in _SIZES)
    try:
        return ModelConfig(1 + max(blocks), d_model, d_model // max(head, 1), d_ff, d_text)
    except InputError as error:
        raise InputError(f"{file} is no relational transformer: {error}; {ADVICE}") from None


def check_state(found: Mapping[str, Any], expected: Mapping[str, Tensor], file: Path) -> None:
    """InputError that names every missing and unexpected key, wrong shape and wrong type."""
    problems = []
    for what, names in (("missing", set(expected) - set(found)),
                        ("unexpected", set(found) - set(expected))):  # fmt: skip
        if names:
            problems.append(f"{what} keys: {shortened(names)}")
    shapes: dict[tuple[Any, ...], list[str]] = {}
    for name in sorted(set(found) & set(expected)):
        tensor, right = found[name], tuple(expected[name].shape)
        if not isinstance(tensor, Tensor):
            problems.append(f"{name} is a {type(tensor).__name__}, not a tensor")
        elif not _usable(tensor):
            held = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
            problems.append(f"{name} is no dense tensor of real numbers ({held})")
        elif tuple(tensor.shape) != right:
            shapes.setdefault((tuple(tensor.shape), right), []).append(name)
    for (shape, right), wrong in shapes.items():
        problems.append(f"{shortened(wrong)} has shape {shape}, not {right}")
    if problems:
        raise InputError(f"{file} does not fit the model: {'; '.join(problems)}; {ADVICE}")


def _usable(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and tensor.device.type != "meta"
    return is_dense and tensor.is_floating_point()


def shortened(names: Iterable[str]) -> str:
    """Names in one line, those that differ by the number of the block only as one:
    "blocks.{0-2,5}.ffn.w1.weight"."""
    blocks: dict[str, list[int]] = {}
    others = []
    for name in names:
        match = _BLOCK.fullmatch(name)
        if match:
            blocks.setdefault(match[2], []).append(int(match[1]))
        else:
            others.append(name)
    told = [
        f"blocks.{numbers[0]}.{rest}"
        if len(numbers) == 1
        else f"blocks.{{{_ranges(numbers)}}}.{rest}"
        for rest, numbers in blocks.items()
    ]
    return ", ".join(sorted(others) + sorted(told))


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as "0-2,5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _size(state: Mapping[str, Any], ends: tuple[str, ...], dimension: int) -> int | None:
    sizes = Counter(
        tensor.shape[dimension]
        for name, tensor in state.items()
        if name.endswith(ends) and isinstance(tensor, Tensor) and tensor.dim() > dimension
    )
    return sizes.most_common(1)[0][0] if sizes else None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
