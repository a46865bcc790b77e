"""How much a corpus has to teach: what its answers need, beside others (docs/corpus_value.md).

python scripts/probe_corpus.py real=data/raw drawn=data/drawn --out value.json --picture value.png
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

import rt  # noqa: F401  # isort: skip  # before torch: rt/__init__.py says why

from plurel.atomic import complete_file
from plurel.cli import Parser, clean_exit
from plurel.errors import InputError
from rt.boosted import BoostedSettings
from rt.probe.corpus import ProbeSettings, probe_corpora
from rt.probe.report import format_report
from scripts.predictor_options import check_out


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "corpora", nargs="+", metavar="NAME=FOLDER",
        help="databases in RelBench's format: a folder of them, or one; a name may come twice",
    )  # fmt: skip
    parser.add_argument(
        "--columns", type=int, default=4, help="columns of a database (default: %(default)s)"
    )
    parser.add_argument(
        "--no_declared", action="store_true", help="leave out the tasks that databases declare"
    )
    parser.add_argument(
        "--rows", type=int, default=1000,
        help="rows of a task to fit, to choose by and to test on, at most each (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max_features", type=int, default=200, help="columns of a joined row (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of columns and rows (%(default)s)")
    parser.add_argument("--num_threads", type=int, default=1, help="LightGBM's (%(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file for all figures, and each task's")
    parser.add_argument("--picture", type=Path, help="picture of the corpora side by side")
    return parser.parse_args(arguments)


def named_places(arguments: Sequence[str]) -> dict[str, list[str]]:
    """{name: folders} of NAME=FOLDER arguments."""
    corpora: dict[str, list[str]] = {}
    for argument in arguments:
        name, sign, folder = argument.partition("=")
        if not (name and sign and folder):
            raise InputError(f"corpus {argument!r} must be NAME=FOLDER, for example real=data/raw")
        corpora.setdefault(name, []).append(folder)
    return corpora


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_args(arguments)
    corpora = named_places(args.corpora)
    check_out(args.out, (".json",))
    check_out(args.picture, (".png", ".svg", ".pdf"), "--picture")
    boosted = BoostedSettings(args.seed, args.rows, args.max_features, args.num_threads)
    settings = ProbeSettings(args.columns, not args.no_declared, boosted)
    result = probe_corpora(corpora, settings)
    print(format_report(result))
    if args.out is not None:
        with complete_file(args.out) as file:
            file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if args.picture is not None:
        from rt.probe.picture import plot_corpora  # only here: matplotlib takes a second to import

        plot_corpora(result, args.picture)


if __name__ == "__main__":
    with clean_exit():
        main()
