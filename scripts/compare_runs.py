"""Compare finished runs on real databases: by how much each kind of run beats the mean of the
labels in its own contexts, and the first kind (docs/training.md).

python scripts/compare_runs.py RUNS [RUNS ...] [--split val] [--by_task] [--out FILE.json]
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.atomic import check_file_place, complete_file
from plurel.cli import Parser, clean_exit
from rt.text_table import aligned
from rt.yardstick import compare, format_arms, read_arms


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="runs, or folders above")
    parser.add_argument("--split", default="val", choices=("val", "test"), help="(val)")
    parser.add_argument("--by_task", action="store_true", help="show the lifts of each task too")
    parser.add_argument("--out", metavar="FILE", help="JSON file for the figures")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples (0)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out is not None:
        check_file_place(args.out)
    result = compare(read_arms(args.runs, args.split), seed=args.seed)
    print(format_arms(result))
    if args.by_task:
        lines = [["lift", *(entry["arm"] for entry in result)]]
        for task in result[0]["by_task"]:
            lines.append([task, *(f"{entry['by_task'][task]:+.4f}" for entry in result)])
        print()
        print("\n".join(aligned(lines)))
    if args.out is not None:
        with complete_file(Path(args.out)) as file:
            file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    with clean_exit():
        main()
