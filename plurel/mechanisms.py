"""Random functions between the nodes of a structural causal model (PluRel, arXiv 2602.04029).

An encoder turns the values of a node into embeddings, a decoder turns embeddings into values;
both are small multi-layer perceptrons without biases, applied as x W, in float32. An aggregate
joins the encoded parents of a node. Shapes: n rows, d = mlp_emb_dim.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel.activations import BOUNDED, F32, Activation, make_activation
from plurel.choices import Choices
from plurel.config import SCMParams
from plurel.initializers import Shape, draw_matrices, mask

Rng = np.random.Generator
Codes = NDArray[np.int64]

ACTIVATION_BOUND = 1e6
TERM_BOUND = 1e4
PRODUCT_BOUND = 1e30
"""Keeps products of many large terms, and what a matrix makes of them, finite in float32."""
LOWEST = -1e30
"""Stands for minus infinity: below every clipped term, without its undefined differences."""


def draw_many(choices: Choices, count: int, rng: Rng) -> list[Any]:
    """`count` independent draws of a uniform Choices (a power law is drawn one by one)."""
    if choices.exponent:
        return [choices.sample(rng) for _ in range(count)]
    if choices.kind == "set":
        return [choices.value[pick] for pick in rng.integers(len(choices.value), size=count)]
    low, high = choices.value
    if isinstance(low, int):
        return rng.integers(low, high, size=count, endpoint=True).tolist()
    return rng.uniform(low, high, count).tolist()


@dataclass(frozen=True, eq=False)
class MLP:
    """x W1 -> f1 -> ... -> W_last, each f an activation times a scale, clipped to +-1e6."""

    weights: tuple[F32, ...]
    activations: tuple[Activation, ...] = ()
    scales: tuple[float, ...] = ()
    bounded: tuple[bool, ...] = ()

    def __call__(self, x: F32) -> F32:
        """[n, in] -> [n, out]. A scalar input is an outer product."""
        first = self.weights[0]
        h = x * first if first.shape[0] == 1 else x @ first
        for layer, weight in enumerate(self.weights[1:]):
            h = self.activations[layer](h)
            h *= np.float32(self.scales[layer])
            if not self.bounded[layer]:
                h.clip(-ACTIVATION_BOUND, ACTIVATION_BOUND, out=h)
            h = h @ weight
        return h

    def then(self, matrix: F32 | float) -> "MLP":
        """This MLP with its last matrix times a number, or followed by a matrix [out, k]."""
        last = self.weights[-1]
        changed = last @ matrix if isinstance(matrix, np.ndarray) else last * np.float32(matrix)
        weights = (*self.weights[:-1], changed)
        return MLP(weights, self.activations, self.scales, self.bounded)


def draw_mlps(shapes: Sequence[Shape], params: SCMParams, rng: Rng) -> list[MLP]:
    """One MLP a shape (in, out); hidden layers have mlp_emb_dim. Matrices are drawn together."""
    depths = draw_many(params.mlp_num_layers_choices, len(shapes), rng)
    dims = [
        (shape[0], *[params.mlp_emb_dim] * (depth - 1), shape[1])
        for shape, depth in zip(shapes, depths, strict=True)
    ]
    weights = _draw_weights(
        [pair for widths in dims for pair in itertools.pairwise(widths)], params, rng
    )
    hidden = sum(depths) - len(depths)
    names = draw_many(params.activation_choices, hidden, rng)
    scales = np.exp(rng.uniform(-1.0, 1.0, hidden)).tolist()
    functions = [make_activation(name, rng) for name in names]
    mlps, first_weight, first = [], 0, 0
    for depth in depths:
        last = first + depth - 1
        mlps.append(
            MLP(
                tuple(weights[first_weight : first_weight + depth]),
                tuple(functions[first:last]),
                tuple(scales[first:last]),
                tuple(name in BOUNDED for name in names[first:last]),
            )
        )
        first_weight, first = first_weight + depth, last
    return mlps


def _draw_weights(
    shapes: Sequence[Shape], params: SCMParams, rng: Rng, masked: bool = True
) -> list[F32]:
    """One matrix a shape, in this order; equal shapes are drawn in one array."""
    names = draw_many(params.initialization_choices, len(shapes), rng)
    densities = draw_many(params.mlp_weight_density_choices, len(shapes), rng) if masked else []
    weights: list[F32] = [np.empty(0, np.float32)] * len(shapes)
    for shape in sorted(set(shapes)):
        at = [index for index, other in enumerate(shapes) if other == shape]
        matrices = draw_matrices([names[index] for index in at], shape, rng)
        if masked:
            mask(matrices, [densities[index] for index in at], rng)
        for index, matrix in zip(at, matrices, strict=True):
            weights[index] = matrix
    return weights


@dataclass(frozen=True, eq=False)
class NumericEncoder:
    """Numbers float32 [n] -> [n, d], or [1, d] where the value makes no difference."""

    mlp: MLP

    def __call__(self, values: F32) -> F32:
        # a sparse 1 x d matrix is all zero (see plurel.initializers): one row stands for all
        constant = not self.mlp.weights[0].any()
        return self.mlp(values[:1, None] if constant else values[:, None])

    def weighted(self, weight: float) -> "NumericEncoder":
        """The encoder times a number."""
        return NumericEncoder(self.mlp.then(weight))


@dataclass(frozen=True, eq=False)
class CategoricalEncoder:
    """Codes [n] -> [n, d]: the MLP's value for each category's embedding, looked up."""

    table: F32

    def __call__(self, codes: Codes) -> F32:
        return self.table.take(codes, axis=0, mode="clip")

    def weighted(self, weight: float) -> "CategoricalEncoder":
        """The encoder times a number."""
        return CategoricalEncoder(self.table * np.float32(weight))


Encoder = NumericEncoder | CategoricalEncoder


@dataclass(frozen=True, eq=False)
class NumericDecoder:
    """[n, d] -> numbers float32 [n]."""

    mlp: MLP

    def __call__(self, embeddings: F32) -> F32:
        return self.mlp(embeddings)[:, 0]


@dataclass(frozen=True, eq=False)
class CategoricalDecoder:
    """[n, d] -> int64 codes [n]: the first of the categories whose embedding has the largest
    inner product with the MLP's output. The embeddings stand in the MLP's last matrix."""

    mlp: MLP

    def __call__(self, embeddings: F32) -> Codes:
        similarity = np.ascontiguousarray(self.mlp(embeddings).T)
        best = similarity[0].copy()
        codes = np.zeros(best.shape, np.int64)
        for category, column in enumerate(similarity[1:], start=1):
            np.putmask(codes, column > best, category)
            np.maximum(best, column, out=best)
        return codes


Decoder = NumericDecoder | CategoricalDecoder


def draw_embeddings(counts: Sequence[int], params: SCMParams, rng: Rng) -> list[F32]:
    """One unmasked matrix of category embeddings [count, d] a count."""
    return _draw_weights([(n, params.mlp_emb_dim) for n in counts], params, rng, masked=False)


def draw_encoders(categories: Sequence[int | None], params: SCMParams, rng: Rng) -> list[Encoder]:
    """One encoder an entry: of numbers for None, else of that many categories."""
    mlps = draw_mlps(_encoder_shapes(categories, params), params, rng)
    return _encoders(mlps, categories, params, rng)


def draw_functions(
    num_categories: int | None, parents: Sequence[int | None], params: SCMParams, rng: Rng
) -> tuple[Decoder, list[Encoder]]:
    """The decoder of a node and the encoders of its parents; None stands for numbers."""
    dim = params.mlp_emb_dim
    out = params.mlp_out_dim if num_categories is None else dim
    shapes = [(dim, out), *_encoder_shapes(parents, params)]
    mlp, *mlps = draw_mlps(shapes, params, rng)
    decoder: Decoder = NumericDecoder(mlp)
    if num_categories is not None:
        (embedding,) = draw_embeddings([num_categories], params, rng)
        decoder = CategoricalDecoder(mlp.then(np.ascontiguousarray(embedding.T)))
    return decoder, _encoders(mlps, parents, params, rng)


def _encoder_shapes(categories: Sequence[int | None], params: SCMParams) -> list[Shape]:
    dim = params.mlp_emb_dim
    return [(params.mlp_in_dim if count is None else dim, dim) for count in categories]


def _encoders(
    mlps: Sequence[MLP], categories: Sequence[int | None], params: SCMParams, rng: Rng
) -> list[Encoder]:
    embeddings = iter(draw_embeddings([n for n in categories if n is not None], params, rng))
    return [
        NumericEncoder(mlp) if count is None else CategoricalEncoder(mlp(next(embeddings)))
        for mlp, count in zip(mlps, categories, strict=True)
    ]


def clip_term(term: F32) -> F32:
    """A weighted term, clipped in place to +-1e4."""
    return term.clip(-TERM_BOUND, TERM_BOUND, out=term)


class Aggregate:
    """A running aggregate of terms [n, d] or [1, d]: sum, max, product, or logexp, the log of
    the sum of exponentials. All four are associative, so an aggregate can be a term itself.
    Terms of logexp are kept until the result: they must not change after they were added."""

    def __init__(self, kind: str, num_rows: int, dim: int) -> None:
        self.kind = kind
        start = {"sum": 0.0, "max": LOWEST, "product": 1.0, "logexp": LOWEST}[kind]
        self.total = np.full((num_rows, dim), start, np.float32)
        self.terms: list[F32] = []

    def add(self, term: F32) -> None:
        """One more term."""
        if self.kind == "sum":
            self.total += term
        elif self.kind == "product":
            self.total *= term
            self.total.clip(-PRODUCT_BOUND, PRODUCT_BOUND, out=self.total)
        else:
            np.maximum(self.total, term, out=self.total)
            if self.kind == "logexp":
                self.terms.append(term)

    def result(self) -> F32:
        """[n, d]; of no terms at all: 0, -1e30, 1, -1e30, which change nothing as terms."""
        if not self.terms:
            return self.total
        exponentials = np.zeros_like(self.total)
        scaled = np.empty_like(self.total)
        for term in self.terms:
            # below the largest term, which is the total here, nothing overflows
            np.subtract(term, self.total, out=scaled)
            np.exp(scaled, out=scaled)
            exponentials += scaled
        np.log(exponentials, out=exponentials)
        return np.add(self.total, exponentials, out=exponentials)
