"""One context as text for a terminal."""

import textwrap
from collections.abc import Iterator

import rustler
from rt.viz import Cell, Context
from rt.viz_layout import printable, short

WIDTH = 100
LONGEST = 60
"""Characters of a value that are shown."""
NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a cell on one line; `short` leaves none in a value."""


def to_text(seen: Context, max_rows: int | None = None, max_cells: int | None = None) -> str:
    """The rows by part, each with its table, time, reason and cells, and what is not shown; at
    most the first `max_rows` rows and `max_cells` cells."""
    lines = [*seen.about, "", *_counts(seen)]
    rows = len(seen.tables) if max_rows is None else min(max_rows, len(seen.tables))
    cells = seen.cells[:max_cells]
    for part in rustler.PARTS:
        shown = [row for row in range(rows) if seen.parts[row] == part]
        if shown:
            lines += ["", part.upper(), *_table(seen, shown, cells)]
    more = (len(seen.tables) - rows, len(seen.cells) - sum(cell.row < rows for cell in cells))
    if any(more):
        lines += ["", f"not printed: {more[0]} rows, {more[1]} cells (--max_rows, --max_cells)"]
    lines += ["", "NOT SHOWN"]
    for line in seen.absent or ("nothing that is quickly said",):
        lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(map(printable, lines)) + "\n"


def counts(seen: Context) -> list[tuple[str, int, int, int]]:
    """Part, rows, cells and known labels, for each part and in all."""
    found = []
    for part in dict.fromkeys(sorted(seen.parts, key=rustler.PARTS.index)):
        cells = [cell for cell in seen.cells if seen.parts[cell.row] == part]
        labels = sum(cell.is_label for cell in cells)
        found.append((part, seen.parts.count(part), len(cells), labels))
    labels = sum(cell.is_label for cell in seen.cells)
    return [*found, ("in all", len(seen.parts), len(seen.cells), labels)]


def _counts(seen: Context) -> Iterator[str]:
    yield f"{'part':<24}{'rows':>6}{'cells':>7}{'labels':>8}"
    for part, rows, cells, labels in counts(seen):
        yield f"{part:<24}{rows:>6}{cells:>7}{labels:>8}"


def _table(seen: Context, rows: list[int], cells: list[Cell]) -> Iterator[str]:
    """One line a row, and below it its cells."""
    table = max(len(seen.tables[row]) for row in rows)
    time = max(len(seen.times[row]) for row in rows)
    for row in rows:
        head = f"{row:>4}  {seen.tables[row]:<{table}}"
        if time:
            head += f"  {seen.times[row]:<{time}}"
        yield f"{head}  {seen.reasons[row]}"
        told = f"{NO_BREAK}| ".join(_cell(cell) for cell in cells if cell.row == row)
        for line in textwrap.wrap(told, WIDTH - 6, break_on_hyphens=False):
            yield " " * 6 + line.replace(NO_BREAK, " ")


def _cell(cell: Cell) -> str:
    value = "?  <- to predict" if cell.is_target else short(cell.value, LONGEST)
    told = f"{short(cell.column, LONGEST)} {value}" + (" (label)" if cell.is_label else "")
    return told.replace(" ", NO_BREAK)
