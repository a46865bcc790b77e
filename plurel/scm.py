"""One table's structural causal model (PluRel, arXiv 2602.04029): build it, propagate rows.

A random DAG whose nodes are the table's columns and latent nodes; nodes without parents draw from
source generators, the others decode noise plus an aggregate of their encoded parents and of every
column of every referenced parent row. `generate_table` is the entry.

Rows are propagated in blocks of a fixed size, on one thread: matrix products of another shape or
number of threads differ in the last bits. Each node and each parent table draws from streams of
its own. Nodes that no column depends on are left out; they would change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from plurel import rng
from plurel.conditioning import CrossTable
from plurel.config import Config
from plurel.layouts import draw_dag, draw_edge_weights
from plurel.mechanisms import (
    Aggregate,
    Decoder,
    Encoder,
    clip_term,
    draw_functions,
    draw_many,
)
from plurel.noise import BetaNoise
from plurel.params import SCMParams
from plurel.schema import TableSchema
from plurel.sources import (
    CategoricalSource,
    NumericSource,
    draw_categorical_source,
    draw_numeric_source,
)
from plurel.values import LAZY, TableValues

BLOCK_ROWS = 2048
SPARE_NODES = 3
"""Latent nodes beyond ceil(columns / p), so that a graph of few columns isn't empty."""


@dataclass(frozen=True)
class Blueprint:
    """What a model is before its functions are drawn; per-node tuples in order of node number.

    categories: number of categories that a node's values have while propagating, None for
    numbers. column_nodes: the node of each of the table's columns, in schema order.
    """

    mode: str
    graph: "nx.DiGraph[int]"
    categories: tuple[int | None, ...]
    aggregations: tuple[str, ...]
    noise: tuple[tuple[float, float], ...]
    column_nodes: tuple[int, ...]

    def needed(self) -> list[int]:
        """The nodes that some column depends on, parents before children."""
        wanted = set(self.column_nodes)
        for node in self.column_nodes:
            wanted |= nx.ancestors(self.graph, node)
        order = nx.lexicographical_topological_sort(self.graph)
        return [node for node in order if node in wanted]


def draw_blueprint(
    table: TableSchema, config: Config, seed: int, names: tuple[rng.Name, ...]
) -> Blueprint:
    """The graph, the places of the columns, and the type, aggregation and noise of each node."""
    params = config.scm_params
    draw = rng.stream(seed, *names, "model")
    mode = params.propagation_mode_choices.sample(draw)
    layout = params.scm_layout_choices.sample(draw)
    share = float(params.scm_col_node_perc_choices.sample(draw))
    columns = len(table.columns)
    num_nodes = columns + int(np.ceil(columns / share)) + SPARE_NODES
    graph = draw_dag(layout, num_nodes, config.dag_params, rng.stream(seed, *names, "graph"))
    draw_edge_weights(graph, config.dag_params, rng.stream(seed, *names, "weights"))
    places = rng.stream(seed, *names, "places").permutation(num_nodes)[:columns].tolist()
    draw = rng.stream(seed, *names, "nodes")
    kinds = draw_many(params.col_stype_choices, num_nodes, draw)
    counts = draw_many(params.num_categories_choices, num_nodes, draw)
    categories = [
        n if kind == "categorical" else None for kind, n in zip(kinds, counts, strict=True)
    ]
    for place, column in zip(places, table.columns, strict=True):
        categories[place] = column.num_categories
    if mode == LAZY:
        categories = [None] * num_nodes
    aggregations = draw_many(params.propagation_agg_choices, num_nodes, draw)
    alphas = draw_many(params.node_noise_alpha_choices, num_nodes, draw)
    betas = draw_many(params.node_noise_beta_choices, num_nodes, draw)
    noise = tuple(zip(alphas, betas, strict=True))
    return Blueprint(mode, graph, tuple(categories), tuple(aggregations), noise, tuple(places))


