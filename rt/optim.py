"""Optimisation: parameter groups, AdamW, Muon, schedules, clipping.

- AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with the values of PluRel (arXiv 2602.04029);
- Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): the momentum of a hidden
  matrix, made nearly orthogonal by Newton-Schulz steps, is its update; torch's own.

A schedule is a pure function of the share of training that is done, so that a run that continues,
a budget in steps and one in tokens all follow the same curve.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from plurel.errors import InputError
from rt.config import require

START_DIVISOR = 25.0
"""One cycle starts at the peak divided by this ..."""
END_DIVISOR = 25.0 * 1e4
"""... and ends at the peak divided by this (the defaults of torch's OneCycleLR)."""


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule, with the published values of AdamW as defaults.

    name: adamw, or muon, which takes the hidden matrices and leaves the rest to AdamW.
    lr: peak learning rate. betas, eps: of AdamW. decay: which parameters weight decay applies to,
    "all" as published or "matrices" only. clip: largest norm of all gradients together, null for
    no clipping. ema_decay: of the weight average (`rt.average`), null for none.

    warmup: share of training until the peak. cooldown: share of training at the end in which
    warmup_stable_decay comes down.

    Of Muon alone: momentum (Nesterov's), newton_schulz_steps, and lr_adjustment, how the rate of a
    matrix [rows, columns] follows from lr: match_rms_adamw multiplies it by 0.2 sqrt(max(rows,
    columns)), which makes updates as large as AdamW's, so that AdamW's lr and weight decay can be
    kept (Liu et al. 2025, arXiv 2502.16982); original by sqrt(max(1, rows / columns)) (Jordan).
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = 5e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Literal["one_cycle", "warmup_stable_decay", "constant"] = "one_cycle"
    warmup: float = 0.2
    cooldown: float = 0.2
    clip: float | None = 1.0
    decay: Literal["all", "matrices"] = "all"
    ema_decay: float | None = None
    momentum: float = 0.95
    newton_schulz_steps: int = 5
    lr_adjustment: Literal["match_rms_adamw", "original"] = "match_rms_adamw"

    def __post_init__(self) -> None:
        for name, ok, need in (
            ("lr", self.lr > 0, "positive"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("betas", all(0 <= beta < 1 for beta in self.betas), "in [0, 1)"),
            ("eps", self.eps > 0, "positive"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("cooldown", 0 < self.cooldown <= 1, "in (0, 1]"),
            ("clip", self.clip is None or self.clip > 0, "positive or null"),
            ("ema_decay", self.ema_decay is None or 0 <= self.ema_decay < 1, "in [0, 1) or null"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("newton_schulz_steps", 1 <= self.newton_schulz_steps < 100, "1 to 99"),
        ):
            require(ok, f"optim.{name}", need, getattr(self, name))
        if self.schedule == "warmup_stable_decay" and self.warmup + self.cooldown > 1:
            raise InputError(
                f"optim.warmup {self.warmup} and optim.cooldown {self.cooldown} are shares of one "
                "run: give values that add up to 1 or less"
            )


def one_cycle(done: float, config: OptimConfig) -> float:
    """Share of the peak rate when the share `done` of training is done: up and down linearly."""
    if done < config.warmup:
        start = 1 / START_DIVISOR
        return start + (1 - start) * done / config.warmup
    return _down((done - config.warmup) / (1 - config.warmup))


def warmup_stable_decay(done: float, config: OptimConfig) -> float:
    """The same warm-up, the peak, and down linearly in the last `cooldown` (Hu et al. 2024, arXiv
    2404.06395; linear as in Hägele et al. 2024, arXiv 2405.18392)."""
    if done < config.warmup:
        return one_cycle(done, config)
    return _down(max(0.0, (done - 1 + config.cooldown) / config.cooldown))


def constant(done: float, config: OptimConfig) -> float:
    """The same warm-up, then the peak."""
    return one_cycle(done, config) if done < config.warmup else 1.0


def _down(share: float) -> float:
    return 1 + (1 / END_DIVISOR - 1) * min(share, 1.0)


SCHEDULES: dict[str, Callable[[float, OptimConfig], float]] = {
    "one_cycle": one_cycle,
    "warmup_stable_decay": warmup_stable_decay,
    "constant": constant,
}


def learning_rate(config: OptimConfig, done: float) -> float:
    """The rate of the step that starts when the share `done` (0 .. 1) of training is done."""
    return config.lr * SCHEDULES[config.schedule](done, config)


Groups = list[dict[str, Any]]


def parameter_groups(model: nn.Module, config: OptimConfig) -> dict[str, Groups]:
    """Groups by optimizer, "muon" and "adamw"; every parameter that is trained is in exactly one of
    them, frozen ones in none."""
    muon = hidden_matrices(model) if config.name == "muon" else []
    taken = {id(parameter) for parameter in muon}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    decayed = [p for p in rest if config.decay == "all" or p.ndim >= 2]
    kept = [p for p in rest if config.decay == "matrices" and p.ndim < 2]

    def groups(*pairs: tuple[list[nn.Parameter], float]) -> Groups:
        return [{"params": params, "weight_decay": decay} for params, decay in pairs if params]

    return {
        "muon": groups((muon, config.weight_decay)),
        "adamw": groups((decayed, config.weight_decay), (kept, 0.0)),
    }


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trained matrices of the blocks. Encoders and heads are not hidden, and neither is a
    matrix that the blocks share with them."""
    parameters = list(model.named_parameters(remove_duplicate=False))
    outside = {id(p) for name, p in parameters if not name.startswith("blocks.")}
    hidden = {id(p): p for _, p in parameters if id(p) not in outside}
    return [p for p in hidden.values() if p.ndim == 2 and p.requires_grad]


class Optimizers:
    """Optimizers by name that share one model's parameters, used as one."""

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]) -> None:
        self.parts = dict(parts)

    @property
    def param_groups(self) -> Groups:
        """The groups of all parts."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def step(self) -> None:
        """One step of each part."""
        for part in self.parts.values():
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts.values():
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The state of each part by its name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def build_optimizer(model: nn.Module, config: OptimConfig) -> Optimizers:
    """The optimizers over `parameter_groups`; AdamW in its fused form."""
    if config.name == "muon" and not hasattr(torch.optim, "Muon"):
        raise InputError(
            f"optim.name muon needs torch 2.9 or later, this is {torch.__version__}: upgrade torch "
            "or use optim=adamw"
        )
    groups = parameter_groups(model, config)
    parts: dict[str, torch.optim.Optimizer] = {}
    if groups["muon"]:
        parts["muon"] = torch.optim.Muon(
            groups["muon"],
            lr=config.lr,
            momentum=config.momentum,
            nesterov=True,
            ns_steps=config.newton_schulz_steps,
            adjust_lr_fn=config.lr_adjustment,
        )
    if groups["adamw"]:
        parts["adamw"] = torch.optim.AdamW(
            groups["adamw"], lr=config.lr, betas=config.betas, eps=config.eps, fused=True
        )
    return Optimizers(parts)


def set_learning_rate(optimizer: Optimizers, lr: float) -> None:
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
