"""Optimiser: groups, schedule, clipping."""

import pytest
import torch
from torch import nn

from plurel.errors import InputError
from rt.config import from_dict
from rt.optim import (
    OptimConfig,
    build_optimizer,
    clip_gradients,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)


def a_model() -> nn.Module:
    """Matrices, vectors and a frozen layer."""
    model = nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 2), nn.Linear(2, 2))
    model[3].requires_grad_(False)
    return model


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_groups_hold_each_trained_parameter_once(decay: str) -> None:
    model = a_model()
    groups = parameter_groups(model, from_dict(OptimConfig, {"decay": decay}))
    held = [id(p) for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    trained = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(held) == sorted(trained)
    assert len(trained) == 5
    without_decay = [p for g in groups if g["weight_decay"] == 0.0 for p in g["params"]]  # type: ignore[attr-defined]
    assert len(without_decay) == (0 if decay == "all" else 3)
    assert all(p.ndim == 1 for p in without_decay)


def test_one_cycle_follows_torch_over_a_whole_run() -> None:
    config, steps = OptimConfig(lr=2e-3), 51
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        theirs,
        max_lr=config.lr,
        total_steps=steps,
        # torch counts the peak at step pct_start * steps - 1; 10 of the 50 intervals are 20 %
        pct_start=11 / steps,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    for step in range(steps):
        assert learning_rate(config, step / (steps - 1)) == pytest.approx(
            theirs.param_groups[0]["lr"], rel=1e-6
        )
        theirs.step()
        if step < steps - 1:
            schedule.step()


def test_constant_schedule_stays_at_the_peak() -> None:
    config = OptimConfig(lr=1e-3, schedule="constant", warmup=0.1)
    assert learning_rate(config, 0.0) == pytest.approx(1e-3 / 25)
    assert learning_rate(config, 0.05) == pytest.approx(0.52e-3)
    assert learning_rate(config, 0.1) == learning_rate(config, 1.0) == 1e-3


def test_no_warmup_starts_at_the_peak() -> None:
    assert learning_rate(OptimConfig(lr=1.0, warmup=0.0), 0.0) == 1.0


def test_first_step_of_adamw_moves_by_the_rate_and_decays() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    optimizer = build_optimizer(model, OptimConfig(lr=0.5, weight_decay=0.1))
    set_learning_rate(optimizer, 0.25)
    model(torch.ones(1, 1)).backward()
    optimizer.step()
    # AdamW: decay by lr * weight_decay, then a first step of lr against the gradient's sign
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.25 * 0.1) - 0.25, rel=1e-6)


def test_clipping_scales_all_gradients_together_and_returns_the_norm() -> None:
    first, second, frozen = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([first, second, frozen], None).item() == pytest.approx(5.0)
    assert first.grad.item() == 3.0
    assert clip_gradients([first, second, frozen], 1.0).item() == pytest.approx(5.0)
    assert (first.grad.item(), second.grad.item()) == pytest.approx((0.6, 0.8), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"lr": 0}, "optim.lr must be positive, not 0.0"),
        ({"warmup": 1.0}, r"optim.warmup must be in \[0, 1\), not 1.0"),
        ({"betas": [0.9, 1.0]}, r"optim.betas must be in \[0, 1\)"),
        ({"clip": -1.0}, "optim.clip must be positive or null"),
        ({"schedule": "cosine"}, "optim.schedule must be one of one_cycle, constant, not 'cosine'"),
        ({"learning_rate": 1.0}, "optim.learning_rate is not known"),
    ],
)
def test_bad_values_are_refused(values: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        from_dict(OptimConfig, values, "optim")
