"""A picture of a schema: tables as boxes, foreign keys as arrows."""

from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from relbench.manifest import TableSpec

from plurel.canvas import ACTIVITY, ENTITY, INK, SOFT, open_table, read_manifest
from plurel.picture import save
from plurel.schema import Schema

_WIDTH, _HEIGHT = 2.5, 0.9
_GAP_X, _GAP_Y = 0.35, 0.9


@dataclass(frozen=True)
class _Box:
    name: str
    activity: bool
    rows: int
    columns: str
    parents: tuple[str, ...]


def plot_schema(source: Schema | str | Path, path: str | Path) -> Path:
    """Tables as boxes with kind, rows and columns, parents above; an arrow from each foreign key
    to the table that it references."""
    title, boxes = _boxes(source)
    places = _places(boxes)
    width = max(x for x, _ in places.values()) + _WIDTH
    height = max(y for _, y in places.values()) + _HEIGHT
    figure = Figure(figsize=(max(width, 4.0) + 0.6, height + 0.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.2, width + 0.2), ylim=(height + 0.3, -0.3), aspect="equal")
    axes.axis("off")
    figure.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
    for box in boxes:
        for parent in sorted(set(box.parents)):
            _draw_arrow(axes, places[box.name], places[parent])
    for box in boxes:
        _draw_box(axes, box, places[box.name])
    return save(figure, path)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "keys only"


def _boxes(source: Schema | str | Path) -> tuple[str, list[_Box]]:
    if isinstance(source, Schema):
        boxes = []
        for table in source.tables:
            kinds = [column.kind for column in table.columns]
            counts = {"numerical": kinds.count("numerical")}
            counts["categorical"] = len(kinds) - counts["numerical"]
            parents = tuple(key.parent for key in table.foreign_keys)
            boxes.append(
                _Box(
                    table.name,
                    table.kind == "activity",
                    table.num_rows,
                    _counted(counts),
                    parents,
                )
            )
        return f"{source.layout or 'schema'}: {len(boxes)} tables", boxes
    folder = Path(source)
    manifest = read_manifest(folder)
    boxes = [_folder_box(folder, name, spec) for name, spec in manifest.tables.items()]
    return f"{manifest.name}: {len(boxes)} tables", boxes


def _folder_box(folder: Path, name: str, spec: TableSpec) -> _Box:
    file = open_table(folder, name)
    keys = {spec.pkey, spec.time_col, *spec.fkeys}
    counts = {"number": 0, "boolean": 0, "date": 0, "text": 0}
    for column in file.schema_arrow:
        if column.name not in keys:
            counts[_kind(column.type)] += 1
    parents = tuple(spec.fkeys.values())
    return _Box(name, spec.time_col is not None, file.metadata.num_rows, _counted(counts), parents)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_temporal(kind):
        return "date"
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "text"


def _places(boxes: list[_Box]) -> dict[str, tuple[float, float]]:
    """Upper left corners: a row a level, just above the first child, ordered for short arrows."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(box.name for box in boxes)
    graph.add_edges_from((parent, box.name) for box in boxes for parent in box.parents)
    levels: list[list[str]] = []
    # tables that reference one another in a circle share a level
    circles = nx.condensation(graph)
    for generation in reversed(list(nx.topological_generations(circles.reverse()))):
        levels.append([name for group in generation for name in circles.nodes[group]["members"]])
    order: dict[str, float] = {}
    for level in levels:
        level.sort(
            key=lambda name: (
                _mean([order[p] for p in graph.predecessors(name) if p in order]),
                name,
            )
        )
        for position, name in enumerate(level):
            order[name] = (position + 0.5) / len(level)
    widest = max(len(level) for level in levels)
    places = {}
    for depth, level in enumerate(levels):
        indent = (widest - len(level)) * (_WIDTH + _GAP_X) / 2
        for position, name in enumerate(level):
            places[name] = (indent + position * (_WIDTH + _GAP_X), depth * (_HEIGHT + _GAP_Y))
    return places


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def _draw_box(axes: Axes, box: _Box, place: tuple[float, float]) -> None:
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=ACTIVITY if box.activity else ENTITY,
            edgecolor=INK,
            linewidth=0.8,
            zorder=3,
        )
    )
    middle = x + _WIDTH / 2
    kind = "activity" if box.activity else "entity"
    lines = ((0.2, box.name, 10, "bold"), (0.47, f"{kind}, {box.rows:,} rows", 8, "normal"))
    for down, text, size, weight in (*lines, (0.71, box.columns, 7.5, "normal")):
        axes.text(
            middle,
            y + down,
            text,
            ha="center",
            va="center",
            fontsize=size,
            fontweight=weight,
            color=INK,
            zorder=4,
        )


def _draw_arrow(axes: Axes, child: tuple[float, float], parent: tuple[float, float]) -> None:
    """From the child's upper edge to the parent's lower edge; a loop for a self-reference."""
    start = (child[0] + _WIDTH / 2, child[1])
    end = (parent[0] + _WIDTH / 2, parent[1] + _HEIGHT)
    bend = 0.0
    if child[1] <= parent[1]:
        start, end = (child[0] + _WIDTH, child[1] + 0.3), (parent[0] + _WIDTH, parent[1] + 0.6)
        bend = -1.2 if child == parent else -0.4
    elif child[1] - parent[1] > _HEIGHT + 1.5 * _GAP_Y:
        # an arrow over several levels bends round the boxes between
        bend = 0.18 if start[0] <= end[0] else -0.18
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            linewidth=1.0,
            color=SOFT,
            zorder=2,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=1,
        )
    )
