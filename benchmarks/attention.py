"""Attention under the three masks of one block: native, and in torch's own operations.

    python benchmarks/attention.py [--sizes tiny small paper] [--lengths 256 1024 4096 8192]
        [--threads 1] [--quick]

Forward and backward, from queries, keys and values to the output, norms of queries and keys among
it. Contexts are those of generated databases. `dense`: masks of S x S and torch's fused attention;
`grouped`: groups of similar size in padded buckets. share: of the rate of the block's matrix
products, measured in the same run, that the useful products of attention reach. A form that
would take more than --limit seconds is left out. speedup_1024: native against dense, fp32,
S = 1024, the least of the sizes.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _contexts import batches
from _report import finish, print_table
from _timing import Parts, best_of, clock, product_rate
from _torch_forms import Attend, dense, grouped
from torch import Tensor

from rt import cpu
from rt.data import Batch
from rt.model import SIZES
from rt.plan import MASKS, Groups

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
DENSE_RATE = 3e10
"""Operations a second of dense masks, to estimate their time before it is spent."""
OPERATIONS = 14
"""Of attention, forward and backward, for a query, a key and a channel: 7 products."""


def pairs(groups: Groups) -> int:
    """Queries times keys over all groups."""
    return int((groups.query_ptr.diff().long() * groups.key_ptr.diff().long()).sum())


def native(batch: Batch, qkv: Tensor, grad: Tensor, weight: Tensor) -> Callable[[], Parts]:
    """qkv [N, 3, H, D]; grad [N, H, D]: the gradient of the output; weight [D]: of the norms."""
    masks = [cpu.checked(getattr(batch.plan, mask)) for mask in MASKS]

    def run() -> Parts:
        start = clock()
        outs = [cpu.attend([qkv], weight, groups) for groups in masks]
        middle = clock()
        for groups, (out, lse) in zip(masks, outs, strict=True):
            cpu.attend_backward([qkv], weight, groups, (out, lse, grad))
        return middle - start, clock() - middle

    return run


def by_torch(
    forms: dict[str, Attend], qkv: Tensor, grad: Tensor, weight: Tensor
) -> Callable[[], Parts]:
    """The same through autograd."""
    qkv = qkv.detach().requires_grad_()
    ones = weight.to(qkv.dtype) * len(weight) ** 0.5

    def run() -> Parts:
        start = clock()
        outs = []
        for mask in MASKS:
            q, k, v = qkv.unbind(1)
            q, k = (F.rms_norm(x, ones.shape, ones) for x in (q, k))
            outs.append(forms[mask](q, k, v))
        middle = clock()
        torch.autograd.grad(outs, qkv, [grad] * len(outs))
        return middle - start, clock() - middle

    return run


def measure(size: str, length: int, batch: Batch, options: argparse.Namespace) -> list[list]:
    """A line of the table for each form and precision."""
    d, heads = SIZES[size]["d_model"], SIZES[size]["num_heads"]
    cells = batch.num_cells
    weight = torch.full((d // heads,), (d // heads) ** -0.5)
    forms = {"grouped": grouped(batch)}
    operations = OPERATIONS * d * len(MASKS) * batch.row.numel() * length
    if operations / DENSE_RATE < options.limit:
        forms["dense"] = dense(batch)
    runs, rates = {}, {}
    for precision, dtype in PRECISIONS.items():
        qkv, grad = torch.randn(cells, 3, heads, d // heads), torch.randn(cells, heads, d // heads)
        qkv, grad = qkv.to(dtype), grad.to(dtype)
        runs["native", precision] = native(batch, qkv, grad, weight)
        for name, form in forms.items():
            runs[name, precision] = by_torch(form, qkv, grad, weight)
        rates[precision] = product_rate(d, SIZES[size]["d_ff"], cells, dtype)
    work = OPERATIONS * d * sum(pairs(getattr(batch.plan, mask)) for mask in MASKS)
    lines = []
    for (name, precision), parts in best_of(runs, options.repeats).items():
        total = sum(parts)
        share = work / total / rates[precision]
        speed = cells / total
        lines.append(
            [size, length, name, precision, *(1e3 * x for x in parts), speed, f"{share:.1%}"]
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--lengths", type=int, nargs="*", default=[256, 1024, 4096, 8192])
    parser.add_argument("--cells", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true", help="tiny, S = 1024")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.lengths = ["tiny"], [1024]
    torch.set_num_threads(options.threads)
    found = batches(options.lengths, options.cells)
    lines = [
        line
        for size in options.sizes
        for length, batch in found.items()
        for line in measure(size, length, batch, options)
    ]
    heads = ("size", "S", "form", "type", "forward ms", "backward ms", "cells/s", "share")
    print_table(heads, lines)
    speed = {tuple(line[:4]): line[6] for line in lines}
    print(f"left out above {options.limit:g} s: " + (", ".join(_left_out(options, speed)) or "-"))
    figures = {}
    ratios = [
        speed[size, 1024, "native", "fp32"] / speed[size, 1024, "dense", "fp32"]
        for size in options.sizes
        if (size, 1024, "dense", "fp32") in speed
    ]
    if ratios:
        figures["speedup_1024"] = min(ratios)
    for size in options.sizes:
        at = min(options.lengths)
        figures[f"{size}_over_grouped_bf16"] = (
            speed[size, at, "native", "bf16"] / speed[size, at, "grouped", "bf16"]
        )
    finish(**figures)


def _left_out(options: argparse.Namespace, speed: dict[tuple, float]) -> list[str]:
    both = ((size, length) for size in options.sizes for length in options.lengths)
    return [f"dense {s} {n}" for s, n in both if (s, n, "dense", "fp32") not in speed]


if __name__ == "__main__":
    main()
