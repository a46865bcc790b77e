"""Degree laws of the layouts against exact laws or networkx, with a 5 % error refused each time,
and what distinguishes the three layouts of tables."""

from functools import cache

import networkx as nx
import numpy as np
import pytest
from scipy import stats
from test_layouts import graphs, sinks
from test_statistics import LEVEL, agrees, both, chi_square, z_test

from plurel.choices import Choices
from plurel.layouts import LAYOUT_FUNCTIONS, Edges
from plurel.params import DAGParams
from plurel.rng import stream


@cache
def drawn(name: str, nodes: int, count: int, params: DAGParams) -> list[Edges]:
    """Edge sets before disconnected parts are joined."""
    rng = stream(0, "statistics", name)
    return [LAYOUT_FUNCTIONS[name](nodes, params, rng) for _ in range(count)]


def degrees_of_node_0(drawings: list[Edges], nodes: int) -> np.ndarray:
    """How many graphs give node 0 each degree; graphs are independent, nodes of one are not."""
    degrees = [sum(0 in edge for edge in edges) for edges in drawings]
    return np.bincount(degrees, minlength=nodes)


@both
def test_erdos_renyi_degrees_are_binomial(error: float) -> None:
    params = DAGParams(er_p_choices=Choices("set", (0.3,)))
    counts = degrees_of_node_0(drawn("ErdosRenyi", 12, 6000, params), 12)
    joined = 1 - (1 - 0.3 * error) ** 2
    agrees(chi_square(counts, stats.binom.pmf(np.arange(12), 11, joined)), error)


def leaves(drawings: list[Edges], nodes: int) -> np.ndarray:
    """How many nodes of each graph have one edge."""
    return np.array(
        [(np.bincount(np.ravel(list(e)), minlength=nodes) == 1).sum() for e in drawings]
    )


@both
def test_tree_degrees_are_one_and_a_binomial(error: float) -> None:
    """A node stands in a random Prüfer sequence once less than its degree; leaves never do."""
    drawings = drawn("RandomTree", 20, 6000, DAGParams())
    found = leaves(drawings, 20)
    expected = 20 * (1 - error / 20) ** 18
    agrees(z_test(found.mean(), expected, found.std() / np.sqrt(6000)), error)
    counts = degrees_of_node_0(drawings, 20)
    assert chi_square(counts, stats.binom.pmf(np.arange(-1, 19), 18, 1 / 20)) > LEVEL


def attachment_law(nodes: int, factor: float) -> np.ndarray:
    """Chance of each degree of a random node of a tree that grows by preferential attachment
    with chances proportional to degree, by recursion; f64[nodes].

    With e edges a node of degree d gets the next one with chance d / 2e, times a factor.
    """
    expected = np.zeros((nodes, nodes))  # [arrival, degree]
    expected[0, 1] = expected[1, 1] = 1.0
    degree = np.arange(nodes)
    for node in range(2, nodes):
        chance = np.minimum(degree / (2 * (node - 1)) * factor, 1.0)
        moved = expected * chance
        expected += np.roll(moved, 1, axis=1) - moved
        expected[node, 1] = 1.0
    return expected.mean(axis=0)


@both
def test_barabasi_albert_degrees_grow_by_preference(error: float) -> None:
    """m = 1, so that the law is exact; nodes are relabelled, so that node 0 is any node."""
    params = DAGParams(ba_m=1, ba_sink_edge_dropout=0.0)
    drawings = drawn("BarabasiAlbert", 20, 10_000, params)
    found = leaves(drawings, 20)
    expected = 20 * attachment_law(20, error)[1]
    agrees(z_test(found.mean(), expected, found.std() / 100), error)
    assert chi_square(degrees_of_node_0(drawings, 20), attachment_law(20, 1.0)) > LEVEL


@both
def test_barabasi_albert_with_two_edges_a_node_is_networkx(error: float) -> None:
    """The largest degree, the quantity that preferential attachment moves most."""
    params = DAGParams(ba_sink_edge_dropout=0.0)

    def largest(edges: Edges) -> int:
        return int(np.bincount(np.array(list(edges)).ravel()).max())

    ours = [largest(edges) for edges in drawn("BarabasiAlbert", 14, 4000, params)]
    theirs = [
        largest(set(nx.barabasi_albert_graph(14, 2, seed=seed).edges)) for seed in range(4000)
    ]
    spread = np.sqrt((np.var(ours) + np.var(theirs)) / 4000)
    agrees(z_test(float(np.mean(ours)), float(np.mean(theirs)) * error, spread), error)


