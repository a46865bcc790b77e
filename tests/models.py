"""Small models of `rustler.TableModel`, and what is drawn in one evaluated in float64."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from test_activations import TORCH

import rustler
from plurel.mechanisms import Functions
from plurel.params import SCMParams

KEY = bytes(range(32))


def model(
    functions: Functions,
    params: SCMParams | None = None,
    seed: int = 0,
    **nodes: Any,
) -> rustler.TableModel:
    """A model of these functions; `nodes` describe nodes, none unless given."""
    params = params or SCMParams()
    count = len(nodes.get("decoder", ()))
    edges = nodes.get("parent", ())
    described: dict[str, Any] = {
        "aggregation": np.array(nodes.get("aggregation", [0] * count), np.uint8),
        "decoder": np.array(nodes.get("decoder", ()), np.int64),
        "noise_alpha": np.array(nodes.get("noise_alpha", [1.0] * count), np.float32),
        "noise_beta": np.array(nodes.get("noise_beta", [1.0] * count), np.float32),
        "parent_ptr": np.array(nodes.get("parent_ptr", [0]), np.int64),
        "parent": np.array(edges, np.int64),
        "encoder": np.array(nodes.get("encoder", ()), np.int64),
    }
    return rustler.TableModel(
        KEY,
        params.mlp_emb_dim,
        functions.draw(params, np.random.default_rng(seed)),
        described,
        list(range(count)),
        nodes.get("quantiles", {}),
    )


def activate(name: str, x: NDArray[np.float64], sines: Any) -> NDArray[np.float64]:
    if name == "random_sines":
        return sum((a * np.sin(f * x + p) for a, f, p in sines), np.zeros_like(x))
    return TORCH[name](torch.from_numpy(x)).numpy()


def evaluate(function: dict[str, Any], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outputs of an MLP for one row, a layer at a time."""
    for weights, after in function["layers"]:
        x = x @ weights.astype(np.float64)
        if after is not None:
            name, scale, sines = after
            x = np.clip(scale * activate(name, x, sines), -1e6, 1e6)
    return x


def encode(function: dict[str, Any], value: Any) -> NDArray[np.float64]:
    """One value's embedding."""
    if function["kind"] == "table":
        return function["values"][:, int(value)].astype(np.float64)
    if function["kind"] == "constant":
        return function["values"].astype(np.float64)
    return evaluate(function, np.array([value], np.float64))


def decode(function: dict[str, Any], embedding: NDArray[np.float64]) -> Any:
    """One embedding's value."""
    out = evaluate(function, embedding)
    return int(np.argmax(out)) if function["categories"] else float(out[0])


def aggregate(kind: str, terms: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Terms, clipped, by the definition of each aggregation."""
    stack = np.clip(np.stack(terms), -1e4, 1e4)
    if kind == "logexp":
        return torch.logsumexp(torch.from_numpy(stack), dim=0).numpy()
    return {"sum": np.sum, "max": np.max, "product": np.prod}[kind](stack, axis=0)
