"""The seven layouts: connected DAGs with the degree laws and signatures of their definitions."""

import networkx as nx
import numpy as np
import pytest

from plurel.config import Choices, DAGParams
from plurel.errors import InputError
from plurel.layouts import LAYOUT_FUNCTIONS, draw_dag, draw_edge_weights
from plurel.params import EDGE_WEIGHTS, LAYOUTS
from plurel.rng import stream

PARAMS = DAGParams()


def graphs(name: str, nodes: int, count: int, params: DAGParams = PARAMS) -> list[nx.DiGraph]:
    return [draw_dag(name, nodes, params, stream(seed, name, nodes)) for seed in range(count)]


def sinks(graph: nx.DiGraph) -> list[int]:
    return [node for node in graph if graph.out_degree(node) == 0]


def has_diamond(graph: nx.DiGraph) -> bool:
    """Two ways from one node to another."""
    order = list(nx.topological_sort(graph))
    for start in order:
        ways = {start: 1}
        for node in order:
            for child in graph.successors(node) if node in ways else ():
                ways[child] = ways.get(child, 0) + ways[node]
        if max(ways.values()) > 1:
            return True
    return False


def test_every_named_layout_exists() -> None:
    assert set(LAYOUT_FUNCTIONS) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 9, 40])
def test_connected_acyclic_and_reproducible(name: str, nodes: int) -> None:
    for graph in graphs(name, nodes, 25):
        assert list(graph) == list(range(nodes))
        assert nx.is_directed_acyclic_graph(graph)
        assert nx.is_weakly_connected(graph)
    again = draw_dag(name, nodes, PARAMS, stream(0, name, nodes))
    assert list(again.edges) == list(graphs(name, nodes, 1)[0].edges)


def test_erdos_renyi_joins_a_pair_by_either_direction() -> None:
    params = DAGParams(er_p_choices=Choices("set", (0.3,)))
    shares = [g.number_of_edges() / (40 * 39 / 2) for g in graphs("ErdosRenyi", 40, 60, params)]
    assert abs(np.mean(shares) - (1 - 0.7**2)) < 0.51 * 0.02
    assert all(start < end for g in graphs("ErdosRenyi", 20, 5) for start, end in g.edges)


def test_barabasi_albert_signature() -> None:
    drawn = graphs("BarabasiAlbert", 14, 300)
    edges = np.array([graph.number_of_edges() for graph in drawn])
    assert edges.max() == (14 - 2) * 2  # about 2n, before thinning
    assert np.mean([len(sinks(graph)) > 1 for graph in drawn]) > 0.95
    assert np.mean([has_diamond(graph) for graph in drawn]) > 0.9
    # nodes are relabelled: node 0 is a sink as often as any other
    share = np.mean([0 in sinks(graph) for graph in drawn])
    assert abs(share - np.mean([len(sinks(graph)) / 14 for graph in drawn])) < 0.1


def test_barabasi_albert_thins_sinks() -> None:
    """The same seeds without thinning show which sinks could lose an edge, and which did."""
    lost = candidates = 0
    full = graphs("BarabasiAlbert", 14, 800, DAGParams(ba_sink_edge_dropout=0.0))
    for before, after in zip(full, graphs("BarabasiAlbert", 14, 800), strict=True):
        several = {sink for sink in sinks(before) if before.in_degree(sink) > 1}
        gone = [end for _, end in set(before.edges) - set(after.edges)]
        assert len(gone) == len(set(gone))
        assert set(gone) <= several
        lost, candidates = lost + len(gone), candidates + len(several)
    assert candidates > 4000
    assert abs(lost / candidates - 0.4) < 0.02


def test_barabasi_albert_degrees_have_a_heavy_tail() -> None:
    """Preferential attachment with m = 2: the share of degree d is about 12 / (d (d+1) (d+2))."""
    params = DAGParams(ba_sink_edge_dropout=0.0)
    degrees = [d for g in graphs("BarabasiAlbert", 300, 12, params) for _, d in g.degree]
    for degree in (2, 3, 4):
        expected = 12 / (degree * (degree + 1) * (degree + 2))
        assert abs(np.mean(np.array(degrees) == degree) - expected) < 0.05 * expected + 0.01
    assert max(degrees) > 30


def test_barabasi_albert_flips_leaf_edges() -> None:
    params = DAGParams(ba_flip_leaf_edge_prob=1.0, ba_m=1)
    flat = graphs("BarabasiAlbert", 12, 40, DAGParams(ba_m=1))
    flipped = graphs("BarabasiAlbert", 12, 40, params)
    assert sum(len(sinks(g)) for g in flipped) < sum(len(sinks(g)) for g in flat)
    assert max(degree for g in flipped for _, degree in g.in_degree) <= 4


