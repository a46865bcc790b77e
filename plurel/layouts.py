"""Random DAGs: seven layouts, for the tables of a database and the columns of a table.

The layouts and their parameters are PluRel's (arXiv 2602.04029). Each layout is a function of a
node count, `DAGParams` and a generator, and gives directed edges between the nodes 0..n-1;
`draw_dag` joins what is disconnected. The random steps are written out here rather than taken from
a library, so that a seed keeps its graph when the library changes.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from plurel.errors import InputError
from plurel.params import DAGParams

Edges = set[tuple[int, int]]
Layout = Callable[[int, DAGParams, np.random.Generator], Edges]


def draw_dag(
    name: str, num_nodes: int, params: DAGParams, rng: np.random.Generator
) -> "nx.DiGraph[int]":
    """A connected DAG with nodes 0..num_nodes-1 in order and edges in sorted order.

    Raises InputError for an unknown layout or a node count below 1.
    """
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(draw_edges(name, num_nodes, params, rng))
    return graph


def draw_edges(
    name: str, num_nodes: int, params: DAGParams, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """The sorted edges of `draw_dag`."""
    if name not in LAYOUT_FUNCTIONS:
        raise InputError(f"layout {name!r} is not one of {', '.join(LAYOUT_FUNCTIONS)}")
    if num_nodes < 1:
        raise InputError(f"layout {name}: a graph needs at least 1 node, got {num_nodes}")
    edges = LAYOUT_FUNCTIONS[name](num_nodes, params, rng)
    return sorted(edges | _joining_edges(num_nodes, edges, rng))


def draw_edge_weights(count: int, params: DAGParams, rng: np.random.Generator) -> list[float]:
    """Weights of the edges of one graph; their distribution is drawn once for it."""
    kind = params.edge_weight_dist_choices.sample(rng)
    return EDGE_WEIGHT_FUNCTIONS[kind](rng, count).tolist()


def _erdos_renyi(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """Both directions of a pair are drawn; a pair is joined if either came up."""
    p = params.er_p_choices.sample(rng)
    drawn = rng.random((n, n)) < p
    return _pairs(np.triu(drawn | drawn.T, k=1))


def _barabasi_albert(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """Preferential attachment: a star of m + 1 nodes, then each node picks m earlier ones with
    chances proportional to their degrees; relabelled, sinks thinned, leaf edges flipped."""
    m = min(params.ba_m, n - 1)
    ends = [end for leaf in range(1, m + 1) for end in (0, leaf)]  # each node once per degree
    edges = {(0, leaf) for leaf in range(1, m + 1)}
    for node in range(m + 1, n) if m else ():
        targets: set[int] = set()
        while len(targets) < m:
            targets.add(ends[int(rng.integers(len(ends)))])
        edges |= {(target, node) for target in targets}
        for target in sorted(targets):
            ends += [target, node]
    label = rng.permutation(n).tolist()
    edges = {(label[start], label[end]) for start, end in edges}
    edges = _thin_sinks(n, edges, params.ba_sink_edge_dropout, rng)
    return _flip_leaf_edges(n, edges, params, rng)


def _thin_sinks(n: int, edges: Edges, dropout: float, rng: np.random.Generator) -> Edges:
    """A sink with several incoming edges loses one of them with probability `dropout`."""
    incoming, outgoing = _neighbours(n, edges)
    removed: Edges = set()
    for sink in range(n):
        if outgoing[sink] or len(incoming[sink]) < 2:
            continue
        if rng.random() < dropout:
            removed.add((incoming[sink][int(rng.integers(len(incoming[sink])))], sink))
    return edges - removed


def _flip_leaf_edges(n: int, edges: Edges, params: DAGParams, rng: np.random.Generator) -> Edges:
    """The one edge of a leaf may turn round, as long as the other end's in-degree allows."""
    if not params.ba_flip_leaf_edge_prob:
        return edges
    incoming, outgoing = _neighbours(n, edges)
    in_degree = [len(nodes) for nodes in incoming]
    for leaf in range(n):
        if outgoing[leaf] or len(incoming[leaf]) != 1:
            continue
        (parent,) = incoming[leaf]
        flips = rng.random() < params.ba_flip_leaf_edge_prob
        if flips and in_degree[parent] < params.ba_max_in_degree:
            edges = edges - {(parent, leaf)} | {(leaf, parent)}
            in_degree[parent] += 1
    return edges


