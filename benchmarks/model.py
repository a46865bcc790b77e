"""Training steps of the model: forward, backward, and all with clipping and AdamW.

    python benchmarks/model.py [--sizes tiny small paper] [--lengths 256 1024 4096 8192]
        [--cells 4096] [--threads 1] [--limit 3] [--quick]

Contexts are those of generated databases, ready in memory. `native`: the form that the model picks
on a CPU; `grouped`, `dense`: torch's own operations, in groups or with S x S masks, bf16 by
autocast. share: of the rate that the processor's matrix products reach at the shapes of the
size's blocks and in the same type, measured in the same run; 100 % would be a step of nothing but
products. Only products are counted whose result somebody reads: projections of cells that are
queries or keys, and of the last block what the targets need; forms other than native compute
all, for the same count. Forms whose step would take more than --limit seconds are left out.

tokens_per_s, peak_share: of the small size in bf16, native, at the shortest length. longer_cost:
time of a cell at S = 1024 over that at S = 256, the same form and the worst size; over_grouped:
the least ratio of native to grouped in bf16; over_dense_1024: of native to dense in fp32 at
S = 1024.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import partial

import torch
from _contexts import batches
from _report import finish, print_table
from _timing import Parts, best_of, clock, product_rate
from _torch_forms import dense, grouped, hidden
from torch import Tensor

from rt.data import Batch
from rt.memory import keep_freed_memory
from rt.model import SIZES, ModelConfig, RelationalTransformer, target_loss
from rt.optim import OptimConfig, build_optimizer, clip_gradients
from rt.plan import MASKS, Groups

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORMS = ("native", "grouped", "dense")
RATES = {"native": 5e10, "grouped": 2e10, "dense": 2e10}
"""Operations a second, to estimate a step's time before it is spent."""
Key = tuple[str, int, str, str]
"""Size, S, form, type."""


def pairs(groups: Groups) -> int:
    """Queries times keys over all groups."""
    return int((groups.query_ptr.diff().long() * groups.key_ptr.diff().long()).sum())


def operations(size: str, batch: Batch) -> float:
    """Floating-point operations of the blocks' products that a training step needs, forward and
    backward."""
    d, f, blocks = (SIZES[size][name] for name in ("d_model", "d_ff", "num_blocks"))

    def attention(groups: Groups) -> float:
        projected = len(groups.query) + len(groups.key.unique())
        return 12.0 * d * d * projected + 12.0 * d * pairs(groups)

    plan, feed_forward = batch.plan, 18.0 * d * f
    block = sum(attention(getattr(plan, mask)) for mask in MASKS) + feed_forward * batch.num_cells
    unread = attention(plan.nbr) - attention(plan.nbr_of_targets)
    return blocks * block - unread - feed_forward * (batch.num_cells - len(plan.target))


def expected_seconds(size: str, batch: Batch, form: str) -> float:
    """About how long a step takes."""
    d, f, blocks = (SIZES[size][name] for name in ("d_model", "d_ff", "num_blocks"))
    if form == "dense":
        scores = len(MASKS) * batch.row.numel() * batch.num_slots
    else:
        scores = sum(pairs(getattr(batch.plan, mask)) for mask in MASKS)
    weights = 12 * d * d + 3 * d * f
    return blocks * (6.0 * weights * batch.num_cells + 12.0 * d * scores) / RATES[form]


