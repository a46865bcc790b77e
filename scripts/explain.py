"""What a prediction owes to the tables, columns or rows around it.

python scripts/explain.py CHECKPOINT DATABASE TASK KEY [--at 2026-01-31] [--by column] [--out FILE]
"""

import argparse
from pathlib import Path

from plurel.atomic import check_file_place, complete_file
from plurel.cli import Parser, clean_exit
from plurel.errors import InputError

WRITERS = (".csv", ".png")


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", help="a run's checkpoint, a model's folder, a .pt file")
    parser.add_argument("database", type=Path, help="a folder in RelBench's format")
    parser.add_argument("task", help="the name of a task of the database")
    parser.add_argument("key", help="of the row to predict")
    parser.add_argument("--at", help="its time (the last one in the database)")
    parser.add_argument("--by", choices=("table", "column", "row"), default="column")
    parser.add_argument("--num_contexts", type=int, default=4, help="averaged")
    parser.add_argument("--context_length", type=int)
    parser.add_argument("--recipe")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--pre_dir", type=Path, help="where the database's store is, or is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a .png picture or a .csv table, beside the print")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out is not None:
        check_file_place(args.out)
        if args.out.suffix not in WRITERS:
            raise InputError(f"--out {args.out}: the name must end in {' or '.join(WRITERS)}")
    from rt.explain import plot_explanation  # torch and matplotlib take seconds
    from rt.predictor import Predictor

    predictor = Predictor.from_pretrained(
        args.checkpoint, device=args.device, context_length=args.context_length,
        recipe=args.recipe, pre_dir=args.pre_dir,
    )  # fmt: skip
    found = predictor.explain(
        args.database, args.task, [args.key], at=args.at, by=args.by,
        num_contexts=args.num_contexts, seed=args.seed,
    )  # fmt: skip
    print(found.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if args.out is not None and args.out.suffix == ".png":
        title = f"{args.task} of {args.key}" + (f" at {args.at}" if args.at else "")
        plot_explanation(found, args.out, title)
    elif args.out is not None:
        with complete_file(args.out) as file:
            found.to_csv(file, index=False)


if __name__ == "__main__":
    with clean_exit():
        main()
