"""Scores on many databases as one table in Markdown, from files of evaluate.py.

python scripts/score_table.py SCORES.json [SCORES.json ...] [--column continued SCORES.json ...]
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.atomic import complete_file
from plurel.cli import Parser, clean_exit
from rt.score_summary import COLUMNS, MODEL, joined, read_scores, score_table


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("scores", type=Path, nargs="+", help="files of evaluate.py out=")
    parser.add_argument(
        "--column", nargs="+", action="append", default=[], metavar=("NAME", "SCORES.json"),
        help="scores of another checkpoint, in a column of this name",
    )  # fmt: skip
    parser.add_argument(
        "--columns", nargs="+", default=list(COLUMNS), help="of baselines, those shown"
    )
    parser.add_argument("--out", type=Path, help="a file for the table")
    args = parser.parse_args()
    for name, *paths in args.column:
        if not paths:
            parser.error(f"--column {name}: give its files of scores")
    others = [(name, [read_scores(Path(path)) for path in paths]) for name, *paths in args.column]
    results = joined([read_scores(path) for path in args.scores], others, MODEL)
    text = score_table(results, args.columns, MODEL)
    print(text)
    if args.out is not None:
        with complete_file(args.out) as file:
            file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    with clean_exit():
        main()
