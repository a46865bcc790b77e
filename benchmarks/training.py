"""A training run as users start it, on a GPU or a processor: speed, memory and waiting.

    python benchmarks/training.py [--device auto] [--size small] [--length 256] [--cells 16384]
        [--steps 60] [--workers 2] [--databases 20] [--precision auto]

Generated databases, contexts of the recipe `labels`, batches prepared by worker processes, the
optimizer, one process. The first half of the steps warms up (on CUDA kernels are compiled).

tokens_per_s: of the second half, its median. utilisation: of the rate that the device reaches in
nothing but the matrix products of the size's blocks, at the same number of cells and in the same
type, measured after the run; only products whose result is read are counted, so that it is the
model's FLOPs over the device's own. wait_share: of the time of a step, spent waiting for data.
peak_mib: most memory held: on CUDA the device's, on a processor the process's own.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from _contexts import batches
from _report import finish, peak_mib, print_table
from _runs import data_config, model_size, write_stores
from _timing import product_rate
from model import operations

from rt.logs import LoggerConfig, read_metrics
from rt.model import SIZES
from rt.precision import choose
from rt.ranks import join_ranks
from rt.train import run
from rt.train_config import TrainConfig, TrainerConfig

EVERY = 5
"""Steps of a record."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def trained(options: argparse.Namespace) -> dict[str, float]:
    """Figures of the second half of a run's records."""
    with tempfile.TemporaryDirectory() as name:
        pre = write_stores(Path(name), options.databases)
        contexts = max(1, options.cells // options.length)
        config = TrainConfig(
            model=model_size(options.size),
            data=data_config(pre, options.length, contexts, options.workers),
            trainer=TrainerConfig(
                run_dir=str(Path(name) / "run"), steps=options.steps, device=options.device,
                precision=options.precision, eval_every=options.steps, save_every=options.steps,
            ),
            logger=LoggerConfig(every=EVERY),
        )  # fmt: skip
        found = [r for r in read_metrics(run(config)) if "tokens_per_s" in r]
    late = found[len(found) // 2 :]
    names = ("tokens_per_s", "wait_share")
    return {name: float(np.median([record[name] for record in late])) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--cells", type=int, default=16384, help="of a step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--databases", type=int, default=20)
    parser.add_argument("--precision", choices=("auto", *TYPES), default="auto")
    options = parser.parse_args()
    with join_ranks(options.device) as ranks:
        device = ranks.device
    precision = choose(options.precision, device)
    figures = trained(options)
    if device.type == "cuda":
        figures["peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        figures["peak_mib"] = peak_mib()
    batch = batches([options.length], options.cells)[options.length]
    size = SIZES[options.size]
    rate = product_rate(size["d_model"], size["d_ff"], batch.num_cells, TYPES[precision], device)
    needed = operations(options.size, batch) / batch.num_cells
    figures["utilisation"] = figures["tokens_per_s"] * needed / rate
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    print_table(
        ("device", "size", "S", "type", *figures),
        [(name, options.size, options.length, precision, *figures.values())],
    )
    finish(**figures)


if __name__ == "__main__":
    main()
