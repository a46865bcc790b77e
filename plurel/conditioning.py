"""Cross-table conditioning (PluRel, arXiv 2602.04029): what referenced rows add to a row's nodes.

Every column of every referenced parent row is encoded and is a term of every node that has
parents. The encoders belong to (parent column, child table), so the terms of all nodes are the
same, and each aggregation is associative: they are encoded and aggregated once per parent table
and aggregation, at the parent's rows, and gathered for the child's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plurel import rng
from plurel.activations import F32
from plurel.mechanisms import (
    Aggregate,
    CategoricalEncoder,
    Encoder,
    NumericEncoder,
    clip_term,
    draw_encoders,
)
from plurel.params import SCMParams
from plurel.schema import TableSchema
from plurel.values import TableValues

BLOCK_ROWS = 2048


def parent_encoders(
    parent: TableValues, params: SCMParams, stream: np.random.Generator
) -> list[Encoder]:
    """The encoders of a parent's columns, each for the values as they stand in the table.

    A lazy table's categories are read as numbers; as there are few of them, each is encoded once.
    """
    encoders = draw_encoders(parent.encoder_types(), params, stream)
    for place, column in enumerate(parent.columns):
        encoder = encoders[place]
        if column.num_categories is not None and isinstance(encoder, NumericEncoder):
            labels = np.arange(column.num_categories, dtype=np.float32)
            table = np.broadcast_to(encoder(labels), (len(labels), params.mlp_emb_dim))
            encoders[place] = CategoricalEncoder(table)
    return encoders


def encode_parent(
    parent: TableValues, encoders: Sequence[Encoder], aggregations: Sequence[str]
) -> dict[str, F32]:
    """The aggregate of a parent table's encoded columns at each of its rows, and the neutral
    element in one row more: float32 [rows + 1, d] per aggregation."""
    num_rows = len(parent.values[0])
    parts: dict[str, list[F32]] = {kind: [] for kind in aggregations}
    for start in range(0, num_rows, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, num_rows))
        encoded = [
            encoder(column[rows]) for encoder, column in zip(encoders, parent.values, strict=True)
        ]
        dim = encoded[0].shape[1]
        for kind, done in parts.items():
            aggregate = Aggregate(kind, rows.stop - rows.start, dim)
            weight = np.float32(1.0 / len(encoded) if kind == "sum" else 1.0)
            for embedding in encoded:
                aggregate.add(clip_term(embedding * weight))
            done.append(aggregate.result())
    return {
        kind: np.concatenate([*done, Aggregate(kind, 1, done[0].shape[1]).result()])
        for kind, done in parts.items()
    }


class CrossTable:
    """The terms that a table's foreign keys add, for rows [start, stop) at a time."""

    def __init__(
        self,
        table: TableSchema,
        links: Sequence[NDArray[np.int64]],
        parents: Sequence[TableValues],
        aggregations: Sequence[str],
        params: SCMParams,
        seed: int,
        names: tuple[rng.Name, ...],
    ) -> None:
        self.aggregations = list(aggregations)
        self.dim = params.mlp_emb_dim
        self.links: list[NDArray[np.int64]] = []
        self.encoded: list[dict[str, F32]] = []
        by_parent: dict[str, dict[str, F32]] = {}
        for key, link, parent in zip(table.foreign_keys, links, parents, strict=True):
            if not parent.columns:
                continue
            _check_link(table, key.column, link, len(parent.values[0]))
            if key.parent not in by_parent:
                stream = rng.stream(seed, *names, key.parent)
                encoders = parent_encoders(parent, params, stream)
                by_parent[key.parent] = encode_parent(parent, encoders, self.aggregations)
            self.links.append(link)
            self.encoded.append(by_parent[key.parent])

    def terms(self, rows: slice) -> dict[str, F32]:
        """One term per aggregation, float32 [rows, d]; none without foreign keys."""
        if not self.links:
            return {}
        terms = {}
        for kind in self.aggregations:
            aggregate = Aggregate(kind, rows.stop - rows.start, self.dim)
            for link, encoded in zip(self.links, self.encoded, strict=True):
                # -1, no parent, wraps to the last row: the neutral element
                aggregate.add(encoded[kind].take(link[rows], axis=0, mode="wrap"))
            terms[kind] = aggregate.result()
        return terms


def _check_link(table: TableSchema, column: str, link: NDArray[np.int64], size: int) -> None:
    if len(link) != table.num_rows:
        raise ValueError(f"{table.name}.{column}: {len(link)} links for {table.num_rows} rows")
    if link.size and not -1 <= int(link.min()) <= int(link.max()) < size:
        raise ValueError(f"{table.name}.{column}: a link lies outside of the parent's {size} rows")
