"""What the model sees for one target: the rows of its context as a graph, and its first cells.

python scripts/show_context.py STORE --task TASK --out FILE.png [--split test --number 0]
"""

import argparse
from pathlib import Path

import numpy as np

from plurel.cli import Parser, clean_exit
from plurel.errors import InputError
from rt.meta import open_meta
from rt.predict import cutoff_of
from rt.scores import PROTOCOLS, Protocol
from rt.tasks import load_tasks, to_sampler
from rt.text import DEFAULT_EMBEDDER
from rt.viz import plot_context
from rustler import Sampler


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("store", type=Path, help="store folder")
    parser.add_argument("--task", required=True, help="task of the store")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--number", type=int, default=0, help="which target of the split")
    parser.add_argument("--protocol", default="split", choices=PROTOCOLS)
    parser.add_argument("--context_length", type=int, default=256, help="cells")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    (task,) = load_tasks(args.store, [args.task])
    start, end = task.splits[args.split]
    if not 0 <= args.number < end - start:
        raise InputError(f"--number {args.number}: {args.split} has {end - start} targets")
    rows = np.array([start + args.number], dtype=np.uint32)
    sampler = Sampler(
        [args.store],
        [to_sampler(task, 0)],
        embedder=args.embedder,
        context_length=args.context_length,
    )
    # training targets are never cut off
    protocol: Protocol = "rolling" if args.split == "train" else args.protocol
    cutoff = cutoff_of(open_meta(args.store), task, rows, protocol)
    plot_context(sampler.contexts(0, rows, cutoff=cutoff), args.store, args.out)
    print(args.out)


if __name__ == "__main__":
    with clean_exit():
        main()
