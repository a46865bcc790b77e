"""Pictures of a relbench folder: its schema, one foreign key, and its numbers over time.

python scripts/plot_database.py FOLDER --out DIR [--table TABLE --column COLUMN]
"""

from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.plot import plot_links, plot_schema, plot_series


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="relbench folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--table", help="table of the foreign key (default: the first with one)")
    parser.add_argument("--column", help="the foreign key (default: the table's first)")
    args = parser.parse_args()
    key = {"table": args.table, "column": args.column}
    # first, as the one that can be asked for something that is not there
    print(plot_links(args.folder, args.out / "links.png", **key))
    print(plot_schema(args.folder, args.out / "schema.png"))
    print(plot_series(args.folder, args.out / "series.png"))


if __name__ == "__main__":
    with clean_exit():
        main()
