"""Activations, initialisers, MLPs, encoders, decoders, noise and aggregates, against torch and
against loops in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from plurel.activations import ACTIVATIONS
from plurel.choices import Choices
from plurel.mechanisms import (
    MLP,
    Aggregate,
    CategoricalDecoder,
    CategoricalEncoder,
    NumericEncoder,
    clip_term,
    draw_encoders,
    draw_functions,
    draw_many,
    draw_mlps,
)
from plurel.params import SCMParams

PARAMS = SCMParams()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def naive_mlp(mlp: MLP, x: NDArray[Any]) -> NDArray[np.float64]:
    """A row, a unit, a weight at a time, in float64."""
    rows = []
    for row in x.reshape(len(x), -1).astype(float):
        values = list(row)
        for layer, weight in enumerate(mlp.weights):
            values = [
                sum(v * float(weight[i, j]) for i, v in enumerate(values))
                for j in range(weight.shape[1])
            ]
            if layer < len(mlp.activations):
                activated = mlp.activations[layer](np.array([values], np.float32))[0]
                scaled = [mlp.scales[layer] * float(v) for v in activated]
                values = [min(max(v, -1e6), 1e6) for v in scaled]
        rows.append(values)
    return np.array(rows)


def test_mlp_equals_a_loop() -> None:
    smooth = Choices("set", ("tanh", "relu", "silu", "bent_identity", "identity", "random_sines"))
    params = SCMParams(activation_choices=smooth, mlp_emb_dim=6)
    for seed, mlp in enumerate(draw_mlps([(1, 6), (6, 6), (6, 1)] * 6, params, rng(2))):
        width = mlp.weights[0].shape[0]
        x = rng(seed).normal(0, 2, (5, width)).astype(np.float32)
        np.testing.assert_allclose(mlp(x), naive_mlp(mlp, x), rtol=2e-4, atol=2e-5)


def test_hidden_values_are_clipped_after_scaling() -> None:
    one = np.ones((1, 1), np.float32)
    mlp = MLP((one, one), (ACTIVATIONS["identity"],), (2.0,), (False,))
    found = mlp(np.array([[4e5], [6e5], [-9e9]], np.float32))
    np.testing.assert_array_equal(found[:, 0], np.array([8e5, 1e6, -1e6], np.float32))


def test_mlp_shapes_and_shares() -> None:
    mlps = draw_mlps([(1, 32)] * 600, PARAMS, rng(3))
    depths = np.bincount([len(mlp.weights) for mlp in mlps])
    assert stats.chisquare(depths[2:]).pvalue > 0.01
    assert len(depths) == 5
    for mlp in mlps:
        assert [w.shape for w in mlp.weights] == [(1, 32)] + [(32, 32)] * (len(mlp.weights) - 1)
        assert len(mlp.activations) == len(mlp.scales) == len(mlp.weights) - 1
    scales = np.log([scale for mlp in mlps for scale in mlp.scales])
    assert stats.kstest(scales, stats.uniform(-1, 2).cdf).pvalue > 0.01
    # one in six first matrices is sparse, so all zero; a masked one of 32 weights never is
    zero = np.mean([not mlp.weights[0].any() for mlp in mlps])
    assert zero == pytest.approx(1 / 6, abs=0.04)


def test_constant_encoders_are_evaluated_once() -> None:
    hidden = np.full((4, 4), 0.5, np.float32)
    mlp = MLP((np.zeros((1, 4), np.float32), hidden), (ACTIVATIONS["cos"],), (1.5,), (True,))
    values = rng().normal(size=9).astype(np.float32)
    found = NumericEncoder(mlp)(values)
    assert found.shape == (1, 4)
    np.testing.assert_allclose(np.broadcast_to(found, (9, 4)), mlp(values[:, None]), rtol=1e-6)


def test_weights_fold_into_encoders() -> None:
    encoders = draw_encoders([None, 4, None, 9], PARAMS, rng(4))
    for encoder, categories in zip(encoders, [None, 4, None, 9], strict=True):
        if isinstance(encoder, CategoricalEncoder):
            assert encoder.table.shape == (categories, 32)
            values: NDArray[Any] = rng().integers(0, 4, 50)
        else:
            values = rng().normal(size=50).astype(np.float32)
        expected = encoder(values) * np.float32(-1.7)
        found = encoder.weighted(-1.7)(values)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_categorical_encoder_looks_its_embedding_up() -> None:
    (encoder,) = draw_encoders([5], PARAMS, rng(5))
    assert isinstance(encoder, CategoricalEncoder)
    codes = np.array([4, 0, 4, 2])
    np.testing.assert_array_equal(encoder(codes), encoder.table[codes])
    assert len(np.unique(encoder.table, axis=0)) == 5


def test_categorical_decoder_is_the_first_most_similar_category() -> None:
    decoder, encoders = draw_functions(7, [None, 3], PARAMS, rng(6))
    assert [type(encoder) for encoder in encoders] == [NumericEncoder, CategoricalEncoder]
    assert isinstance(decoder, CategoricalDecoder)
    x = rng().normal(size=(500, 32)).astype(np.float32)
    codes = decoder(x)
    np.testing.assert_array_equal(codes, decoder.mlp(x).argmax(axis=1))
    assert len(np.unique(codes)) > 1
    tied = CategoricalDecoder(MLP((np.ones((32, 3), np.float32),)))
    np.testing.assert_array_equal(tied(x), np.zeros(500))
    numbers = draw_functions(None, [], PARAMS, rng(6))[0](x)
    assert (numbers.shape, numbers.dtype) == ((500,), np.float32)


NAIVE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sum": lambda terms: terms.sum(axis=0),
    "max": lambda terms: terms.max(axis=0),
    "product": lambda terms: terms.prod(axis=0),
    "logexp": lambda terms: torch.logsumexp(torch.from_numpy(terms), dim=0).numpy(),
}


@pytest.mark.parametrize("kind", sorted(NAIVE))
def test_aggregate(kind: str) -> None:
    terms = rng().normal(0, 4, (9, 20, 6)).astype(np.float32)
    terms[3] *= 1000
    terms[5] = terms[5, :1]
    expected = NAIVE[kind](terms.astype(float))
    plain = Aggregate(kind, 20, 6)
    for index, term in enumerate(terms):
        plain.add(term[:1] if index == 5 else term)
    np.testing.assert_allclose(plain.result(), expected, rtol=1e-4, atol=1e-4)
    # an aggregate of some terms is a term itself; one of no terms changes nothing
    nested = Aggregate(kind, 20, 6)
    for group in (terms[:4], terms[4:]):
        part = Aggregate(kind, 20, 6)
        for term in group:
            part.add(term)
        nested.add(part.result())
    nested.add(Aggregate(kind, 1, 6).result())
    np.testing.assert_allclose(nested.result(), expected, rtol=1e-4, atol=1e-4)


def test_products_stay_finite_and_terms_are_clipped() -> None:
    aggregate = Aggregate("product", 1, 2)
    for _ in range(40):
        aggregate.add(clip_term(np.array([[1e9, -1e9]], np.float32)))
    np.testing.assert_allclose(aggregate.result(), [[1e30, 1e30]], rtol=1e-6)
    np.testing.assert_array_equal(
        clip_term(np.array([2e4, -3e9, 7.0], np.float32)), np.array([1e4, -1e4, 7], np.float32)
    )


def test_draw_many_has_the_law_of_one_draw() -> None:
    for choices in (
        Choices("set", ("a", "b", "c")),
        Choices("range", (2, 4)),
        Choices("range", (1, 3), exponent=1.0),
    ):
        many = draw_many(choices, 6000, rng())
        single = [choices.sample(stream) for stream in [rng(1)] for _ in range(6000)]
        for value in sorted(set(single)):
            assert many.count(value) == pytest.approx(single.count(value), rel=0.08)
    floats = draw_many(Choices("range", (0.5, 5.0)), 6000, rng())
    assert stats.kstest(floats, stats.uniform(0.5, 4.5).cdf).pvalue > 0.01
