"""Activations, initialisers, MLPs, encoders, decoders, noise and aggregates, against torch and
against loops in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats

from plurel import params as allowed
from plurel.activations import ACTIVATIONS, BOUNDED, draw_random_sines
from plurel.choices import Choices
from plurel.initializers import deviations, draw_matrices, mask
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
from plurel.noise import BetaNoise, beta_quantiles
from plurel.params import SCMParams

PARAMS = SCMParams()
TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "selu": F.selu,
    "silu": F.silu,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "celu": F.celu,
    "tanhshrink": F.tanhshrink,
    "rrelu": F.rrelu,
    "logsigmoid": F.logsigmoid,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "identity": lambda x: x,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": torch.sign,
    "clip": lambda x: x.clamp(-1, 1),
    "signed_log1p": lambda x: x.sign() * torch.log1p(x.abs()),
    "bent_identity": lambda x: (torch.sqrt(x**2 + 1) - 1) / 2 + x,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_names_are_those_of_the_config() -> None:
    assert set(allowed.ACTIVATIONS) == {*ACTIVATIONS, "random_sines"} == {*TORCH, "random_sines"}
    assert set(allowed.INITIALIZERS) == set(deviations((2, 3)))


@pytest.mark.parametrize("name", sorted(TORCH))
def test_activation_equals_torch(name: str) -> None:
    sizes = [*(10.0**k for k in range(-6, 6)), 0.5, 1.0, 3.0, 20.0, 88.0, 2.5]
    x = np.array([0.0, *sizes, *(-size for size in sizes)], np.float32)
    x = np.concatenate([x, rng().normal(0, 3, 5000).astype(np.float32)])
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    with np.errstate(over="ignore", under="ignore"):
        found = ACTIVATIONS[name](x.copy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=5e-7)
    if name in BOUNDED:
        assert np.abs(found).max() <= 1.0


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "signed_log1p"])
def test_small_inputs_keep_their_relative_precision(name: str) -> None:
    x = -np.geomspace(1e-12, 1e-2, 300).astype(np.float32)
    expected = TORCH[name](torch.from_numpy(x.copy()).double()).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](x.copy()), expected, rtol=1e-6, atol=0)


def test_random_sines() -> None:
    drawn = [draw_random_sines(rng(seed)) for seed in range(2000)]
    counts = np.bincount([len(one.phases) for one in drawn])
    assert stats.chisquare(counts[3:]).pvalue > 0.01
    assert len(counts) == 8
    logs = np.log10(np.concatenate([one.frequencies for one in drawn]))
    assert stats.kstest(logs, stats.uniform(-1, 2).cdf).pvalue > 0.01
    amplitudes = np.concatenate([one.amplitudes for one in drawn])
    assert stats.kstest(amplitudes, stats.norm.cdf).pvalue > 0.01
    phases = np.concatenate([one.phases for one in drawn])
    assert stats.kstest(phases, stats.uniform(0, 2 * np.pi).cdf).pvalue > 0.01
    one, x = drawn[0], np.linspace(-2, 2, 7, dtype=np.float32)
    expected = sum(
        a * np.sin(f * x.astype(float) + p)
        for a, f, p in zip(one.amplitudes, one.frequencies, one.phases, strict=True)
    )
    np.testing.assert_allclose(one(x), expected, atol=3e-6)


TORCH_INIT: dict[str, Callable[[torch.Tensor], Any]] = {
    "kaiming_normal": torch.nn.init.kaiming_normal_,
    "kaiming_uniform": torch.nn.init.kaiming_uniform_,
    "xavier_normal": torch.nn.init.xavier_normal_,
    "xavier_uniform": torch.nn.init.xavier_uniform_,
    "trunc_normal": torch.nn.init.trunc_normal_,
    "sparse": lambda matrix: torch.nn.init.sparse_(matrix, sparsity=0.5),
}


@pytest.mark.parametrize("shape", [(1, 32), (32, 32), (32, 1), (7, 32)])
@pytest.mark.parametrize("name", sorted(TORCH_INIT))
def test_initializer_has_torchs_law(name: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    count = 20_000 // (shape[0] * shape[1]) + 1
    theirs = torch.stack([TORCH_INIT[name](torch.empty(shape)) for _ in range(count)]).numpy()
    ours = draw_matrices([name] * count, shape, rng(1))
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    # the same zeros in each column, and the same law of the rest
    np.testing.assert_array_equal(
        np.unique((ours == 0).sum(axis=1)), np.unique((theirs == 0).sum(axis=1))
    )
    if ours.any():
        assert stats.ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 0.001
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.35)
    else:
        assert (name, shape) == ("sparse", (1, 32))


def test_sparse_zeros_are_anywhere_in_a_column() -> None:
    zeros = draw_matrices(["sparse"] * 500, (8, 16), rng())
    np.testing.assert_allclose((zeros == 0).mean(axis=(0, 2)), 0.5, atol=0.03)


def test_mask_keeps_a_share_and_rescales() -> None:
    matrices = np.ones((3, 200, 100), np.float32)
    mask(matrices, [0.3, 0.75, 1.0], rng())
    kept = matrices != 0
    np.testing.assert_allclose(kept.mean(axis=(1, 2)), [0.3, 0.75, 1.0], atol=0.01)
    for matrix, share in zip(matrices, (0.3, 0.75, 1.0), strict=True):
        np.testing.assert_allclose(np.unique(matrix)[-1], 1 / share, rtol=1e-6)


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


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.5, 5), (5, 0.5), (1, 1), (4.2, 2.2), (0.2, 3)])
def test_noise_follows_beta(a: float, b: float) -> None:
    quantiles = beta_quantiles(a, b)
    assert len(quantiles) == 4096
    exact = stats.beta(a, b).cdf(quantiles.astype(float))
    # float32 keeps 6e-8 of 1 - x, of which b = 1/2 makes probabilities of 4e-4
    np.testing.assert_allclose(exact, (np.arange(4096) + 0.5) / 4096, atol=6e-4 if b < 1 else 2e-5)
    noise = BetaNoise(a, b, 32, rng(7)).take(500)
    assert noise.shape == (500, 32)
    picked = np.bincount(np.searchsorted(quantiles / np.float32(32), noise.ravel()), minlength=4096)
    if len(np.unique(quantiles)) == 4096:
        assert picked.max() < 20
        coarse = picked.reshape(64, 64).sum(axis=1)
        assert stats.chisquare(coarse).pvalue > 0.001


@pytest.mark.parametrize("dim", [32, 6])
def test_noise_rows_do_not_depend_on_calls(dim: int) -> None:
    whole = BetaNoise(1.5, 0.7, dim, rng(8)).take(100)
    parts = BetaNoise(1.5, 0.7, dim, rng(8))
    np.testing.assert_array_equal(whole, np.concatenate([parts.take(1), parts.take(99)]))
    assert abs(np.corrcoef(whole[:, 0], whole[:, 1])[0, 1]) < 0.4


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
