"""What the commands share that make a database of a package's data."""

from collections.abc import Callable
from pathlib import Path

from plurel.cli import Parser
from plurel.paths import raw_dir


def import_package(description: str, name: str, make: Callable[..., Path]) -> None:
    """Read the options, make the database and print its folder."""
    parser = Parser(description=description)
    parser.add_argument("--out", type=Path, default=raw_dir() / name, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    args = parser.parse_args()
    print(make(args.out, overwrite=args.overwrite))
