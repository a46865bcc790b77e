"""Forecasts drawn at random for databases in RelBench's format, written into them as tasks.

python scripts/draw_tasks.py FOLDER [FOLDER ...] [--count 4] [--seed 0]
"""

import json
import shlex
from pathlib import Path
from typing import Any

from tqdm import tqdm

from plurel.atomic import complete_file
from plurel.cli import Parser, clean_exit, counted
from plurel.errors import InputError

DRAWN = "drawn-tasks.json"
"""Says in a database's folder that its tasks are complete, and how they were drawn."""

SHOWN = 3
"""Databases in a printed command."""


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="databases, or folders of them"
    )
    parser.add_argument("--count", type=int, default=4, help="forecasts of each database (4)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--overwrite", action="store_true", help="draw tasks anew")
    args = parser.parse_args()
    from rt.defining.drawn import draw_tasks  # relbench takes seconds
    from rt.sources import find_sources

    folders = [source.raw for source in find_sources(args.folders) if source.raw is not None]
    if not folders:
        raise InputError("no database in RelBench's format there; stores can't be given tasks")
    asked = {"count": args.count, "seed": args.seed}
    total, few = 0, []
    for folder in tqdm(folders, unit="database", desc="forecasts"):
        marker = Path(folder) / DRAWN
        drawn = None if args.overwrite else read_drawn(marker)
        if drawn is not None:
            if drawn != asked:
                raise InputError(
                    f"{marker}: forecasts are there that were drawn otherwise: give --overwrite"
                )
            continue
        # tasks of a run that was interrupted are not complete
        marker.unlink(missing_ok=True)
        made = draw_tasks(folder, args.count, seed=args.seed, overwrite=True)
        with complete_file(marker) as file:
            file.write_text(json.dumps(asked) + "\n")
        total += len(made)
        if len(made) < args.count:
            few.append(f"{Path(folder).name} ({len(made)})")
    print(f"{counted(total, 'forecast')} for {counted(len(folders), 'database')}")
    if few:
        print(f"fewer than {args.count}: {', '.join(few)}")
    shown = shlex.join(map(str, folders[:SHOWN])) + (" ..." if len(folders) > SHOWN else "")
    print(f"make stores that are there again by python scripts/preprocess.py {shown} --overwrite")


def read_drawn(marker: Path) -> Any:
    """How a database's tasks were drawn; None without a marker that says it."""
    try:
        return json.loads(marker.read_text())
    except (FileNotFoundError, ValueError):
        return None


if __name__ == "__main__":
    with clean_exit():
        main()