@cache
def thinned() -> tuple[int, int]:
    """Of all sinks with several incoming edges: how many there are, how many lost an edge."""
    several = lost = 0
    for seed in range(3500):
        # thinning is drawn last, so that the same seed gives the graph whole and thinned
        whole, thin = (
            LAYOUT_FUNCTIONS["BarabasiAlbert"](14, params, np.random.default_rng(seed))
            for params in (DAGParams(ba_sink_edge_dropout=0.0), DAGParams())
        )
        starts = {start for start, _ in whole}
        ends = [end for _, end in whole if end not in starts]
        several += sum(ends.count(end) > 1 for end in set(ends))
        lost += len(whole - thin)
    return several, lost


@both
def test_sinks_are_thinned_at_their_rate(error: float) -> None:
    several, lost = thinned()
    spread = np.sqrt(0.4 * 0.6 / several)
    agrees(z_test(lost / several, 0.4 * error, spread), error)


@both
def test_watts_strogatz_rewires_like_networkx(error: float) -> None:
    params = DAGParams(
        ws_k_choices=Choices("set", (4,)), ws_rewire_p_choices=Choices("set", (0.2,))
    )
    ring = {(node, other) for node in range(16) for other in range(node + 1, 16)}
    ring = {(a, b) for a, b in ring if min(b - a, 16 - b + a) <= 2}
    ours = [len(edges - ring) for edges in drawn("WattsStrogatz", 16, 5000, params)]
    theirs = [
        len({tuple(sorted(edge)) for edge in graph.edges} - ring)
        for graph in (
            nx.watts_strogatz_graph(16, 4, 0.2 * error, seed=seed) for seed in range(5000)
        )
    ]
    spread = np.sqrt((np.var(ours) + np.var(theirs)) / 5000)
    agrees(z_test(float(np.mean(ours)), float(np.mean(theirs)), spread), error)


@both
def test_layered_drops_edges_and_draws_depths(error: float) -> None:
    two = DAGParams(layered_depth_choices=Choices("set", (2,)))
    kept = possible = 0
    for edges in drawn("Layered", 30, 800, two):
        upper = len({start for start, _ in edges})
        kept, possible = kept + len(edges), possible + upper * (30 - upper)
    spread = np.sqrt(0.1 * 0.9 / possible)
    agrees(z_test(1 - kept / possible, 0.1 * error, spread), error)
    sizes = [len({start for start, _ in edges}) for edges in drawn("Layered", 30, 8000, two)]
    law = stats.binom.pmf(np.arange(31), 28, 0.5 * error)
    agrees(chi_square(np.bincount(sizes, minlength=32)[1:], law), error)


def diamonds(graph: "nx.DiGraph[int]") -> int:
    """Pairs of nodes with more than one way of two edges from one to the other."""
    ways = nx.to_numpy_array(graph, nodelist=range(len(graph)), weight=None)
    return int((ways @ ways > 1).sum())


@pytest.mark.parametrize("nodes", [8, 14, 20])
def test_signatures_of_the_table_layouts(nodes: int) -> None:
    scale_free = graphs("BarabasiAlbert", nodes, 200)
    edges = np.mean([graph.number_of_edges() for graph in scale_free])
    # 2 (n - 2), of which thinning takes a fifth at most: 0.4 of the sinks
    assert 1.25 * nodes < edges < 2 * nodes
    assert np.mean([len(sinks(graph)) > 1 for graph in scale_free]) > 0.9
    assert np.mean([diamonds(graph) > 0 for graph in scale_free]) > 0.7
    for graph in graphs("ReverseRandomTree", nodes, 200):
        assert graph.number_of_edges() == nodes - 1
        assert len(sinks(graph)) == 1
        assert diamonds(graph) == 0
    for k, rare in ((2, True), (4, False)):
        params = DAGParams(ws_k_choices=Choices("set", (k,)))
        staged = graphs("WattsStrogatz", nodes, 200, params)
        edges = np.mean([graph.number_of_edges() for graph in staged])
        assert nodes * k / 2 <= edges < nodes * k / 2 + 1
        # a ring of the nearest has none; one of the two nearest has one at every third step
        assert (np.mean([diamonds(graph) > 0 for graph in staged]) < 0.02) == rare