def _random_tree(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """A uniform random labelled tree, edges away from a random root."""
    return {(start, end) for end, start in _reverse_random_tree(n, params, rng)}


def _reverse_random_tree(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """A uniform random labelled tree (from its Prüfer sequence), edges toward a random root."""
    sequence = rng.integers(n, size=max(n - 2, 0)).tolist()
    root = int(rng.integers(n))
    tree = nx.from_prufer_sequence(sequence) if n > 1 else nx.empty_graph(1)
    return {(child, parent) for parent, child in nx.bfs_edges(tree, root)}


def _layered(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """Layers of random sizes, none empty, each of successive nodes; all edges between neighbouring
    layers but for a share that is dropped; every node keeps a parent and a child."""
    depth = min(params.layered_depth_choices.sample(rng), n)
    extra = rng.integers(depth, size=n - depth)
    layer = np.sort(np.concatenate([np.arange(depth), extra]))
    edges: Edges = set()
    for upper_layer in range(depth - 1):
        upper = np.flatnonzero(layer == upper_layer)
        lower = np.flatnonzero(layer == upper_layer + 1)
        kept = rng.random((len(upper), len(lower))) >= params.layered_edge_dropout_p
        for column in np.flatnonzero(~kept.any(axis=0)):
            kept[rng.integers(len(upper)), column] = True
        for row in np.flatnonzero(~kept.any(axis=1)):
            kept[row, rng.integers(len(lower))] = True
        starts, ends = np.nonzero(kept)
        edges |= set(zip(upper[starts].tolist(), lower[ends].tolist(), strict=True))
    return edges


def _watts_strogatz(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """A ring where each node knows its k nearest; each edge's far end is redrawn with chance p."""
    k, p = params.ws_k_choices.sample(rng), params.ws_rewire_p_choices.sample(rng)
    near: list[set[int]] = [set() for _ in range(n)]
    for step in range(1, min(k // 2, n // 2) + 1):
        for node in range(n):
            near[node].add((node + step) % n)
            near[(node + step) % n].add(node)
    for step in range(1, min(k // 2, n // 2) + 1):
        for node in range(n):
            other = (node + step) % n
            if rng.random() >= p or other not in near[node] or len(near[node]) >= n - 1:
                continue
            free = [far for far in range(n) if far != node and far not in near[node]]
            far = free[int(rng.integers(len(free)))]
            near[node].remove(other)
            near[other].remove(node)
            near[node].add(far)
            near[far].add(node)
    return {(node, other) for node in range(n) for other in near[node] if node < other}


def _random_cauchy(n: int, params: DAGParams, rng: np.random.Generator) -> Edges:
    """Edge i < j with probability sigmoid(A + B_i + C_j), all standard Cauchy."""
    whole, start, end = rng.standard_cauchy(), rng.standard_cauchy(n), rng.standard_cauchy(n)
    # |x| > 40 is 0 or 1 in float64 already; the bound keeps exp from overflowing
    logits = np.clip(whole + start[:, None] + end[None, :], -40.0, 40.0)
    return _pairs(np.triu(rng.random((n, n)) < 1.0 / (1.0 + np.exp(-logits)), k=1))


def _pairs(matrix: NDArray[np.bool_]) -> Edges:
    starts, ends = np.nonzero(matrix)
    return set(zip(starts.tolist(), ends.tolist(), strict=True))


def _neighbours(n: int, edges: Edges) -> tuple[list[list[int]], list[list[int]]]:
    """Sorted parents and children of every node."""
    incoming: list[list[int]] = [[] for _ in range(n)]
    outgoing: list[list[int]] = [[] for _ in range(n)]
    for start, end in sorted(edges):
        incoming[end].append(start)
        outgoing[start].append(end)
    return incoming, outgoing


def _joining_edges(n: int, edges: Iterable[tuple[int, int]], rng: np.random.Generator) -> Edges:
    """An edge between random nodes of each two successive components, smaller number first.

    It can close no cycle, as it is the only way between the two.
    """
    pairs = np.array(sorted(edges), np.int64).reshape(-1, 2)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    count, component = connected_components(joined, directed=False)
    components = [np.flatnonzero(component == number).tolist() for number in range(count)]
    joining: Edges = set()
    for first, second in pairwise(components):
        ends = (int(rng.choice(first)), int(rng.choice(second)))
        joining.add((min(ends), max(ends)))
    return joining


LAYOUT_FUNCTIONS: dict[str, Layout] = {
    "ErdosRenyi": _erdos_renyi,
    "BarabasiAlbert": _barabasi_albert,
    "RandomTree": _random_tree,
    "ReverseRandomTree": _reverse_random_tree,
    "Layered": _layered,
    "WattsStrogatz": _watts_strogatz,
    "RandomCauchy": _random_cauchy,
}
EDGE_WEIGHT_FUNCTIONS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "gaussian": lambda rng, size: rng.standard_normal(size),
    "lognormal": lambda rng, size: rng.lognormal(size=size),
    "cauchy": lambda rng, size: rng.standard_cauchy(size),
    "uniform": lambda rng, size: rng.uniform(-2.0, 2.0, size),
}
