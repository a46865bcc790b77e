"""Predictions for rows of a database's task: label rows of a split, or any entity at any time.

python scripts/predict.py CHECKPOINT DATABASE TASK [--entities 17 23 [--at 2026-01-31]] [--out FILE]
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.atomic import complete_file
from plurel.cli import clean_exit
from plurel.errors import InputError
from scripts.predictor_options import (
    check_head,
    check_out,
    head_of,
    note_times,
    open_predictor,
    predictor_parser,
)

WRITERS = (".csv", ".parquet")


def parse_args() -> argparse.Namespace:
    parser = predictor_parser(__doc__.split("\n\n")[0])
    what = "keys of the rows to predict; the parts of one with commas: 'AMS,3'"
    parser.add_argument("--entities", nargs="+", help=what)
    parser.add_argument("--rows", type=Path, help="the same from a CSV or Parquet file")
    parser.add_argument("--at", help="the time of all rows (the last one in the database)")
    parser.add_argument("--split", choices=("train", "val", "test"),
                        help="the label rows to predict where none are named (test)")  # fmt: skip
    parser.add_argument("--protocol", choices=("rolling", "split"), default="rolling")
    parser.add_argument("--num_contexts", type=int, default=1, help="averaged for each row")
    parser.add_argument("--out", type=Path, help="a .parquet or .csv file; else a table is printed")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_out(args.out, WRITERS)
    check_head(args)
    if args.entities and args.rows:
        raise InputError("give --entities or --rows, not both")
    if args.split and (args.entities or args.rows):
        raise InputError("--split is of label rows: leave it out where rows are named")
    rows = read_rows(args.rows) if args.rows else args.entities
    predictor = open_predictor(args)
    which = {"at": args.at, "key": args.key_column, "split": args.split or "test"}
    found = predictor.predict(
        args.database, args.task, rows, **which, protocol=args.protocol, seed=args.seed,
        num_contexts=args.num_contexts, head=head_of(predictor, args, rows, **which),
    )  # fmt: skip
    if rows is not None:
        note_times(args, found)
    if args.out is None:
        print(found.to_string(index=False))
    else:
        write(found, args.out)
        print(f"{args.out}: {len(found):,} rows")


def read_rows(path: Path) -> pd.DataFrame:
    """A frame of a file; of CSV all as texts, so that the key 007 stays what it is."""
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({' '.join(str(error).split())[:200]})") from None


def write(found: pd.DataFrame, path: Path) -> None:
    """The frame as a file, whole or not at all."""
    with complete_file(path) as file:
        if path.suffix == ".parquet":
            found.to_parquet(file, index=False)
        else:
            found.to_csv(file, index=False)


if __name__ == "__main__":
    with clean_exit():
        main()