class Step:
    """One form of the model with an optimizer of its own."""

    def __init__(self, size: str, form: str, precision: str, batch: Batch) -> None:
        torch.manual_seed(0)
        self.model = RelationalTransformer(ModelConfig.named(size, batch.d_text))
        self.optimizer = build_optimizer(self.model, OptimConfig())
        self.batch, self.precision = batch, precision
        self.targets_only = form == "native"
        self.hidden: Callable[[], Tensor] = partial(self.model.hidden, batch, self.targets_only)
        if form != "native":
            forms = {"grouped": grouped, "dense": dense}[form](batch)
            self.hidden = partial(hidden, self.model, batch, forms)

    def __call__(self) -> Parts:
        """Seconds of the forward pass, the backward pass, clipping and optimizer."""
        start = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            out = self.hidden()
        loss = target_loss(self.model.outputs(out, self.batch, self.targets_only), self.batch)
        forward = clock()
        loss.backward()
        backward = clock()
        clip_gradients(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return forward - start, backward - forward, clock() - backward


def measure(
    size: str, length: int, batch: Batch, options: argparse.Namespace
) -> dict[Key, tuple[Parts, float]]:
    """For each form and type: seconds of a step's parts, and the share of the products' rate."""
    steps: dict[Key, Callable[[], Parts]] = {}
    for form in options.forms:
        for precision in options.types:
            if expected_seconds(size, batch, form) < options.limit:
                steps[size, length, form, precision] = Step(size, form, precision, batch)
    d, f = SIZES[size]["d_model"], SIZES[size]["d_ff"]
    rates = {p: product_rate(d, f, batch.num_cells, PRECISIONS[p]) for p in options.types}
    work = operations(size, batch)
    return {
        key: (parts, work / sum(parts) / rates[key[3]])
        for key, parts in best_of(steps, options.repeats).items()
    }


def ratio(speed: dict[Key, float], one: Iterable, other: Iterable) -> dict[str, float]:
    """By size, the speed of one (S, form, type) over that of another, where both were measured."""
    sizes = dict.fromkeys(key[0] for key in speed)
    keys = {size: ((size, *one), (size, *other)) for size in sizes}
    return {s: speed[a] / speed[b] for s, (a, b) in keys.items() if a in speed and b in speed}


def figures(found: dict[Key, tuple[Parts, float]], cells: dict[int, int]) -> dict[str, float]:
    """What the last line says."""
    speed = {key: cells[key[1]] / sum(parts) for key, (parts, _) in found.items()}
    shortest = min(cells)
    bf16 = ("native", "bf16")
    ratios = {
        "over_grouped": ratio(speed, (shortest, *bf16), (shortest, "grouped", "bf16")),
        "over_dense_1024": ratio(speed, (1024, "native", "fp32"), (1024, "dense", "fp32")),
        "longer_cost": ratio(speed, (256, *bf16), (1024, *bf16)),
    }
    of_small = found.get(("small", shortest, *bf16))
    result = {}
    if of_small:
        result = {"tokens_per_s": cells[shortest] / sum(of_small[0]), "peak_share": of_small[1]}
    for name, values in ratios.items():
        if values:
            result[name] = (max if name == "longer_cost" else min)(values.values())
    for size in dict.fromkeys(key[0] for key in found):
        if (size, shortest, *bf16) in found:
            result[f"peak_share_{size}"] = found[size, shortest, *bf16][1]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--lengths", type=int, nargs="*", default=[256, 1024, 4096, 8192])
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=list(FORMS))
    parser.add_argument("--types", nargs="*", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--cells", type=int, default=4096, help="of a step, if S allows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--limit", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true", help="small, bf16, S 256 and 1024")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.lengths, options.types = ["small"], [256, 1024], ["bf16"]
        options.forms = ["native", "grouped"]
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as training does
    contexts = batches(options.lengths, options.cells)
    found: dict[Key, tuple[Parts, float]] = {}
    for size in options.sizes:
        for length, batch in contexts.items():
            found |= measure(size, length, batch, options)
    cells = {length: batch.num_cells for length, batch in contexts.items()}
    heads = (
        "size",
        "S",
        "form",
        "type",
        "forward ms",
        "backward ms",
        "step ms",
        "cells/s",
        "share",
    )
    lines = []
    for key, (parts, share) in found.items():
        spent = (1e3 * parts[0], 1e3 * parts[1], 1e3 * sum(parts))
        lines.append((*key, *spent, cells[key[1]] / sum(parts), f"{share:.0%}"))
    print_table(heads, lines)
    every = [(s, n, f) for s in options.sizes for n in options.lengths for f in options.forms]
    missing = [f"{f} {s} {n}" for s, n, f in every if (s, n, f, options.types[0]) not in found]
    print(f"left out, more than {options.limit:g} s: {', '.join(missing) or '-'}")
    finish(**figures(found, cells))


if __name__ == "__main__":
    main()
