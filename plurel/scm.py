"""One table's structural causal model (PluRel, arXiv 2602.04029): build it, propagate rows.

A random DAG whose nodes are the table's columns and latent nodes; nodes without parents draw from
source generators, the others decode noise plus an aggregate of their encoded parents and of every
column of every referenced parent row. `generate_table` is the entry.

Rows go through in chunks of a fixed size. Each node draws from streams of its own, whose draws
belong to row numbers, so that neither chunks nor the machine's threads change a value. Nodes that
no column depends on are left out; they would change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from tqdm import tqdm

import rustler
from plurel import rng
from plurel.conditioning import CrossTable
from plurel.config import Config
from plurel.layouts import draw_edge_weights, draw_edges
from plurel.mechanisms import Functions, draw_many
from plurel.params import SCMParams
from plurel.rules import follow_rules
from plurel.schema import TableSchema
from plurel.sources import (
    CategoricalSource,
    NumericSource,
    draw_categorical_source,
    draw_numeric_source,
)
from plurel.spill import IN_MEMORY, Spill, release
from plurel.traits import follow_traits
from plurel.values import LAZY, TableValues

CHUNK_ROWS = 1 << 16
"""Rows that are in memory as values of all nodes; a multiple of the kernel's blocks."""
SLOW_ROWS = 1 << 20
"""Tables from this size on show their progress."""
NOISE_LEVELS = 4096
SPARE_NODES = 3
"""Latent nodes beyond ceil(columns / p), so that a graph of few columns isn't empty."""


@dataclass(frozen=True)
class Blueprint:
    """What a model is before its functions are drawn; per-node tuples in order of node number.

    parents: each node's parents in order, with the weights of the edges. categories: number of
    categories that a node's values have while propagating, None for
    numbers. column_nodes: the node of each of the table's columns, in schema order.
    """

    mode: str
    parents: tuple[tuple[tuple[int, float], ...], ...]
    categories: tuple[int | None, ...]
    aggregations: tuple[str, ...]
    noise: tuple[tuple[float, float], ...]
    column_nodes: tuple[int, ...]

    def needed(self) -> list[int]:
        """The nodes that some column depends on, parents before children."""
        wanted: dict[int, list[int]] = {}
        waiting = sorted(self.column_nodes, reverse=True)
        while waiting:
            node = waiting.pop()
            if node not in wanted:
                wanted[node] = [parent for parent, _ in self.parents[node]]
                waiting += wanted[node]
        return list(TopologicalSorter(wanted).static_order())


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
    edges = draw_edges(layout, num_nodes, config.dag_params, rng.stream(seed, *names, "graph"))
    draw = rng.stream(seed, *names, "weights")
    weights = draw_edge_weights(len(edges), config.dag_params, draw)
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
    return Blueprint(
        mode,
        _parents(num_nodes, edges, weights),
        tuple(categories),
        tuple(draw_many(params.propagation_agg_choices, num_nodes, draw)),
        tuple(
            zip(
                draw_many(params.node_noise_alpha_choices, num_nodes, draw),
                draw_many(params.node_noise_beta_choices, num_nodes, draw),
                strict=True,
            )
        ),
        tuple(places),
    )


def _parents(
    num_nodes: int, edges: Sequence[tuple[int, int]], weights: Sequence[float]
) -> tuple[tuple[tuple[int, float], ...], ...]:
    """The parents of each node with the weights of their edges."""
    parents: list[list[tuple[int, float]]] = [[] for _ in range(num_nodes)]
    for (parent, node), weight in zip(edges, weights, strict=True):
        parents[node].append((parent, weight))
    return tuple(map(tuple, parents))


def beta_quantiles(a: float, b: float) -> NDArray[np.float32]:
    """The quantiles (i + 1/2) / 4096 of Beta(a, b), float32 [4096]."""
    return betaincinv(a, b, (np.arange(NOISE_LEVELS) + 0.5) / NOISE_LEVELS).astype(np.float32)


