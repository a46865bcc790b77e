"""The precision of forward and backward passes, and the device, by name.

Weights, the optimizer's state, losses and the residual stream are fp32 in any case; `bf16` is for
matrix products and what is kept for the backward pass.
"""

from typing import Literal

import torch

import rustler
from plurel.errors import InputError

Precision = Literal["fp32", "bf16", "auto"]
"""auto: bf16 where the device has instructions for its products, else fp32. It depends on the
device alone, not on a measurement, so that a run that continues goes on in the same precision."""


Device = Literal["auto", "cpu", "cuda"]


def choose_device(name: Device) -> torch.device:
    """The device of one process by name; auto: a GPU if there is one. InputError for none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("device cuda: this machine has no CUDA device; give device=cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def choose(precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16" on a device."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and rustler.FAST_BF16
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass."""
    bf16 = choose(precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
