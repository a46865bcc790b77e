"""Parameters, gradients and the optimizer's state cut into shards, one a rank, for models that do
not fit one device (FSDP2: torch.distributed.fsdp.fully_shard; Zhao et al. 2023, arXiv 2304.11277).

A checkpoint holds whole tensors in either case, so that a run may go on with shards or without.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rt.attention import choose_form
from rt.model import RelationalTransformer
from rt.optim import Optimizers
from rt.ranks import Ranks


def shard(model: RelationalTransformer, ranks: Ranks) -> None:
    """Cut the model's parameters into shards, in place. All ranks call it, with equal parameters.

    The blocks of the form cpu are one function, which reads all their parameters at once: there
    the model is one unit. In the other forms each block is one, whole only while it computes.
    """
    # a view that nobody writes to
    warnings.filterwarnings("ignore", message=".*returned a view tensor")
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    if choose_form(model.attention, ranks.device) != "cpu":
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def synchronise_gradients(model: nn.Module, sync: bool) -> None:
    """Whether the next backward pass averages the gradients over the ranks."""
    assert isinstance(model, FSDPModule)
    model.set_requires_gradient_sync(sync)


def whole(value: Any) -> Any:
    """Nested dicts and lists with whole tensors, on the CPU, for shards. All ranks call it."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def number(value: Tensor) -> float:
    """A scalar, from whichever rank has it."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)


def load_optimizer(optimizers: Optimizers, state: Mapping[str, Any]) -> None:
    """Load a state of whole tensors, cut as the parameters are that it belongs to."""
    optimizers.load_state_dict(
        {name: _cut(part, state[name]) for name, part in optimizers.parts.items()}
    )


def _cut(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    cut = {
        place: {name: _like(value, parameters[place]) for name, value in one.items()}
        for place, one in state["state"].items()
    }
    return {**state, "state": cut}


def _like(value: Any, parameter: Tensor) -> Any:
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value  # the number of steps
    place = value.to(parameter.device)
    return distribute_tensor(place, parameter.device_mesh, parameter.placements)
