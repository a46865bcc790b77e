"""Optimisation: parameter groups, AdamW, schedules, clipping (PluRel, arXiv 2602.04029).

A schedule is a pure function of the share of training that is done, so that a run that continues,
a budget in steps and one in tokens all follow the same curve.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rt.config import require

START_DIVISOR = 25.0
"""One cycle starts at the peak divided by this ..."""
END_DIVISOR = 25.0 * 1e4
"""... and ends at the peak divided by this (the defaults of torch's OneCycleLR)."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule, with the published values as defaults.

    lr: peak learning rate. warmup: share of training until the peak. clip: largest norm of all
    gradients together, null for no clipping. decay: which parameters weight decay applies to,
    "all" as published or "matrices" only.
    """

    lr: float = 5e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    warmup: float = 0.2
    clip: float | None = 1.0
    decay: Literal["all", "matrices"] = "all"

    def __post_init__(self) -> None:
        require(self.lr > 0, "optim.lr", "positive", self.lr)
        require(self.weight_decay >= 0, "optim.weight_decay", "0 or more", self.weight_decay)
        require(all(0 <= b < 1 for b in self.betas), "optim.betas", "in [0, 1)", self.betas)
        require(self.eps > 0, "optim.eps", "positive", self.eps)
        require(0 <= self.warmup < 1, "optim.warmup", "in [0, 1)", self.warmup)
        require(self.clip is None or self.clip > 0, "optim.clip", "positive or null", self.clip)


def one_cycle(done: float, warmup: float) -> float:
    """Share of the peak rate when the share `done` of training is done: up and down linearly."""
    start, end = 1 / START_DIVISOR, 1 / END_DIVISOR
    if done < warmup:
        return start + (1 - start) * done / warmup
    return 1 + (end - 1) * min((done - warmup) / (1 - warmup), 1.0)


def constant(done: float, warmup: float) -> float:
    """Share of the peak rate: a linear warm-up from one_cycle's start, then the peak."""
    return one_cycle(done, warmup) if done < warmup else 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "one_cycle": one_cycle,
    "constant": constant,
}


def learning_rate(config: OptimConfig, done: float) -> float:
    """The rate of the step that starts when the share `done` (0 .. 1) of training is done."""
    return config.lr * SCHEDULES[config.schedule](done, config.warmup)


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Groups for AdamW; every parameter that is trained is in exactly one of them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in trained if config.decay == "all" or p.ndim >= 2]
    kept = [p for p in trained if config.decay == "matrices" and p.ndim < 2]
    groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": config.weight_decay}]
    return groups + ([{"params": kept, "weight_decay": 0.0}] if kept else [])


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, in its fused form."""
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(parameters: Iterable[Tensor], clip: float | None) -> Tensor:
    """The norm of all gradients together, before they are scaled down to `clip` (None: as is)."""
    trained = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if clip is not None:
        nn.utils.clip_grads_with_norm_(trained, clip, norm)
    return norm
