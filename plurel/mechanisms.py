"""Which random functions stand between the nodes of a structural causal model (PluRel, arXiv
2602.04029).

An encoder turns the values of a node into embeddings, a decoder embeddings into values; both are
small multi-layer perceptrons without biases, applied as x W. What is drawn here is their make-up:
depth, and per layer the rule and density of the matrix, the activation and its factor. Weights are
drawn, and everything is computed, in `rustler.TableModel`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rustler
from plurel.choices import Choices
from plurel.params import SCMParams

Rng = np.random.Generator


def draw_many(choices: Choices, count: int, rng: Rng) -> list[Any]:
    """`count` independent draws of a Choices."""
    if choices.exponent:
        return [choices.sample(rng) for _ in range(count)]
    if choices.kind == "set":
        return [choices.value[pick] for pick in rng.integers(len(choices.value), size=count)]
    return draw_numbers(choices, count, rng).tolist()


def draw_numbers(choices: Choices, count: int, rng: Rng) -> NDArray[Any]:
    """`count` independent draws of a Choices of numbers."""
    if choices.exponent or choices.kind == "set":
        return np.array(draw_many(choices, count, rng))
    low, high = choices.value
    if isinstance(low, int):
        return rng.integers(low, high, size=count, endpoint=True)
    return rng.uniform(low, high, count)


def draw_codes(choices: Choices, names: Sequence[str], count: int, rng: Rng) -> NDArray[np.uint8]:
    """`count` independent draws of a Choices of names, as indices into `names`, uint8."""
    codes = np.array([names.index(value) for value in choices.value], np.uint8)
    return codes[rng.integers(len(codes), size=count)]


@dataclass
class Functions:
    """The functions of a model, by number. categories: 0 for numbers. weight: factor of an
    encoder's output."""

    decodes: list[bool] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add_decoder(self, categories: int | None) -> int:
        """The number of a decoder to numbers (None) or that many categories."""
        return self._add(True, [categories], [1.0])

    def add_encoders(
        self, categories: Sequence[int | None], weights: Sequence[float] | None = None
    ) -> int:
        """The number of the first of some encoders, each of numbers (None) or that many
        categories."""
        return self._add(False, categories, weights or [1.0] * len(categories))

    def _add(
        self, decodes: bool, categories: Sequence[int | None], weights: Sequence[float]
    ) -> int:
        first = len(self.decodes)
        self.decodes += [decodes] * len(categories)
        self.categories += [count or 0 for count in categories]
        self.weights += weights
        return first

    def draw(self, params: SCMParams, rng: Rng) -> dict[str, NDArray[Any]]:
        """Their make-up, as `rustler.TableModel` takes it: arrays [functions], and arrays
        [layers] with the layers of all functions one after another."""
        count = len(self.decodes)
        depth = draw_numbers(params.mlp_num_layers_choices, count, rng).astype(np.uint8)
        layers = int(depth.sum())
        rules = params.initialization_choices
        return {
            "decodes": np.array(self.decodes, np.bool_),
            "categories": np.array(self.categories, np.uint32),
            "weight": np.array(self.weights, np.float32),
            "depth": depth,
            "embedding": draw_codes(rules, rustler.INITIALIZERS, count, rng),
            "initializer": draw_codes(rules, rustler.INITIALIZERS, layers, rng),
            "density": draw_numbers(params.mlp_weight_density_choices, layers, rng).astype("f4"),
            "activation": draw_codes(params.activation_choices, rustler.ACTIVATIONS, layers, rng),
            "scale": np.exp(rng.uniform(-1.0, 1.0, layers)).astype(np.float32),
        }
