"""Draws of functions, MLPs, encoders, decoders and aggregates, against plain loops in float64."""

from typing import Any

import numpy as np
import pytest
from models import aggregate, decode, encode, model
from scipy import stats

import rustler
from plurel.choices import Choices
from plurel.mechanisms import Functions, draw_codes, draw_many, draw_numbers
from plurel.params import SCMParams

PARAMS = SCMParams()
# steps and fast sines would blow the rounding of float32 up
SMOOTH = SCMParams(
    activation_choices=Choices("set", ("tanh", "silu", "bent_identity", "softplus", "gelu")),
    initialization_choices=Choices("set", ("kaiming_normal", "trunc_normal")),
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def encoders(categories: list[int | None], weight: float = 1.0) -> Functions:
    functions = Functions()
    functions.add_encoders(categories, [weight] * len(categories))
    return functions


def near(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def one_edge(kind: str, categories: int | None, **changes: Any) -> rustler.TableModel:
    """A source of numbers or categories (node 0), and a node that aggregates it and its copy."""
    functions = Functions()
    decoder = functions.add_decoder(changes.pop("decoded", None))
    first = functions.add_encoders([categories] * 2, [0.7, -1.3])
    return model(
        functions,
        SMOOTH,
        decoder=[-1, decoder],
        parent_ptr=[0, 0, 2],
        parent=[0, 0],
        encoder=[first, first + 1],
        aggregation=[0, rustler.AGGREGATIONS.index(kind)],
        **changes,
    )


@pytest.mark.parametrize("decoded", [None, 5, 70])
@pytest.mark.parametrize("categories", [None, 4, 20])
@pytest.mark.parametrize("kind", rustler.AGGREGATIONS)
def test_a_node_equals_a_loop(kind: str, categories: int | None, decoded: int | None) -> None:
    core = one_edge(kind, categories, decoded=decoded)
    count = 150
    values = (
        rng().normal(0, 2, count) if categories is None else rng().integers(categories, size=count)
    )
    given, found = core.propagate(0, count, {0: values.astype(np.float32)}, [])
    np.testing.assert_array_equal(given, values.astype(np.float32))
    functions = [core.function(number) for number in range(3)]
    noise = core.noise(1, 0, count).astype(np.float64)
    expected = [
        decode(
            functions[0], noise[row] + aggregate(kind, [encode(f, value) for f in functions[1:]])
        )
        for row, value in enumerate(given)
    ]
    if decoded is None:
        near(found, expected)
    else:
        assert (found == expected).mean() > 0.98
    assert len(set(expected)) > 1


def test_rows_do_not_depend_on_calls() -> None:
    core = one_edge("logexp", None)
    values = rng().normal(size=500).astype(np.float32)
    whole = core.propagate(0, 500, {0: values}, [])[1]
    part = core.propagate(192, 100, {0: values[192:292]}, [])[1]
    np.testing.assert_array_equal(whole[192:292], part)


def test_terms_are_clipped_after_their_weight() -> None:
    params = SCMParams(
        activation_choices=Choices("set", ("identity",)),
        initialization_choices=Choices("set", ("trunc_normal",)),
        mlp_num_layers_choices=Choices("set", (1,)),
        mlp_weight_density_choices=Choices("set", (1.0,)),
    )
    core = model(encoders([None], 3.0), params)
    plain = core.function(0)["layers"][0][0][0]
    (found,) = (gathered(core, [np.array([1.0, 1e9], np.float32)], "sum"),)
    near(found[0], plain)
    np.testing.assert_allclose(found[1], 1e4 * np.sign(plain))


def gathered(
    core: rustler.TableModel, columns: list[Any], kind: str, links: Any = None
) -> np.ndarray[Any, Any]:
    """What the rows of a parent table give, by what a node with a linear decoder makes of it."""
    code = rustler.AGGREGATIONS.index(kind)
    return core.encode(0, columns, [code]).rows(code)


@pytest.mark.parametrize("kind", rustler.AGGREGATIONS)
def test_encoded_parent_rows_equal_a_loop(kind: str) -> None:
    core = model(encoders([None, 4, None]), SMOOTH)
    columns = [
        rng(0).normal(size=130).astype(np.float32),
        rng(1).integers(4, size=130).astype(np.float32),
        rng(2).normal(size=130).astype(np.float32),
    ]
    found = gathered(core, columns, kind)
    functions = [core.function(number) for number in range(3)]
    weight = 1 / 3 if kind == "sum" else 1.0
    expected = [
        aggregate(kind, [weight * encode(f, v) for f, v in zip(functions, row, strict=True)])
        for row in zip(*columns, strict=True)
    ]
    near(found[:-1], expected)
    neutral = {"sum": 0.0, "max": -1e30, "product": 1.0, "logexp": -1e30}[kind]
    np.testing.assert_array_equal(found[-1], np.float32(neutral))


def test_functions_have_the_published_make_up() -> None:
    core = model(encoders([None] * 600), PARAMS)
    functions = [core.function(number) for number in range(600)]
    drawn = [f["layers"] for f in functions if f["kind"] == "encoder"]
    # one in six first matrices is sparse, so all zero
    assert 1 - len(drawn) / 600 == pytest.approx(1 / 6, abs=0.04)
    depths = np.bincount([len(layers) for layers in drawn])
    assert len(depths) == 5
    assert stats.chisquare(depths[2:]).pvalue > 0.01
    for layers in drawn:
        shapes = [weights.shape for weights, _ in layers]
        assert shapes == [(1, 32)] + [(32, 32)] * (len(layers) - 1)
        assert [after is None for _, after in layers] == [False] * (len(layers) - 1) + [True]
    hidden = [after for layers in drawn for _, after in layers[:-1]]
    assert stats.kstest(np.log([a[1] for a in hidden]), stats.uniform(-1, 2).cdf).pvalue > 0.01
    names = [a[0] for a in hidden]
    shares = [names.count(name) for name in rustler.ACTIVATIONS]
    assert stats.chisquare(shares).pvalue > 0.01


def test_random_sines() -> None:
    params = SCMParams(activation_choices=Choices("set", ("random_sines",)))
    core = model(encoders([None] * 900), params)
    functions = [core.function(number) for number in range(900)]
    drawn = [after[2] for f in functions if f["kind"] == "encoder" for _, after in f["layers"][:-1]]
    counts = np.bincount([len(sines) for sines in drawn])
    assert len(counts) == 8
    assert stats.chisquare(counts[3:]).pvalue > 0.01
    amplitudes, frequencies, phases = np.array([sine for sines in drawn for sine in sines]).T
    assert stats.kstest(amplitudes, stats.norm.cdf).pvalue > 0.01
    assert stats.kstest(np.log10(frequencies), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert stats.kstest(phases, stats.uniform(0, 2 * np.pi).cdf).pvalue > 0.01


def test_embeddings_are_not_masked() -> None:
    functions = encoders([6] * 40)
    params = SCMParams(
        activation_choices=Choices("set", ("identity",)),
        mlp_weight_density_choices=Choices("set", (0.3,)),
        initialization_choices=Choices("set", ("xavier_uniform",)),
    )
    core = model(functions, params)
    for number in range(40):
        table = core.function(number)
        assert len(np.unique(table["values"][:, :6].T, axis=0)) == 6


def test_what_does_not_fit_is_refused() -> None:
    functions = encoders([None])
    with pytest.raises(rustler.RustlerError, match="node 1: "):
        model(functions, decoder=[-1, -1], parent_ptr=[0, 0, 1], parent=[1], encoder=[0])
    with pytest.raises(rustler.RustlerError, match="node 0: its decoder is none"):
        model(functions, decoder=[0], parent_ptr=[0, 0])
    with pytest.raises(rustler.RustlerError, match="'parent_ptr' does not rise"):
        model(functions, decoder=[-1], parent_ptr=[0, 4])
    core = one_edge("sum", None)
    with pytest.raises(rustler.RustlerError, match="node 0: 3 values for 4 rows"):
        core.propagate(0, 4, {0: np.zeros(3, np.float32)}, [])
    with pytest.raises(rustler.RustlerError, match="no multiple of 64"):
        core.propagate(5, 4, {0: np.zeros(4, np.float32)}, [])
    rows = core.encode(1, [np.zeros(3, np.float32)], [0])
    with pytest.raises(rustler.RustlerError, match="links must be 2 numbers from -1 to 2"):
        core.propagate(0, 2, {0: np.zeros(2, np.float32)}, [(rows, np.array([0, 3]))])
    with pytest.raises(rustler.RustlerError, match="no encoders from number 9 on"):
        core.encode(9, [np.zeros(3, np.float32)], [0])


def test_draw_many() -> None:
    for choices in (
        Choices("set", ("a", "b", "c")),
        Choices("range", (2, 4)),
        Choices("range", (1, 4), exponent=1.0),
    ):
        many = draw_many(choices, 6000, rng())
        single = [choices.sample(stream) for stream in [rng(1)] for _ in range(6000)]
        for value in sorted(set(single)):
            assert many.count(value) == pytest.approx(single.count(value), rel=0.08)
    floats = draw_numbers(Choices("range", (0.5, 5.0)), 6000, rng())
    assert stats.kstest(floats, stats.uniform(0.5, 4.5).cdf).pvalue > 0.01
    codes = draw_codes(Choices("set", ("c", "a")), ("a", "b", "c"), 6000, rng())
    assert np.bincount(codes, minlength=3)[[0, 2]].min() > 2850
    assert 1 not in codes