class Model:
    """The functions of a table's needed nodes, ready to propagate its rows in order, once."""

    def __init__(
        self,
        table: TableSchema,
        blueprint: Blueprint,
        params: SCMParams,
        seed: int,
        names: tuple[rng.Name, ...],
    ) -> None:
        self.num_rows = table.num_rows
        self.dim = params.mlp_emb_dim
        self.blueprint = blueprint
        self.nodes = blueprint.needed()
        self.parents = {node: sorted(blueprint.graph.predecessors(node)) for node in self.nodes}
        self.sources: dict[int, NumericSource | CategoricalSource] = {}
        self.encoders: dict[int, list[Encoder]] = {}
        self.decoders: dict[int, Decoder] = {}
        self.noise: dict[int, BetaNoise] = {}
        for node in self.nodes:
            if self.parents[node]:
                self._draw_functions(node, params, seed, (*names, "node", node))
            else:
                stream = rng.stream(seed, *names, "node", node, "source")
                self.sources[node] = self._draw_source(node, table, params, stream)

    def _draw_source(
        self, node: int, table: TableSchema, params: SCMParams, stream: np.random.Generator
    ) -> NumericSource | CategoricalSource:
        count = self.blueprint.categories[node]
        if count is None:
            return draw_numeric_source(table.num_rows, table.kind, params, stream)
        return draw_categorical_source(count, table.num_rows, table.kind, params, stream)

    def _draw_functions(
        self, node: int, params: SCMParams, seed: int, names: tuple[rng.Name, ...]
    ) -> None:
        """The node's decoder, the encoders of its incoming edges with their weights, its noise."""
        blueprint = self.blueprint
        count = blueprint.categories[node]
        parents = self.parents[node]
        self.decoders[node], encoders = draw_functions(
            count,
            [blueprint.categories[parent] for parent in parents],
            params,
            rng.stream(seed, *names, "functions"),
        )
        self.encoders[node] = [
            encoder.weighted(blueprint.graph.edges[parent, node]["weight"])
            for parent, encoder in zip(parents, encoders, strict=True)
        ]
        a, b = blueprint.noise[node]
        self.noise[node] = BetaNoise(a, b, self.dim, rng.stream(seed, *names, "noise"))

    def aggregations(self) -> list[str]:
        """The aggregations that occur, each once."""
        return sorted({self.blueprint.aggregations[node] for node in self.decoders})

    def propagate(self, conditioning: CrossTable) -> list[NDArray[Any]]:
        """The values of the table's columns, in schema order; float32 or int64 [num_rows]."""
        columns: list[NDArray[Any]] = [
            np.empty(self.num_rows, np.float32 if categories is None else np.int64)
            for categories in (self.blueprint.categories[n] for n in self.blueprint.column_nodes)
        ]
        for start in range(0, self.num_rows, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, self.num_rows))
            values = self._propagate_block(rows, conditioning)
            for column, node in zip(columns, self.blueprint.column_nodes, strict=True):
                column[rows] = values[node]
        return columns

    def _propagate_block(self, rows: slice, conditioning: CrossTable) -> dict[int, NDArray[Any]]:
        count = rows.stop - rows.start
        values: dict[int, NDArray[Any]] = {}
        foreign = conditioning.terms(rows)
        for node in self.nodes:
            if node in self.sources:
                drawn = self.sources[node].take(count)
                kind = np.float32 if self.blueprint.categories[node] is None else np.int64
                values[node] = drawn.astype(kind, copy=False)
                continue
            aggregation = self.blueprint.aggregations[node]
            aggregate = Aggregate(aggregation, count, self.dim)
            for parent, encoder in zip(self.parents[node], self.encoders[node], strict=True):
                aggregate.add(clip_term(encoder(values[parent])))
            if aggregation in foreign:
                aggregate.add(foreign[aggregation])
            embedding = self.noise[node].take(count)
            embedding += aggregate.result()
            values[node] = self.decoders[node](embedding)
        return values


def cut_into_categories(
    values: NDArray[np.float32], num_categories: int, params: SCMParams, draw: np.random.Generator
) -> NDArray[np.int64]:
    """Codes of a lazily typed column: how many of num_categories - 1 thresholds, values of random
    rows of the column itself, lie below a value; labels then permuted and reversed by chance."""
    thresholds = np.sort(values[draw.integers(len(values), size=num_categories - 1)])
    codes = np.searchsorted(thresholds, values, side="left").astype(np.int64)
    permute = draw.random() < params.cat_label_permute_prob_choices.sample(draw)
    labels = draw.permutation(num_categories) if permute else np.arange(num_categories)
    if draw.random() < params.cat_label_reverse_prob_choices.sample(draw):
        labels = num_categories - 1 - labels
    return labels[codes]


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def generate_table(
    table: TableSchema,
    links: Sequence[NDArray[np.int64]],
    parents: Sequence[TableValues],
    config: Config,
    seed: int,
    names: tuple[rng.Name, ...],
) -> TableValues:
    """The feature columns of one table, before transforms and missing values.

    links, parents: for each of table.foreign_keys the row of the parent table that each row
    references, int64 [num_rows] (-1: none), and the parent table's finished values. names: the
    path of the table's random streams. Raises ValueError for a link outside of its parent.
    """
    if not table.columns:
        return TableValues((), (), LAZY)
    params = config.scm_params
    # overflow to infinity happens inside activations and is clipped after them
    with (
        _thread_pools().limit(limits=1, user_api="blas"),
        np.errstate(over="ignore", under="ignore"),
    ):
        blueprint = draw_blueprint(table, config, seed, names)
        model = Model(table, blueprint, params, seed, names)
        conditioning = CrossTable(
            table, links, parents, model.aggregations(), params, seed, (*names, "conditioning")
        )
        values = model.propagate(conditioning)
    if blueprint.mode == LAZY:
        for place, column in enumerate(table.columns):
            if column.num_categories is not None:
                draw = rng.stream(seed, *names, "thresholds", place)
                values[place] = cut_into_categories(
                    values[place], column.num_categories, params, draw
                )
    order = np.argsort(blueprint.column_nodes).tolist()
    return TableValues(
        tuple(table.columns[place] for place in order),
        tuple(values[place] for place in order),
        blueprint.mode,
    )
