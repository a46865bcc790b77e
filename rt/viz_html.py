"""One context as a page of its own: no script, nothing from the network, every value escaped."""

from html import escape
from pathlib import Path

import rustler
from plurel.atomic import complete_file
from rt.viz import Cell, Context
from rt.viz_layout import TARGET, Layout, colors_of, lay_out, short
from rt.viz_text import counts

STEP_X, STEP_Y, BOX_X, BOX_Y, TOP = 170, 46, 146, 34, 56
"""Pixels: from row to row, a row's box, the headings."""
LONGEST = 2_000
"""Characters of a value that are shown."""
STYLE = f"""
body {{ font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; color: #222; }}
h1 {{ font-size: 1.2rem; }} h2 {{ font-size: 1rem; margin: 1.4rem 0 0.4rem; }}
.graph {{ overflow-x: auto; border: 1px solid #ddd; }}
.graph text {{ font-size: 11px; text-anchor: middle; fill: white; pointer-events: none; }}
.graph .head {{ fill: #222; }} .graph .depth {{ fill: #666; font-size: 10px; }}
.graph a rect {{ stroke: #222; stroke-width: 1.5; }}
.graph a:hover rect {{ stroke: black; stroke-width: 3.5; stroke-dasharray: none; }}
.graph .neighbourhood rect {{ stroke: none; }}
.graph .own-label rect {{ stroke: #f2b701; stroke-width: 3; }}
.graph .other-label rect {{ stroke: #f2b701; stroke-width: 3; stroke-dasharray: 5 3; }}
.graph .around-another-label rect {{ stroke-dasharray: 2 3; }}
.graph .target rect {{ stroke: {TARGET}; stroke-width: 4; }}
.graph line {{ stroke-width: 1.2; opacity: 0.45; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.2rem 0.7rem 0.2rem 0; vertical-align: top; text-align: left;
  border-top: 1px solid #e4e4e4; }}
td.number {{ text-align: right; }} tr:target, tr:hover {{ background: #fff4cc; }}
.why {{ color: #444; font-style: italic; }} .cell {{ display: inline-block; margin-right: 1rem; }}
.cell b {{ color: #666; font-weight: normal; }} .label {{ background: #fbe7a1; }}
.masked {{ color: {TARGET}; font-weight: bold; border: 2px solid {TARGET}; padding: 0 0.3rem; }}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(
    seen: Context,
    path: str | Path,
    max_rows: int | None = None,
    max_cells: int | None = None,
) -> Path:
    """Write a page: the graph of the rows (a row tells its reason under the mouse, and leads to its
    cells), and for each part its rows with reasons and cells; at most `max_rows` rows and
    `max_cells` cells."""
    with complete_file(path) as file:
        file.write_text(to_html(seen, max_rows, max_cells), encoding="utf-8")
    return Path(path)


def to_html(seen: Context, max_rows: int | None = None, max_cells: int | None = None) -> str:
    """The page of `write_html`."""
    layout = lay_out(seen, len(seen.tables) if max_rows is None else max_rows)
    cells = seen.cells[:max_cells]
    title = escape(seen.about[0])
    body = [f"<h1>{title}</h1>", *(f"<p>{escape(line)}</p>" for line in seen.about[1:])]
    body += [_counts(seen), _graph(seen, layout)]
    for part in rustler.PARTS:
        rows = [row for row in sorted(layout.places) if seen.parts[row] == part]
        if rows:
            lines = "\n".join(_row(seen, row, [c for c in cells if c.row == row]) for row in rows)
            body.append(f"<h2>{escape(part)}</h2>\n<table>\n{lines}\n</table>")
    body.append(_absent(seen, len(layout.places), sum(c.row in layout.places for c in cells)))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _counts(seen: Context) -> str:
    lines = "".join(
        f"<tr><td>{escape(part)}</td>"
        + "".join(f'<td class="number">{number}</td>' for number in numbers)
        + "</tr>\n"
        for part, *numbers in counts(seen)
    )
    head = "".join(f"<th>{name}</th>" for name in ("part", "rows", "cells", "labels"))
    return f"<table>\n<tr>{head}</tr>\n{lines}</table>"


def _graph(seen: Context, layout: Layout) -> str:
    colors = colors_of(seen)
    width, height = layout.width * STEP_X, layout.height * STEP_Y + TOP + 20
    parts = [f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    for number, band in enumerate(layout.bands):
        first, last = band.columns
        x, size = first * STEP_X, (last - first + 1) * STEP_X
        shade = "#f4f4f4" if number % 2 == 0 else "white"
        told = f"{short(band.name, 22 * (last - first + 1))}: {len(band.rows)} of {band.count}"
        parts.append(f'<rect x="{x}" y="0" width="{size}" height="{height}" fill="{shade}"/>')
        parts.append(f'<text class="head" x="{x + size / 2}" y="18">{escape(told)}</text>')
    for x, depth in enumerate(layout.depths):
        parts.append(f'<text class="depth" x="{(x + 0.5) * STEP_X}" y="38">depth {depth}</text>')
    for child in layout.places:
        for parent in map(int, seen.parents[child]):
            if parent in layout.places and parent != child:
                (x1, y1), (x2, y2) = (_at(layout, row) for row in (child, parent))
                color = colors[seen.tables[parent]]
                line = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
                parts.append(f'<line {line} stroke="{color}"/>')
    parts += [_box(seen, layout, row, colors[seen.tables[row]]) for row in layout.places]
    key = (
        "<p>Colour: table. Frame: target red, ancestors black, labels yellow (of others dashed), "
        "what is around them dotted, neighbourhood none. Lines lead to referenced rows. "
        "Rest on a row for its reason; press it for its cells.</p>"
    )
    return f'<div class="graph">{"".join(parts)}</svg></div>\n{key}'


def _at(layout: Layout, row: int) -> tuple[float, float]:
    x, y = layout.places[row]
    return (x + 0.5) * STEP_X, TOP + (y + 0.5) * STEP_Y


def _box(seen: Context, layout: Layout, row: int, color: str) -> str:
    x, y = _at(layout, row)
    table, time = escape(short(seen.tables[row], 20)), escape(seen.times[row])
    why = escape(f"row {row}, {seen.tables[row]}: {seen.reasons[row]}")
    box = f'x="{x - BOX_X / 2:g}" y="{y - BOX_Y / 2:g}" width="{BOX_X}" height="{BOX_Y}" rx="6"'
    lines = f'<text x="{x:g}" y="{y - 2 if time else y + 4:g}">{row} {table}</text>'
    if time:
        lines += f'<text x="{x:g}" y="{y + 11:g}">{time}</text>'
    part = seen.parts[row].replace(" ", "-")
    return (
        f'<a class="{part}" href="#row-{row}"><title>{why}</title><rect {box} fill="{color}"/>'
        f"{lines}</a>\n"
    )


def _row(seen: Context, row: int, cells: list[Cell]) -> str:
    color = colors_of(seen)[seen.tables[row]]
    table = f'<td style="color: {color}"><strong>{escape(seen.tables[row])}</strong></td>'
    told = "\n".join(_cell(cell) for cell in cells)
    return (
        f'<tr id="row-{row}"><td class="number">{row}</td>{table}<td>{escape(seen.times[row])}</td>'
        f'<td><div class="why">{escape(seen.reasons[row])}</div>{told}</td></tr>'
    )


def _cell(cell: Cell) -> str:
    column = escape(cell.column)
    if cell.is_target:
        return f'<span class="cell masked"><b>{column}</b> ? (to predict)</span>'
    kind = "cell label" if cell.is_label else "cell"
    return f'<span class="{kind}"><b>{column}</b> {escape(short(cell.value, LONGEST))}</span>'


def _absent(seen: Context, rows: int, cells: int) -> str:
    lines = list(seen.absent)
    if rows < len(seen.tables) or cells < len(seen.cells):
        lines.append(
            f"in the context, but not on this page: {len(seen.tables) - rows} rows, "
            f"{len(seen.cells) - cells} cells"
        )
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>not shown</h2>\n<ul>\n{items}\n</ul>"
