"""Import a database (PostgreSQL, any SQLAlchemy URL, SQLite, DuckDB, CSV, Parquet): rt.importing.

python scripts/import_db.py SOURCE --out FOLDER [--accept 0.99 | --plan plan.yaml]
"""

import argparse
from pathlib import Path

from plurel.cli import Parser, clean_exit, counted
from plurel.errors import InputError
from rt.importing.messages import key_table
from rt.importing.open import Reading
from rt.importing.plan import Plan
from rt.importing.plan_yaml import write_plan
from rt.importing.run import Settings, import_database, plan_import
from rt.importing.staging import Staging


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "source",
        help="postgresql://user@host/name or another SQLAlchemy URL, a SQLite or DuckDB file, or "
        "a folder of CSV or Parquet files",
    )
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.add_argument("--name", help="name of the database (default: the folder's)")
    parser.add_argument("--accept", type=float, metavar="SHARE", help="take proposed keys of which "
                        "this share of rows matches, such as 0.99")  # fmt: skip
    parser.add_argument("--propose", action="store_true", help="propose keys beside declared ones")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="do as this edited plan says")
    parser.add_argument("--plan-only", type=Path, metavar="FILE", help="write the plan, no folder")
    parser.add_argument("--write-plan", type=Path, metavar="FILE", help="write the plan as well")
    parser.add_argument("--schema", nargs="+", default=[], help="schemas (default: the usual one)")
    parser.add_argument("--tables", nargs="+", default=[], help="only these tables or views")
    parser.add_argument("--exclude", nargs="+", default=[], help="all but these tables")
    parser.add_argument("--null", nargs="+", default=[], help="texts in CSV files that mean null")
    parser.add_argument("--val-timestamp", help="end of training (default: 80 %% of times before)")
    parser.add_argument("--test-timestamp", help="end of validation (default: 90 %%)")
    parser.add_argument("--memory", default="1GB", help="of DuckDB, for sorting and joining")
    args = parser.parse_args()
    if (args.out is None) == (args.plan_only is None):
        raise InputError("give --out FOLDER to import, or --plan-only FILE for a plan to edit")
    decided = (args.plan_only, args.accept, args.propose, args.tables, args.exclude)
    if args.plan is not None and any(decided):
        raise InputError(
            "--plan says it all; leave out --plan-only, --accept, --propose, --tables, --exclude"
        )
    return args


def main() -> None:
    args = parse_args()
    reading = Reading(args.schema, args.null, args.tables, args.exclude)
    settings = Settings(
        reading,
        accept=args.accept,
        propose=args.propose,
        val_timestamp=args.val_timestamp,
        test_timestamp=args.test_timestamp,
        name=args.name,
        memory=args.memory,
    )

    def report(plan: Plan, staging: Staging) -> None:
        print(key_table(plan, staging))
        if args.write_plan is not None:
            write_plan(plan, args.write_plan, staging.num_rows)

    if args.plan_only is not None:
        plan_import(args.source, args.plan_only, settings, report)
        print(f"{args.plan_only}: edit it and give it as --plan")
        return
    done = import_database(
        args.source,
        args.out,
        settings,
        plan=args.plan,
        report=report,
        overwrite=args.overwrite,
    )
    for message in done.messages:
        print(f"  {message}")
    print(
        f"{args.out}: {counted(len(done.num_rows), 'table')}, "
        f"{counted(sum(done.num_rows.values()), 'row')}, "
        f"{counted(done.num_keys, 'foreign key')}"
    )


if __name__ == "__main__":
    with clean_exit():
        main()
