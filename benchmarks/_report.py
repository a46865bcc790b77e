"""What every benchmark prints: a table for people and, as the last line, one JSON object."""

import json
import resource
from collections.abc import Iterable, Sequence
from pathlib import Path


def peak_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # where rusage counts what the process was before its exec
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns aligned, numbers to the right."""
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(widths[0]) if first else first, *rest]))


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def finish(**figures: float) -> None:
    """The last line: the figures as one JSON object."""
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
