"""Small tables, and a slow twin of `plurel.scm` that visits one row, node, parent and column at a
time in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from models import aggregate, decode, encode
from numpy.typing import NDArray

from plurel.choices import Choices
from plurel.conditioning import CrossTable
from plurel.config import Config
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


def naive_table(
    schema: TableSchema, links: Links, parents: list[TableValues], settings: Config, seed: int
) -> dict[str, list[Any]]:
    """The columns of an eagerly typed table, one row, node, parent and column at a time."""
    blueprint = draw_blueprint(schema, settings, seed, (schema.name,))
    conditioning = CrossTable(schema, links, parents)
    model = Model(schema, blueprint, conditioning, settings.scm_params, seed, (schema.name,))
    core, count = model.core, schema.num_rows
    place = {node: number for number, node in enumerate(model.nodes)}
    given = {node: source.take(count) for node, source in model.sources.items()}
    noise = {n: core.noise(place[n], 0, count).astype(float) for n in model.nodes if n not in given}
    functions = [core.function(number) for number in range(len(model.functions.decodes))]
    rows: dict[str, list[Any]] = {column.name: [] for column in schema.columns}
    for row in range(count):
        values: dict[int, Any] = {}
        numbers = iter(functions)
        for node in model.nodes:
            if node in given:
                values[node] = given[node][row]
                continue
            kind = blueprint.aggregations[node]
            decoder = next(numbers)
            terms = [encode(next(numbers), values[p]) for p, _ in blueprint.parents[node]]
            for key, link, parent in zip(schema.foreign_keys, links, parents, strict=True):
                if link[row] < 0:
                    continue
                inputs = [column[link[row]] for column in parent.values]
                weight = 1 / len(inputs) if kind == "sum" else 1.0
                first = conditioning.first[key.parent]
                for number, value in enumerate(inputs):
                    terms.append(weight * encode(functions[first + number], value))
            values[node] = decode(decoder, noise[node][row] + aggregate(kind, terms))
        for column, node in zip(schema.columns, blueprint.column_nodes, strict=True):
            rows[column.name].append(values[node])
    return rows
