"""What a prediction owes to the tables, columns or rows around it.

python scripts/explain.py CHECKPOINT DATABASE TASK KEY [--at 2026-01-31] [--by column] [--out FILE]
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.atomic import complete_file
from plurel.cli import clean_exit
from scripts.predictor_options import (
    check_head,
    check_out,
    head_of,
    note_times,
    open_predictor,
    predictor_parser,
)

WRITERS = (".csv", ".png")


def parse_args() -> argparse.Namespace:
    parser = predictor_parser(__doc__.split("\n\n")[0])
    parser.add_argument("key", help="of the row to predict; its parts with commas: 'AMS,3'")
    parser.add_argument("--at", help="its time (the last one in the database)")
    parser.add_argument("--by", choices=("table", "column", "row"), default="column")
    parser.add_argument("--num_contexts", type=int, default=4, help="averaged")
    parser.add_argument("--out", type=Path, help="a .png picture or a .csv table, beside the print")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_out(args.out, WRITERS)
    check_head(args)
    from rt.explain import plot_explanation  # matplotlib takes seconds

    predictor = open_predictor(args)
    which = {"at": args.at, "key": args.key_column}
    found = predictor.explain(
        args.database, args.task, [args.key], **which, by=args.by, num_contexts=args.num_contexts,
        seed=args.seed, head=head_of(predictor, args, [args.key], **which),
    )  # fmt: skip
    if args.at is not None:
        note_times(args, [args.at])
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
