"""A picture of a schema: tables as boxes, foreign keys as arrows."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path as FilePath

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from plurel.canvas import ACTIVITY, ENTITY, INK, KINDS, SOFT, Contents, Source, open_source
from plurel.picture import save
from plurel.plot_arrange import Arrangement, Node, arrange
from plurel.schema import Schema

_WIDTH, _HEIGHT = 1.9, 0.78
_GAP_X, _GAP_Y, _PASSING = 0.22, 0.62, 0.12

Point = tuple[float, float]


@dataclass(frozen=True)
class _Box:
    name: str
    activity: bool
    rows: int
    columns: str
    parents: tuple[str, ...]


def plot_schema(source: Source | Schema, path: str | FilePath) -> FilePath:
    """Tables as boxes with kind, rows and columns, parents above; an arrow from each foreign key
    to the table that it references. One arrow, with their number, stands for all keys between the
    same two tables."""
    title, boxes = _boxes(source)
    parents = {box.name: box.parents for box in boxes}
    drawing = arrange(parents, _WIDTH, _PASSING, _GAP_X)
    places = _places(drawing)
    width = max(max(x for x, _ in places.values()) + _WIDTH, max(drawing.x.values()))
    height = len(drawing.levels) * (_HEIGHT + _GAP_Y) - _GAP_Y
    figure = Figure(figsize=(max(width, 4.0) + 0.5, height + 0.7), layout="constrained")
    axes = figure.add_subplot()
    # room on the right for the loop of a table that references itself
    axes.set(xlim=(-0.1, width + 0.35), ylim=(height + 0.15, -0.15), aspect="equal")
    axes.axis("off")
    figure.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left")
    _draw_arrows(axes, drawing, places)
    for (child, parent), number in Counter((b.name, p) for b in boxes for p in b.parents).items():
        if number > 1:
            _draw_number(axes, drawing, places, (child, parent), number)
    for box in boxes:
        _draw_box(axes, box, places[box.name])
    return save(figure, path)


def _counted(counts: dict[str, int]) -> str:
    shown = [
        f"{count} {kind}{'s' if count > 1 and kind in KINDS else ''}"
        for kind, count in counts.items()
        if count
    ]
    return ", ".join(shown) or "keys only"


def _boxes(source: Source | Schema) -> tuple[str, list[_Box]]:
    if isinstance(source, Schema):
        boxes = []
        for table in source.tables:
            kinds = Counter(column.kind for column in table.columns)
            counts = {kind: kinds[kind] for kind in ("numerical", "categorical")}
            parents = tuple(key.parent for key in table.foreign_keys)
            activity = table.kind == "activity"
            boxes.append(_Box(table.name, activity, table.num_rows, _counted(counts), parents))
        return f"{source.layout or 'schema'}: {len(boxes)} tables", boxes
    contents = open_source(source)
    boxes = [_contents_box(contents, name) for name in contents.specs]
    return f"{contents.name}: {len(boxes)} tables", boxes


def _contents_box(contents: Contents, name: str) -> _Box:
    spec = contents.specs[name]
    kinds = Counter(contents.features(name).values())
    counts = {kind: kinds[kind] for kind in KINDS}
    _, rows = contents.types(name)
    parents = tuple(spec.fkeys.values())
    return _Box(name, spec.time_col is not None, rows, _counted(counts), parents)


def _places(drawing: Arrangement) -> dict[str, Point]:
    """Upper left corners of the boxes."""
    return {
        node[0]: (drawing.x[node] - _WIDTH / 2, depth * (_HEIGHT + _GAP_Y))
        for depth, nodes in enumerate(drawing.levels)
        for node in nodes
        if not node[1]
    }


def _draw_box(axes: Axes, box: _Box, place: Point) -> None:
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=ACTIVITY if box.activity else ENTITY,
            edgecolor=INK,
            linewidth=0.8,
            zorder=3,
        )
    )
    kind = "activity" if box.activity else "entity"
    lines = (
        (0.18, box.name, min(9.5, 150 / len(box.name)), "bold"),
        (0.42, f"{kind}, {box.rows:,} rows", 7.5, "normal"),
        (0.62, box.columns, min(7.0, 215 / len(box.columns)), "normal"),
    )
    for down, text, size, weight in lines:
        axes.text(
            x + _WIDTH / 2,
            y + down,
            text,
            ha="center",
            va="center",
            fontsize=size,
            fontweight=weight,
            color=INK,
            zorder=4,
        )


def _draw_arrows(axes: Axes, drawing: Arrangement, places: dict[str, Point]) -> None:
    ports = _ports(drawing)
    for key, path in drawing.paths.items():
        child, parent = (places[name] for name in key)
        if child[1] <= parent[1]:
            _draw_level(axes, child, parent)
            continue
        start = (ports[path[0], key], child[1])
        end = (ports[path[-1], key], parent[1] + _HEIGHT)
        bends = [(drawing.x[node], node[2] * (_HEIGHT + _GAP_Y)) for node in path[1:-1]]
        _draw_curve(axes, start, bends, end)


def _draw_number(
    axes: Axes,
    drawing: Arrangement,
    places: dict[str, Point],
    key: tuple[str, str],
    number: int,
) -> None:
    """How many keys an arrow stands for, beside where it leaves the child, or beside its loop."""
    child, parent = (places[name] for name in key)
    level = child[1] <= parent[1]
    x = child[0] + _WIDTH + 0.2 if level else _ports(drawing)[drawing.paths[key][0], key] + 0.04
    y = child[1] + 0.4 if level else child[1] - 0.08
    axes.text(
        x,
        y,
        f"\N{MULTIPLICATION SIGN}{number}",
        fontsize=6.5,
        color=SOFT,
        ha="left",
        va="center",
        zorder=5,
    )


def _ports(drawing: Arrangement) -> dict[tuple[Node, tuple[str, str]], float]:
    """Where an arrow leaves and reaches a box: side by side in the order of where they go."""
    sides: dict[tuple[Node, bool], list[tuple[float, tuple[str, str]]]] = {}
    for key, path in drawing.paths.items():
        sides.setdefault((path[0], True), []).append((drawing.x[path[1]], key))
        sides.setdefault((path[-1], False), []).append((drawing.x[path[-2]], key))
    ports = {}
    for (node, _), arrows in sides.items():
        step = min(0.3, 0.8 * _WIDTH / len(arrows))
        for number, (_, key) in enumerate(sorted(arrows)):
            ports[node, key] = drawing.x[node] + (number - (len(arrows) - 1) / 2) * step
    return ports


def _draw_curve(axes: Axes, start: Point, bends: list[Point], end: Point) -> None:
    """Up from the child's upper edge, straight through the levels between, to the parent."""
    points, codes = [start], [Path.MOVETO]
    for upper_x, upper_y in [*((x, y + _HEIGHT) for x, y in bends), end]:
        x, y = points[-1]
        middle = (y + upper_y) / 2
        points += [(x, middle), (upper_x, middle), (upper_x, upper_y)]
        codes += [Path.CURVE4] * 3
        if (upper_x, upper_y) != end:
            points.append((upper_x, upper_y - _HEIGHT))
            codes.append(Path.LINETO)
    arrow = FancyArrowPatch(
        path=Path(points, codes),
        arrowstyle="-|>",
        mutation_scale=9,
        linewidth=0.9,
        color=SOFT,
        zorder=2,
    )
    axes.add_patch(arrow)


def _draw_level(axes: Axes, child: Point, parent: Point) -> None:
    """Between tables of one level, which are in a circle: from side to side, or below the boxes
    between; a loop for a self-reference."""
    if child == parent:
        start, end = (child[0] + _WIDTH, child[1] + 0.26), (parent[0] + _WIDTH, parent[1] + 0.55)
        bend = -1.0
    else:
        right = child[0] < parent[0]
        near = abs(child[0] - parent[0]) < 1.5 * _WIDTH
        # the two arrows of a pair stand apart
        down = (0.28 if right else 0.5) if near else _HEIGHT
        inside = 0.0 if near else 0.15 if right else 0.3
        sides = (1 - inside, inside) if right else (inside, 1 - inside)
        start, end = (
            (place[0] + side * _WIDTH, place[1] + down)
            for place, side in zip((child, parent), sides, strict=True)
        )
        bend = 0.0 if near else 0.12 if right else -0.12
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=0.9,
            color=SOFT,
            zorder=2,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=1,
        )
    )
