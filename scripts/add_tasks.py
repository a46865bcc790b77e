"""New tasks for a database in RelBench's format.

python scripts/add_tasks.py FOLDER TASKS.yaml [--dry-run] [--overwrite]
python scripts/add_tasks.py FOLDER --name churn --predict "count(orders, 30 days) = 0 for customers"
"""

import shlex
from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.errors import InputError


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="the database")
    parser.add_argument("tasks", type=Path, nargs="?", help="a YAML file (docs/tasks.md)")
    parser.add_argument("--predict", help="one forecast in a line, in place of a file")
    parser.add_argument("--complete", help="one <table>.<column> to complete, in place of a file")
    parser.add_argument("--name", help="of that task")
    parser.add_argument("--hide", nargs="*", default=[], help="<table>.<column> it must not see")
    parser.add_argument("--dry-run", action="store_true", help="show the tasks, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace tasks that are there")
    args = parser.parse_args()
    from rt.defining.definitions import Definition, read_definitions  # relbench takes seconds
    from rt.defining.write import add_tasks, describe

    one = args.predict or args.complete
    if (args.tasks is None) == (one is None):
        raise InputError("give a YAML file of tasks, or one task by --predict or --complete")
    if args.tasks is not None and (args.name is not None or args.hide):
        raise InputError("--name and --hide are of one task by --predict or --complete")
    if args.tasks is not None:
        definitions = read_definitions(args.tasks)
    elif args.name is None:
        raise InputError("give the task a --name")
    else:
        definitions = {
            args.name: Definition(
                predict=args.predict, complete=args.complete, hide=tuple(args.hide)
            )
        }
    made = add_tasks(args.folder, definitions, overwrite=args.overwrite, dry_run=args.dry_run)
    print("\n\n".join(describe(task) for task in made))
    if args.dry_run:
        print("\nnothing was written (--dry-run)")
    else:
        again = f"python scripts/preprocess.py {shlex.quote(str(args.folder))} --overwrite"
        print(f"\n{args.folder / 'tasks'}: a store that is there must be made again by {again}")


if __name__ == "__main__":
    with clean_exit():
        main()
