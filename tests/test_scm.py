"""A table's structural model: against a slow twin that visits row by row in float64, and that
nothing depends on what it should not depend on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from plurel import rng as streams
from plurel import scm
from plurel.choices import Choices
from plurel.conditioning import parent_encoders
from plurel.config import Config
from plurel.mechanisms import (
    CategoricalDecoder,
    CategoricalEncoder,
    Decoder,
    Encoder,
    NumericEncoder,
    draw_encoders,
)
from plurel.params import SCMParams
from plurel.schema import ColumnSchema, ForeignKey, TableSchema
from plurel.scm import Model, cut_into_categories, draw_blueprint, generate_table
from plurel.values import TableValues

Links = list[NDArray[np.int64]]
SMOOTH = Choices("set", ("tanh", "silu", "bent_identity", "softplus", "identity", "random_sines"))


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
    rows: dict[str, list[Any]] = {column.name: [] for column in schema.columns}
    for row in range(schema.num_rows):
        values: dict[int, Any] = {}
        for node in model.nodes:
            if node in sources:
                values[node] = sources[node][row]
                continue
            kind = blueprint.aggregations[node]
            terms = [
                naive_encode(encoder, values[parent])
                for parent, encoder in zip(model.parents[node], model.encoders[node], strict=True)
            ]
            for key, link, parent in zip(schema.foreign_keys, links, parents, strict=True):
                if link[row] < 0:
                    continue
                inputs = [column[link[row]] for column in parent.values]
                weight = 1 / len(inputs) if kind == "sum" else 1.0
                for encoder, value in zip(shared[key.parent], inputs, strict=True):
                    terms.append(weight * naive_encode(encoder, value))
            embedding = noise[node][row].astype(np.float64) + naive_aggregate(kind, terms)
            values[node] = naive_decode(model.decoders[node], embedding)
        for column, node in zip(schema.columns, blueprint.column_nodes, strict=True):
            rows[column.name].append(values[node])
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_every_saving_gives_what_the_slow_twin_gives(seed: int) -> None:
    schema, links, parents = family("type_eager", seed)
    settings = config("type_eager")
    with np.errstate(over="ignore", under="ignore"):
        expected = naive_table(schema, links, parents, settings, seed)
    found = make(schema, links, parents, settings, seed)
    for column, values in zip(found.columns, found.values, strict=True):
        slow = np.array(expected[column.name])
        if column.kind == "categorical":
            assert (values == slow).mean() > 0.97
        else:
            close = np.isclose(values, slow, rtol=2e-3, atol=1e-3 * np.abs(slow).max())
            assert close.mean() > 0.97, column.name


@pytest.mark.parametrize("mode", ["type_eager", "type_lazy"])
def test_a_parent_row_reaches_exactly_its_children(mode: str) -> None:
    reached = 0
    for seed in range(4):
        schema, links, parents = family(mode, seed)
        settings = config(mode, cat_label_permute_prob_choices=Choices("set", (0.0,)))
        before = make(schema, links, parents, settings, seed)
        moved = list(parents[0].values)
        moved = [v.copy() for v in moved]
        for values in moved:
            values[3] = values[3] + 1 if values.dtype == np.float32 else (values[3] + 1) % 4
        changed = replace(parents[0], values=tuple(moved))
        after = make(schema, links, [changed, *parents[1:]], settings, seed)
        touched = links[0] == 3
        assert 0 < touched.sum() < 15
        for column, old, new in zip(before.columns, before.values, after.values, strict=True):
            if mode == "type_lazy" and column.kind == "categorical":
                continue  # thresholds are values of the column, so they may move
            np.testing.assert_array_equal(old[~touched], new[~touched])
            if column.kind == "numerical":
                reached += int((old[touched] != new[touched]).all())
    assert reached >= 5


@pytest.mark.parametrize("mode", ["type_eager", "type_lazy"])
def test_same_values_again_and_for_any_number_of_threads(mode: str) -> None:
    schema, links, parents = family(mode, rows=2500)
    settings = config(mode, mlp_emb_dim=32)
    with threadpool_limits(1, user_api="blas"):
        first = make(schema, links, parents, settings)
    with threadpool_limits(2, user_api="blas"):
        second = make(schema, links, parents, settings)
    assert first.columns == second.columns
    for old, new in zip(first.values, second.values, strict=True):
        np.testing.assert_array_equal(old, new)
    other = make(schema, links, parents, settings, seed=2)
    assert any(
        old.dtype != new.dtype or not np.array_equal(old, new)
        for old, new in zip(first.values, other.values, strict=True)
    )


def test_blocks_change_only_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, links, parents = family("type_eager", rows=300)
    whole = make(schema, links, parents)
    monkeypatch.setattr(scm, "BLOCK_ROWS", 64)
    monkeypatch.setattr("plurel.conditioning.BLOCK_ROWS", 4)
    for one, other in zip(whole.values, make(schema, links, parents).values, strict=True):
        assert np.isclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(one).max()).mean() > 0.97


def test_nodes_that_nothing_depends_on_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, links, parents = family("type_eager", seed=4)
    few = make(schema, links, parents)
    left_out = 0
    needed = scm.Blueprint.needed

    def all_nodes(self: scm.Blueprint) -> list[int]:
        nonlocal left_out
        left_out += len(self.graph) - len(needed(self))
        return list(scm.nx.lexicographical_topological_sort(self.graph))

    monkeypatch.setattr(scm.Blueprint, "needed", all_nodes)
    for one, other in zip(few.values, make(schema, links, parents).values, strict=True):
        np.testing.assert_array_equal(one, other)
    assert left_out > 0


def test_a_column_without_influence_leaves_the_others_alone() -> None:
    # another kind for one parent column changes its encoder, not the streams of the child's nodes
    schema, links, parents = family("type_eager")
    blueprint = draw_blueprint(schema, config(), 1, ("child",))
    other = draw_blueprint(replace(schema, foreign_keys=()), config(), 1, ("child",))
    assert blueprint.column_nodes == other.column_nodes
    assert blueprint.aggregations == other.aggregations
    assert set(blueprint.graph.edges) == set(other.graph.edges)
    alone = generate_table(replace(schema, foreign_keys=()), [], [], config(), 1, ("child",))
    found = make(schema, links, parents)
    same = [np.array_equal(a, b) for a, b in zip(alone.values, found.values, strict=True)]
    assert not all(same)


def test_blueprint_has_the_published_shape() -> None:
    shares, kinds, counts, noise = [], [], [], []
    for seed in range(150):
        schema = table("t", 10, "ncnccnncn")
        blueprint = draw_blueprint(schema, config(), seed, ("t",))
        nodes = len(blueprint.graph)
        # 9 columns + ceil(9 / p) + 3 for p in [0.3, 0.9]
        assert 9 + 10 + 3 <= nodes <= 9 + 30 + 3
        shares.append(nodes)
        assert len(set(blueprint.column_nodes)) == 9
        for column, node in zip(schema.columns, blueprint.column_nodes, strict=True):
            assert blueprint.categories[node] == column.num_categories
        latent = [c for n, c in enumerate(blueprint.categories) if n not in blueprint.column_nodes]
        kinds += [count is None for count in latent]
        counts += [count for count in latent if count is not None]
        noise += [value for pair in blueprint.noise for value in pair]
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.045)
    assert (min(counts), max(counts)) == (2, 10)
    assert min(noise) >= 0.5
    assert max(noise) <= 5.0
    assert np.mean(noise) == pytest.approx(2.75, abs=0.1)
    # E[ceil(9 / p)] is near 9 ln(3) / 0.6 + 1/2
    assert np.mean(shares) == pytest.approx(12 + 9 * np.log(3) / 0.6 + 0.5, abs=1.0)


def test_columns_stand_in_the_order_of_their_nodes() -> None:
    orders = set()
    for seed in range(8):
        schema = table("t", 20, "nccnn")
        nodes = draw_blueprint(schema, config(), seed, ("t",)).column_nodes
        found = make(schema, seed=seed)
        assert [schema.columns[i] for i in np.argsort(nodes)] == list(found.columns)
        orders.add(found.columns)
    assert len(orders) > 3


@pytest.mark.parametrize("mode", ["type_eager", "type_lazy"])
def test_types_and_ranges_at_the_default_config(mode: str) -> None:
    settings = Config(scm_params=SCMParams(propagation_mode_choices=Choices("set", (mode,))))
    seen = 0
    for seed in range(10):
        schema, links, parents = family(mode, seed, rows=150)
        found = make(schema, links, parents, settings, seed)
        assert found.mode == mode
        for column, values in zip(found.columns, found.values, strict=True):
            assert len(values) == 150
            if column.kind == "categorical":
                assert values.dtype == np.int64
                assert values.min() >= 0
                assert values.max() < 4
                seen += len(np.unique(values)) > 1
            else:
                assert values.dtype == np.float32
                assert np.isfinite(values).all()
    assert seen > 5


def test_thresholds_are_values_of_the_column() -> None:
    params = SCMParams(
        cat_label_permute_prob_choices=Choices("set", (0.0,)),
        cat_label_reverse_prob_choices=Choices("set", (0.0,)),
    )
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    codes = cut_into_categories(values, 5, params, np.random.default_rng(3))
    thresholds = values[np.random.default_rng(3).integers(500, size=4)]
    np.testing.assert_array_equal(codes, [sum(v > t for t in thresholds) for v in values])
    turned = replace(params, cat_label_reverse_prob_choices=Choices("set", (1.0,)))
    np.testing.assert_array_equal(
        cut_into_categories(values, 5, turned, np.random.default_rng(3)), 4 - codes
    )
    constant = cut_into_categories(np.ones(9, np.float32), 3, params, np.random.default_rng(0))
    np.testing.assert_array_equal(constant, np.zeros(9))


def test_labels_are_permuted_and_reversed_as_often_as_published() -> None:
    values = np.arange(400, dtype=np.float32)
    kept = turned = 0
    for seed in range(700):
        codes = cut_into_categories(values, 5, SCMParams(), np.random.default_rng(seed))
        labels = codes[np.sort(np.unique(codes, return_index=True)[1])]
        if len(labels) == 5:
            kept += bool((np.diff(labels) > 0).all())
            turned += bool((np.diff(labels) < 0).all())
    # unpermuted in 35 %, half of them reversed; a permutation is the identity in 1 of 120
    assert kept / 700 == pytest.approx(0.175 + 0.65 / 120, abs=0.045)
    assert turned / 700 == pytest.approx(0.175 + 0.65 / 120, abs=0.045)


def test_a_lazy_parent_is_read_as_numbers() -> None:
    values = (np.array([1.5, -2.0], np.float32), np.array([3, 0]))
    columns = table("t", 2, "nc").columns
    eager, lazy = (TableValues(columns, values, mode) for mode in ("type_eager", "type_lazy"))
    assert eager.encoder_types() == [None, 4]
    assert lazy.encoder_types() == [None, None]
    params = config().scm_params
    for seed in range(5):
        plain = draw_encoders([None, None], params, np.random.default_rng(seed))[1]
        assert isinstance(plain, NumericEncoder)
        looked_up = parent_encoders(lazy, params, np.random.default_rng(seed))[1]
        np.testing.assert_allclose(
            looked_up(values[1]),
            np.broadcast_to(plain(values[1].astype(np.float32)), (2, 6)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_tables_without_columns_and_wrong_links() -> None:
    empty = table("empty", 7, "")
    values = make(empty)
    assert values.columns == ()
    child = table("child", 30, "nn", "empty")
    link = np.zeros(30, np.int64)
    alone = generate_table(replace(child, foreign_keys=()), [], [], config(), 1, ("child",))
    for one, other in zip(make(child, [link], [values]).values, alone.values, strict=True):
        np.testing.assert_array_equal(one, other)
    parent = make(table("parent", 5, "nc"))
    child = table("child", 30, "nn", "parent")
    with pytest.raises(ValueError, match=r"child\.foreign_row_0.*outside.*5 rows"):
        make(child, [link + 5], [parent])
    with pytest.raises(ValueError, match=r"child\.foreign_row_0: 29 links for 30 rows"):
        make(child, [link[1:]], [parent])
