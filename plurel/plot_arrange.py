"""Where the boxes and arrows of a schema's picture go: a layered drawing (Sugiyama and others,
1981).

Tables stand in levels; an arrow over several levels passes each level between at a place of its
own, like a narrow box, so that no arrow crosses a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

Node = tuple[str, str, int]
"""(table, "", 0), or (child, parent, level) where an arrow passes a level."""
SWEEPS = 12


@dataclass(frozen=True)
class Arrangement:
    """Levels from top to bottom with their nodes from left to right; x: the middle of each node;
    paths: per (child, parent) the nodes of the arrow."""

    levels: list[list[Node]]
    x: dict[Node, float]
    paths: dict[tuple[str, str], list[Node]]


def arrange(
    parents: Mapping[str, Sequence[str]], width: float, passing: float, gap: float
) -> Arrangement:
    """A drawing of tables (with the tables that each references) as boxes of the given width;
    passing: what an arrow needs beside others."""
    level = _levels(parents)
    paths, edges = _paths(parents, level)
    nodes = dict.fromkeys(node for path in paths.values() for node in path)
    nodes = dict.fromkeys([*((name, "", 0) for name in parents), *nodes])
    levels: list[list[Node]] = [[] for _ in range(max(level.values()) + 1)]
    for node in nodes:
        levels[node[2] if node[1] else level[node[0]]].append(node)
    graph: nx.Graph[Node] = nx.Graph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    levels = _ordered(levels, graph)
    sizes = {node: passing if node[1] else width for node in nodes}
    return Arrangement(levels, _spread(levels, graph, sizes, gap), paths)


def _levels(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Just above the first child; tables that reference one another in a circle share a level."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(parents)
    graph.add_edges_from((parent, name) for name, some in parents.items() for parent in some)
    circles = nx.condensation(graph)
    generations = list(nx.topological_generations(circles.reverse()))[::-1]
    return {
        name: depth
        for depth, generation in enumerate(generations)
        for group in generation
        for name in circles.nodes[group]["members"]
    }


def _paths(
    parents: Mapping[str, Sequence[str]], level: Mapping[str, int]
) -> tuple[dict[tuple[str, str], list[Node]], list[tuple[Node, Node]]]:
    paths, edges = {}, []
    for child, some in parents.items():
        for parent in dict.fromkeys(some):
            between = range(level[child] - 1, level[parent], -1)
            path: list[Node] = [(child, "", 0), *((child, parent, row) for row in between)]
            path.append((parent, "", 0))
            paths[child, parent] = path
            if level[child] > level[parent]:
                edges += list(pairwise(path))
    return paths, edges


def _ordered(levels: list[list[Node]], graph: "nx.Graph[Node]") -> list[list[Node]]:
    """The order of fewest crossings that sweeps down and up find, each node at the mean place of
    its neighbours."""
    levels = [sorted(nodes) for nodes in levels]
    best, fewest = levels, _crossings(levels, graph)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        numbers = range(1, len(levels)) if down else range(len(levels) - 2, -1, -1)
        levels = list(levels)
        for number in numbers:
            there = {node: i for i, node in enumerate(levels[number - 1 if down else number + 1])}
            place = {node: i for i, node in enumerate(levels[number])}

            def mean(
                node: Node, there: dict[Node, int] = there, place: dict[Node, int] = place
            ) -> float:
                found = [there[other] for other in graph[node] if other in there]
                return float(np.mean(found)) if found else place[node]

            levels[number] = sorted(levels[number], key=mean)
        crossings = _crossings(levels, graph)
        if crossings < fewest:
            best, fewest = levels, crossings
    return best


def _crossings(levels: list[list[Node]], graph: "nx.Graph[Node]") -> int:
    count = 0
    for upper, lower in pairwise(levels):
        place = {node: i for i, node in enumerate(lower)}
        ends = np.array(
            [(i, place[o]) for i, n in enumerate(upper) for o in graph[n] if o in place]
        )
        if len(ends):
            first, second = ends[:, :1] - ends[:, 0], ends[:, 1:] - ends[:, 1]
            count += int((first * second < 0).sum()) // 2
    return count


def _spread(
    levels: list[list[Node]], graph: "nx.Graph[Node]", sizes: Mapping[Node, float], gap: float
) -> dict[Node, float]:
    """Places as near to the mean of a node's neighbours as the neighbours on its level allow."""
    x: dict[Node, float] = {}
    steps = []
    for nodes in levels:
        apart = [(sizes[a] + sizes[b]) / 2 + gap for a, b in pairwise(nodes)]
        step = np.concatenate([[0.0], np.cumsum(apart)])
        steps.append(step)
        x |= dict(zip(nodes, (step - step[-1] / 2).tolist(), strict=True))
    for sweep in range(4 * SWEEPS):
        for number in range(len(levels))[:: 1 if sweep % 2 else -1]:
            nodes = levels[number]
            pulled = {n: float(np.mean([x[o] for o in graph[n]])) for n in nodes if graph[n]}
            # a box without arrows stands beside the others
            middle = float(np.mean([*pulled.values()])) if pulled else 0.0
            wanted = [pulled.get(n, middle) for n in nodes]
            # straight long arrows count more than boxes in the middle
            weights = [4.0 if n[1] else 1.0 if n in pulled or not pulled else 1e-6 for n in nodes]
            kept = isotonic_regression(np.array(wanted) - steps[number], weights=weights).x
            x |= dict(zip(nodes, (kept + steps[number]).tolist(), strict=True))
    left = min(x[node] - sizes[node] / 2 for node in x)
    return {node: place - left for node, place in x.items()}