def test_random_trees() -> None:
    for name, direction in (("RandomTree", "in"), ("ReverseRandomTree", "out")):
        for graph in graphs(name, 11, 50):
            degrees = graph.in_degree if direction == "in" else graph.out_degree
            assert graph.number_of_edges() == 10
            assert sorted(degree for _, degree in degrees)[:2] == [0, 1]
            assert max(degree for _, degree in degrees) == 1
            assert not has_diamond(graph)
    assert all(len(sinks(graph)) == 1 for graph in graphs("ReverseRandomTree", 11, 50))


def test_random_tree_is_uniform_over_labelled_trees_and_roots() -> None:
    drawn = graphs("RandomTree", 4, 6_400)
    counts: dict[tuple[tuple[int, int], ...], int] = {}
    for graph in drawn:
        key = tuple(sorted(graph.edges))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 4**3  # n^(n-1) rooted labelled trees
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 103.4  # 99.9 %, 63 df


def test_layered_keeps_parents_and_children() -> None:
    params = DAGParams(layered_depth_choices=Choices("set", (4,)), layered_edge_dropout_p=0.9)
    for seed in range(50):
        # before joining, whose edges may skip layers; layers are of successive nodes
        graph = nx.DiGraph(LAYOUT_FUNCTIONS["Layered"](20, params, stream(seed)))
        assert len(graph) == 20
        sources = [node for node in graph if graph.in_degree(node) == 0]
        longest = nx.dag_longest_path_length(graph)
        assert longest == 3
        depth = dict.fromkeys(sources, 0)
        for node in nx.topological_sort(graph):
            for child in graph.successors(node):
                assert depth.setdefault(child, depth[node] + 1) == depth[node] + 1
        assert all(depth[node] == 3 for node in sinks(graph))
        layers = [depth[node] for node in range(20)]
        assert layers == sorted(layers)


def test_layered_drops_edges_at_its_rate() -> None:
    kept = possible = 0
    params = DAGParams(layered_depth_choices=Choices("set", (2,)))
    for graph in graphs("Layered", 30, 60, params):
        lower = len(sinks(graph))
        kept, possible = kept + graph.number_of_edges(), possible + lower * (30 - lower)
    assert abs(kept / possible - 0.9) < 0.01


def test_watts_strogatz_signature() -> None:
    for k in (2, 4):
        params = DAGParams(ws_k_choices=Choices("set", (k,)))
        drawn = graphs("WattsStrogatz", 20, 500, params)
        ring = {tuple(sorted((i, (i + 1) % 20))) for i in range(20)}
        edges = np.array([graph.number_of_edges() for graph in drawn])
        # nk/2, and a few that join what rewiring cut off
        assert edges.min() == 20 * k // 2
        assert edges.mean() < 20 * k / 2 + 1
        kept = np.mean([len(ring & set(graph.edges)) / 20 for graph in drawn])
        # an edge is rewired with p in [0.1, 0.3]; now and then one is drawn back
        assert 0.79 <= kept < 0.82
    two = graphs("WattsStrogatz", 12, 100, DAGParams(ws_k_choices=Choices("set", (2,))))
    assert np.mean([g.number_of_edges() for g in two]) < 13


def test_random_cauchy_edges_run_upward_at_every_density() -> None:
    drawn = graphs("RandomCauchy", 20, 400)
    assert all(start < end for graph in drawn for start, end in graph.edges)
    shares = np.array([graph.number_of_edges() / 190 for graph in drawn])
    # A is symmetric, so half of the pairs are joined on average; joining adds a little
    assert 0.46 < shares.mean() < 0.58
    assert (shares < 0.25).mean() > 0.08
    assert (shares > 0.75).mean() > 0.08


@pytest.mark.parametrize("kind", EDGE_WEIGHTS)
def test_edge_weights(kind: str) -> None:
    params = DAGParams(edge_weight_dist_choices=Choices("set", (kind,)))
    weights = np.array(draw_edge_weights(8000, params, stream(0, "weights")))
    quarter, half, three = np.quantile(weights, [0.25, 0.5, 0.75])
    expected = {
        "gaussian": (-0.6745, 0.0, 0.6745),
        "lognormal": (0.5094, 1.0, 1.963),
        "cauchy": (-1.0, 0.0, 1.0),
        "uniform": (-1.0, 0.0, 1.0),
    }[kind]
    assert np.allclose((quarter, half, three), expected, atol=0.07)
    assert (np.abs(weights).max() <= 2.0) == (kind == "uniform")


def test_unknown_layout_is_refused() -> None:
    with pytest.raises(InputError, match="not one of ErdosRenyi"):
        draw_dag("Ring", 3, PARAMS, stream(0))
    with pytest.raises(InputError, match="at least 1 node"):
        draw_dag("Layered", 0, PARAMS, stream(0))
