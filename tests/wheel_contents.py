"""Checks that a wheel holds what the package needs: all of its sources, the models, rustler.

python tests/wheel_contents.py FOLDER, which holds the wheel; `make check` builds it.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def missing(wheel: Path) -> list[str]:
    """Tracked files of the packages that the wheel lacks."""
    with zipfile.ZipFile(wheel) as opened:
        there = set(opened.namelist())
    command = ["git", "-C", str(ROOT), "ls-files", "plurel", "rt"]
    wanted = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    wanted = [name for name in wanted if name]
    has_extension = any(name.startswith("rustler/") and name.endswith(".so") for name in there)
    wanted += ["rustler/__init__.py", "rustler/rustler.pyi"]
    return [name for name in wanted if name not in there] + ["rustler/*.so"] * (not has_extension)


def main() -> None:
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    lacking = missing(wheel)
    if lacking:
        sys.exit(f"error: {wheel.name} lacks {', '.join(lacking)}")


if __name__ == "__main__":
    main()