class Model:
    """The functions of a table's needed nodes, ready to propagate its rows in order, once."""

    def __init__(
        self,
        table: TableSchema,
        blueprint: Blueprint,
        conditioning: CrossTable,
        params: SCMParams,
        seed: int,
        names: tuple[rng.Name, ...],
    ) -> None:
        self.name = table.name
        self.num_rows = table.num_rows
        self.blueprint = blueprint
        self.conditioning = conditioning
        self.nodes = blueprint.needed()
        self.place = {node: number for number, node in enumerate(self.nodes)}
        self.functions = Functions()
        self.sources: dict[int, NumericSource | CategoricalSource] = {}
        layout = self._lay_out(table, params, seed, names)
        conditioning.add_encoders(self.functions)
        self.core = rustler.TableModel(
            rng.key(seed, *names, "functions"),
            params.mlp_emb_dim,
            self.functions.draw(params, rng.stream(seed, *names, "functions")),
            layout,
            [self.place[node] for node in blueprint.column_nodes],
            self._extreme_noise(),
        )
        decoded = {blueprint.aggregations[n] for n in self.nodes if blueprint.parents[n]}
        self.aggregations = sorted(rustler.AGGREGATIONS.index(name) for name in decoded)
        conditioning.encode(self.core, self.aggregations)

    def _lay_out(
        self, table: TableSchema, params: SCMParams, seed: int, names: tuple[rng.Name, ...]
    ) -> dict[str, NDArray[Any]]:
        """The nodes as `rustler.TableModel` takes them; draws sources on the way."""
        blueprint = self.blueprint
        categories = blueprint.categories
        decoders: list[int] = []
        parents: list[int] = []
        encoders: list[int] = []
        starts = [0]
        for node in self.nodes:
            edges = blueprint.parents[node]
            if edges:
                decoders.append(self.functions.add_decoder(categories[node]))
                first = self.functions.add_encoders(
                    [categories[parent] for parent, _ in edges], [weight for _, weight in edges]
                )
                encoders += range(first, first + len(edges))
                parents += [self.place[parent] for parent, _ in edges]
            else:
                stream = rng.stream(seed, *names, "node", node, "source")
                self.sources[node] = self._draw_source(node, table, params, stream)
                decoders.append(-1)
            starts.append(len(parents))
        noise = np.array([blueprint.noise[node] for node in self.nodes], np.float32)
        codes = [rustler.AGGREGATIONS.index(blueprint.aggregations[n]) for n in self.nodes]
        return {
            "aggregation": np.array(codes, np.uint8),
            "decoder": np.array(decoders, np.int64),
            "noise_alpha": np.ascontiguousarray(noise[:, 0]),
            "noise_beta": np.ascontiguousarray(noise[:, 1]),
            "parent_ptr": np.array(starts, np.int64),
            "parent": np.array(parents, np.int64),
            "encoder": np.array(encoders, np.int64),
        }

    def _draw_source(
        self, node: int, table: TableSchema, params: SCMParams, stream: np.random.Generator
    ) -> NumericSource | CategoricalSource:
        count = self.blueprint.categories[node]
        if count is None:
            return draw_numeric_source(table.num_rows, table.kind, params, stream)
        return draw_categorical_source(count, table.num_rows, table.kind, params, stream)

    def _extreme_noise(self) -> dict[int, NDArray[np.float32]]:
        """Quantiles of noise whose density has poles or peaks that the kernel's own rule can't
        take."""
        low, high = rustler.NOISE_PARAMETERS
        return {
            self.place[node]: beta_quantiles(*self.blueprint.noise[node])
            for node in self.nodes
            if not low <= min(self.blueprint.noise[node]) <= max(self.blueprint.noise[node]) <= high
        }

    def propagate(self, spill: Spill) -> list[NDArray[Any]]:
        """The values of the table's columns, in schema order; float32 or int64 [num_rows]."""
        columns: list[NDArray[Any]] = [
            spill.empty(self.num_rows, np.float32 if categories is None else np.int64)
            for categories in (self.blueprint.categories[n] for n in self.blueprint.column_nodes)
        ]
        starts = range(0, self.num_rows, CHUNK_ROWS)
        for start in tqdm(starts, self.name, leave=False, disable=self.num_rows < SLOW_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, self.num_rows))
            count = rows.stop - rows.start
            given = {
                self.place[node]: source.take(count).astype(np.float32)
                for node, source in self.sources.items()
            }
            foreign = self.conditioning.rows(self.core, self.aggregations, rows)
            values = self.core.propagate(start, count, given, foreign)
            for column, found in zip(columns, values, strict=True):
                column[rows] = found
            release()
        return columns


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


def generate_table(
    table: TableSchema,
    links: Sequence[NDArray[np.int64]],
    parents: Sequence[TableValues],
    config: Config,
    seed: int,
    names: tuple[rng.Name, ...],
    spill: Spill = IN_MEMORY,
) -> TableValues:
    """The feature columns of one table, before transforms and missing values.

    links, parents: for each of table.foreign_keys the row of the parent table that each row
    references, int64 [num_rows] (-1: none), and the parent table's finished values. names: the
    path of the table's random streams. spill: where large columns are kept. Raises ValueError for
    a link outside of its parent.
    """
    if not table.columns:
        return TableValues((), (), LAZY)
    params = config.scm_params
    blueprint = draw_blueprint(table, config, seed, names)
    conditioning = CrossTable(table, links, parents)
    values = Model(table, blueprint, conditioning, params, seed, names).propagate(spill)
    if blueprint.mode == LAZY:
        for place, column in enumerate(table.columns):
            if column.num_categories is not None:
                draw = rng.stream(seed, *names, "thresholds", place)
                codes = cut_into_categories(values[place], column.num_categories, params, draw)
                values[place] = spill.keep(codes)
    for place, found in enumerate(values):
        moved = follow_traits(found, place, table, links, params, seed, names)
        if moved is not found:
            values[place] = spill.keep(moved)
    follow_rules(values, table, links, parents, params, seed, names, spill)
    order = np.argsort(blueprint.column_nodes).tolist()
    return TableValues(
        tuple(table.columns[place] for place in order),
        tuple(values[place] for place in order),
        blueprint.mode,
    )
