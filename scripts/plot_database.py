"""Pictures of a relbench folder: schema, one foreign key's blocks and cohorts, series, histograms.

python scripts/plot_database.py FOLDER --out DIR [PICTURE ...] [--table TABLE --column COLUMN]
"""

import sys
from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.errors import InputError
from plurel.plot import PICTURES, TAKES, NothingToDrawError


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="relbench folder")
    parser.add_argument(
        "pictures",
        nargs="*",
        default=[],
        metavar="PICTURE",
        help=f"some of {', '.join(PICTURES)} (default: all)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--table", help="of the foreign key or the columns (default: the richest)")
    parser.add_argument("--column", help="the foreign key (default: the one with most blocks)")
    parser.add_argument("--prefix", default="", help="of the pictures' file names")
    args = parser.parse_args()
    if args.pictures == ["all"]:
        args.pictures = []
    if Path(args.prefix).name != args.prefix:
        raise InputError(f"--prefix {args.prefix!r} must be a plain name; give folders by --out")
    for name in args.pictures:
        if name not in PICTURES:
            raise InputError(f"picture {name!r} is not one of {', '.join(PICTURES)}")
    given = {"table": args.table, "column": args.column}
    # all pictures: the names are those of a foreign key
    takes = TAKES if args.pictures else TAKES | {"series": (), "columns": ()}
    for key, value in given.items():
        takers = [name for name in PICTURES if key in takes[name]]
        if value is not None and not set(takers) & set(args.pictures or PICTURES):
            raise InputError(
                f"--{key} is for {', '.join(takers)}: leave it out, or name one of these pictures"
            )
    for name in args.pictures or PICTURES:
        names = {key: given[key] for key in takes[name]}
        try:
            print(PICTURES[name](args.folder, args.out / f"{args.prefix}{name}.png", **names))
        except NothingToDrawError as error:
            if args.pictures:
                raise
            print(f"no picture {name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    with clean_exit():
        main()
