"""Memory of the process and of devices."""

import ctypes
import os

import torch

from rt.model_config import ModelConfig

MOST_CELLS = {"cpu": 1 << 14, "cuda": 1 << 18}
"""Of a forward pass: more of them are no quicker."""
# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_INT, _MOST_MMAP_THRESHOLD = 2**31 - 1, 2**25


def free_memory(device: torch.device | str) -> int:
    """Bytes that nobody uses, of a GPU or of the machine."""
    place = torch.device(device)
    if place.type == "cuda":
        return torch.cuda.mem_get_info(place)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def cells_at_a_time(model: ModelConfig, place: torch.device) -> int:
    """Cells of a forward pass whose activations fit into a quarter of the free memory."""
    cell_bytes = 4 * (8 * model.d_model + 4 * model.d_ff)  # measured, in fp32
    return min(MOST_CELLS[place.type], free_memory(place) // 4 // cell_bytes)


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed instead of handing it back to the system; False where it
    is not glibc, and nothing is done.

    Every step on the CPU asks for the same memory again, and each page that was handed back costs
    a fault and zeros: measured, 4 to 8 % of a step.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    kept = set_option(_M_TRIM_THRESHOLD, _MOST_INT)
    return bool(kept and set_option(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD))
