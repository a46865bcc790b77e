"""Times of alternatives, interleaved, and a device's own rate of matrix products."""

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

Key = TypeVar("Key")
Parts = tuple[float, ...]
CPU = torch.device("cpu")


def clock() -> float:
    """Seconds of this process's own work with one thread, which other programs on the machine
    disturb less; with several threads, seconds on the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def best_of(functions: Mapping[Key, Callable[[], Parts]], repeats: int) -> dict[Key, Parts]:
    """The parts of the fastest call of each; they take turns, after a call of each for nothing.

    A function returns the seconds of its parts; the fastest call is that of the smallest sum.
    """
    for function in functions.values():
        function()
    gc.collect()
    gc.disable()  # it walks every object of torch
    found: dict[Key, list[Parts]] = {key: [] for key in functions}
    for _ in range(repeats):
        for key, function in functions.items():
            found[key].append(function())
    gc.enable()
    return {key: min(parts, key=sum) for key, parts in found.items()}


def product_rate(
    d_model: int, d_ff: int, rows: int, dtype: torch.dtype, device: torch.device = CPU
) -> float:
    """Floating-point operations a second of a block's matrix products, forward and both gradients,
    at `rows` cells: what the block would reach if it were nothing else."""
    shapes = [(d_model, 3 * d_model, 3), (d_model, d_model, 3), (d_model, 2 * d_ff, 1)]
    seconds = operations = 0.0
    for inputs, outputs, times in [*shapes, (d_ff, d_model, 1)]:
        x, w = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        x, w, grad = (t.to(device, dtype) for t in (x, w, torch.randn(rows, outputs)))
        transposed = x.T.contiguous()
        products = {
            "forward": lambda x=x, w=w: x @ w.T,
            "input": lambda g=grad, w=w: g @ w,
            "weight": lambda t=transposed, g=grad: t @ g,
        }
        best = best_of({name: _timed(product, device) for name, product in products.items()}, 5)
        seconds += times * sum(sum(parts) for parts in best.values())
        operations += times * 6 * rows * inputs * outputs
    return operations / seconds


def _timed(function: Callable[[], object], device: torch.device) -> Callable[[], Parts]:
    def call() -> Parts:
        start = clock()
        function()
        return (clock() - start,)

    def on_device() -> Parts:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        function()
        torch.cuda.synchronize(device)
        return (time.perf_counter() - start,)

    return on_device if device.type == "cuda" else call
