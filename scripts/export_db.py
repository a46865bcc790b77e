"""Export a RelBench folder into SQLite, DuckDB or PostgreSQL, or as SQL or CSV: plurel.export.

python scripts/export_db.py FOLDER TARGET
"""

import argparse
from pathlib import Path

from plurel.cli import Parser, clean_exit, counted
from plurel.export import FORMATS, export_database, format_of
from plurel.export_ddl import DIALECTS
from plurel.export_postgres import without_password


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the database")
    parser.add_argument(
        "target",
        help="x.sqlite, x.duckdb, x.sql, a folder for CSV files, or postgresql://user@host/name",
    )
    parser.add_argument("--to", choices=FORMATS, help="format (default: by the target's name)")
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        help="dialect of the statements for SQL and CSV (default: postgresql)",
    )
    parser.add_argument("--schema", help="schema in PostgreSQL (default: the database's name)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    done = export_database(
        args.folder,
        args.target,
        to=args.to,
        dialect=args.dialect,
        schema=args.schema,
        overwrite=args.overwrite,
    )
    print(
        f"{counted(done.num_tables, 'table')}, {counted(done.num_rows, 'row')}, "
        f"{counted(done.num_keys, 'foreign key')} declared: {without_password(args.target)}"
        + (f", schema {done.schema}" if done.schema else "")
    )
    # where rows come in one statement, a table can't reference itself
    can_not = "load" if (args.to or format_of(args.target)) == "csv" else "keep"
    for key in done.undeclared:
        print(f"  not declared, since DuckDB can't {can_not} it: {key}")


if __name__ == "__main__":
    with clean_exit():
        main()
