"""Small tables, and a slow twin of `plurel.scm` that visits one row, node, parent and column at a
time in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel import rng as streams
from plurel.choices import Choices
from plurel.config import Config
from plurel.mechanisms import (
    CategoricalDecoder,
    CategoricalEncoder,
    Decoder,
    Encoder,
    draw_encoders,
    draw_functions,
)
from plurel.params import SCMParams
from plurel.schema import ColumnSchema, ForeignKey, TableSchema
from plurel.scm import Model, draw_blueprint, generate_table
from plurel.values import TableValues

Links = list[NDArray[np.int64]]
# steps and fast sines would blow the rounding of float32 up
SMOOTH = Choices("set", ("tanh", "silu", "bent_identity", "softplus", "softsign", "cos"))


def config(mode: str = "type_eager", **changes: Any) -> Config:
    params: dict[str, Any] = {
        "propagation_mode_choices": Choices("set", (mode,)),
        "activation_choices": SMOOTH,
        "mlp_emb_dim": 6,
        "ts_value_scale_choices": Choices("set", (1.0,)),
    }
    return Config(scm_params=SCMParams(**(params | changes)))


def table(name: str, num_rows: int, kinds: str, *parents: str, role: Any = "entity") -> TableSchema:
    """A table with one column a letter of `kinds`: n(umerical) or c(ategorical, 4 categories)."""
    columns = tuple(
        ColumnSchema(f"feature_{i}", "numerical" if kind == "n" else "categorical", count)
        for i, kind in enumerate(kinds)
        for count in [None if kind == "n" else 4]
    )
    keys = tuple(ForeignKey(f"foreign_row_{i}", parent) for i, parent in enumerate(parents))
    return TableSchema(name, role, num_rows, columns, keys)


def make(
    schema: TableSchema,
    links: Sequence[NDArray[np.int64]] = (),
    parents: Sequence[TableValues] = (),
    settings: Config | None = None,
    seed: int = 1,
) -> TableValues:
    return generate_table(schema, links, parents, settings or config(), seed, (schema.name,))


def family(
    mode: str, seed: int = 1, rows: int = 40, settings: Config | None = None
) -> tuple[TableSchema, Links, list[TableValues]]:
    """A child of an eager and, twice, a lazy table, with missing references."""
    eager = make(table("eager", 15, "ncn"), settings=config("type_eager"), seed=seed)
    lazy = make(table("lazy", 10, "ccnn"), settings=config("type_lazy"), seed=seed)
    child = table("child", rows, "nncncn", "eager", "lazy", "lazy", role="activity")
    draw = np.random.default_rng(seed)
    links = [draw.integers(-1, size, rows) for size in (15, 10, 10)]
    return child, links, [eager, lazy, lazy]


def naive_mlp(mlp: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    for layer, weight in enumerate(mlp.weights):
        x = x @ weight.astype(np.float64)
        if layer < len(mlp.activations):
            activated = mlp.activations[layer](x.astype(np.float32)[None])[0].astype(np.float64)
            x = np.clip(mlp.scales[layer] * activated, -1e6, 1e6)
    return x


def naive_encode(encoder: Encoder, value: Any) -> NDArray[np.float64]:
    if isinstance(encoder, CategoricalEncoder):
        return encoder.table[value].astype(np.float64)
    return naive_mlp(encoder.mlp, np.array([value], np.float64))


def naive_decode(decoder: Decoder, embedding: NDArray[np.float64]) -> Any:
    out = naive_mlp(decoder.mlp, embedding)
    return int(np.argmax(out)) if isinstance(decoder, CategoricalDecoder) else float(out[0])


def naive_aggregate(kind: str, terms: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    stack = np.clip(np.stack(terms), -1e4, 1e4)
    if kind == "logexp":
        top = stack.max(axis=0)
        return top + np.log(np.exp(stack - top).sum(axis=0))
    return {"sum": np.sum, "max": np.max, "product": np.prod}[kind](stack, axis=0)


def naive_table(
    schema: TableSchema, links: Links, parents: list[TableValues], settings: Config, seed: int
) -> dict[str, list[Any]]:
    """The columns of an eagerly typed table, one row, node, parent and column at a time."""
    params, names = settings.scm_params, (schema.name,)
    blueprint = draw_blueprint(schema, settings, seed, names)
    model = Model(schema, blueprint, params, seed, names)
    sources = {node: source.take(schema.num_rows) for node, source in model.sources.items()}
    noise = {node: source.take(schema.num_rows) for node, source in model.noise.items()}
    shared = {
        key.parent: draw_encoders(
            parent.encoder_types(),
            params,
            streams.stream(seed, *names, "conditioning", key.parent),
        )
        for key, parent in zip(schema.foreign_keys, parents, strict=True)
    }
    functions = {
        node: draw_functions(
            blueprint.categories[node],
            [blueprint.categories[parent] for parent in model.parents[node]],
            params,
            streams.stream(seed, *names, "node", node, "functions"),
        )
        for node in noise
    }
    rows: dict[str, list[Any]] = {column.name: [] for column in schema.columns}
    for row in range(schema.num_rows):
        values: dict[int, Any] = {}
        for node in model.nodes:
            if node in sources:
                values[node] = sources[node][row]
                continue
            kind = blueprint.aggregations[node]
            decoder, encoders = functions[node]
            terms = [
                blueprint.graph.edges[parent, node]["weight"]
                * naive_encode(encoder, values[parent])
                for parent, encoder in zip(model.parents[node], encoders, strict=True)
            ]
            for key, link, parent in zip(schema.foreign_keys, links, parents, strict=True):
                if link[row] < 0:
                    continue
                inputs = [column[link[row]] for column in parent.values]
                weight = 1 / len(inputs) if kind == "sum" else 1.0
                for encoder, value in zip(shared[key.parent], inputs, strict=True):
                    terms.append(weight * naive_encode(encoder, value))
            embedding = noise[node][row].astype(np.float64) + naive_aggregate(kind, terms)
            values[node] = naive_decode(decoder, embedding)
        for column, node in zip(schema.columns, blueprint.column_nodes, strict=True):
            rows[column.name].append(values[node])
    return rows
