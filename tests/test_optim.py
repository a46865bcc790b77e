"""Optimiser: groups, AdamW, Muon, schedules, clipping."""

from typing import Any

import pytest
import torch
from torch import nn

from plurel.errors import InputError
from rt.config import from_dict
from rt.model import SIZES, ModelConfig, RelationalTransformer
from rt.optim import (
    SCHEDULES,
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


def assert_each_once(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_weight_decay_spares_vectors_if_asked() -> None:
    model = a_model()
    for decay, spared in (("all", 0), ("matrices", 3)):
        groups = parameter_groups(model, from_dict(OptimConfig, {"decay": decay}))["adamw"]
        assert_each_once(model, groups)
        without_decay = [p for g in groups if g["weight_decay"] == 0.0 for p in g["params"]]
        assert len(without_decay) == spared
        assert all(p.ndim == 1 for p in without_decay)


def tie_and_freeze(model: RelationalTransformer) -> None:
    """Two blocks share a matrix, a block and an encoder another one; a block is frozen in part."""
    first, second = model.blocks[0], model.blocks[1]
    second.attns["col"].wq.weight = first.attns["col"].wq.weight  # type: ignore[index]
    second.attns["col"].wk.weight = model.enc_dict["text"].weight  # type: ignore[index]
    first.ffn.requires_grad_(False)
    model.norm_dict.requires_grad_(False)


@pytest.mark.parametrize("decay", ["all", "matrices"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_groups_hold_each_trained_parameter_once(size: str, name: str, decay: str) -> None:
    config = from_dict(OptimConfig, {"name": name, "decay": decay})
    with torch.device("meta"):
        model = RelationalTransformer(ModelConfig.named(size, d_text=SIZES[size]["d_model"]))
    blocks = len(model.blocks)
    for matrices in (15 * blocks, 15 * blocks - 2 - 3):
        groups = build_optimizer(model, config).param_groups
        assert_each_once(model, groups)
        muon = [p for g in parameter_groups(model, config)["muon"] for p in g["params"]]
        assert len(muon) == (matrices if name == "muon" else 0)
        assert not {id(p) for p in muon} & {id(model.enc_dict["text"].weight)}
        tie_and_freeze(model)


def test_a_model_with_frozen_blocks_has_nothing_for_muon() -> None:
    model = RelationalTransformer(ModelConfig(1, 8, 2, 8, 8))
    model.blocks.requires_grad_(False)
    optimizer = build_optimizer(model, OptimConfig(name="muon"))
    assert list(optimizer.parts) == ["adamw"]
    assert_each_once(model, optimizer.param_groups)


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


def test_warmup_stable_decay_goes_up_stays_and_comes_down() -> None:
    config = OptimConfig(lr=1.0, schedule="warmup_stable_decay", warmup=0.1, cooldown=0.4)
    rates = [learning_rate(config, done) for done in (0.0, 0.05, 0.1, 0.35, 0.6, 0.8, 0.9, 1.0)]
    assert rates == pytest.approx([1 / 25, 0.52, 1, 1, 1, 0.5, 0.25, 0], abs=1e-5)
    assert rates[-1] == learning_rate(OptimConfig(lr=1.0), 1.0) == pytest.approx(4e-6)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_no_warmup_starts_at_the_peak(schedule: str) -> None:
    config = from_dict(OptimConfig, {"lr": 1.0, "warmup": 0.0, "schedule": schedule})
    assert learning_rate(config, 0.0) == 1.0


def test_a_run_of_cooldown_alone_comes_down_from_the_start() -> None:
    config = OptimConfig(lr=1.0, schedule="warmup_stable_decay", warmup=0.0, cooldown=1.0)
    rates = [learning_rate(config, done) for done in (0.0, 0.5, 1.0, 1.5)]
    assert rates == pytest.approx([1, 0.5, 0, 0], abs=1e-5)


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


class OneBlock(nn.Module):
    """A hidden matrix [4, 2] and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 4, bias=False)])
        self.scale = nn.Parameter(torch.ones(3))

    @property
    def matrix(self) -> nn.Parameter:
        return self.blocks[0].weight  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("adjustment", "factor"), [("match_rms_adamw", 0.2 * 4**0.5), ("original", 2**0.5)]
)
def test_first_step_of_muon_is_orthogonal_and_of_the_adjusted_rate(
    adjustment: str, factor: float
) -> None:
    model = OneBlock()
    config = {"name": "muon", "lr": 0.5, "weight_decay": 0.1, "lr_adjustment": adjustment}
    optimizer = build_optimizer(model, from_dict(OptimConfig, config))
    set_learning_rate(optimizer, 0.25)
    before = model.matrix.detach().clone()
    # singular values 3 and 0.3, along the axes
    model.matrix.grad = torch.tensor([[3.0, 0.0], [0.0, 0.3], [0.0, 0.0], [0.0, 0.0]])
    model.scale.grad = torch.tensor([2.0, -1.0, 5.0])
    optimizer.step()
    update = (before * (1 - 0.25 * 0.1) - model.matrix.detach()) / (0.25 * factor)
    # five steps leave singular values around 1, between 0.6 and 1.3, and the axes as they are
    assert torch.all((update.diagonal() > 0.6) & (update.diagonal() < 1.3))
    assert (
        update - torch.diagonal_scatter(torch.zeros(4, 2), update.diagonal())
    ).abs().max() < 0.01
    # the vector is AdamW's: decay, then lr against the gradient's sign
    expected = [0.975 - 0.25, 0.975 + 0.25, 0.975 - 0.25]
    assert model.scale.tolist() == pytest.approx(expected, rel=1e-6)
    optimizer.zero_grad()
    assert model.matrix.grad is None
    assert model.scale.grad is None


def test_both_optimisers_get_the_values_of_the_config() -> None:
    config = OptimConfig(name="muon", betas=(0.8, 0.9), eps=1e-3, momentum=0.7)
    parts = build_optimizer(OneBlock(), config).parts
    (adamw,), (muon,) = parts["adamw"].param_groups, parts["muon"].param_groups
    assert (adamw["betas"], adamw["eps"]) == ((0.8, 0.9), 1e-3)
    assert (muon["momentum"], muon["nesterov"]) == (0.7, True)


def test_matching_adamw_muon_moves_a_matrix_as_far_as_adamw() -> None:
    lengths = {}
    for name in ("adamw", "muon"):
        layer = nn.Linear(64, 96, bias=False)
        model = nn.Module()
        model.blocks = nn.ModuleList([layer])
        optimizer = build_optimizer(model, from_dict(OptimConfig, {"name": name, "lr": 0.01}))
        before = layer.weight.detach().clone()
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            layer.weight.grad = torch.randn(96, 64, generator=generator)
            last = layer.weight.detach().clone()
            optimizer.step()
        lengths[name] = float((layer.weight.detach() - last).square().mean().sqrt())
        assert not torch.equal(before, layer.weight)
    # Liu et al. match an update of 0.2 to 0.4 times the rate
    assert 0.1 < lengths["muon"] / 0.01 < 0.4
    assert 0.4 < lengths["muon"] / lengths["adamw"] < 2.5


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match=r"muon needs torch 2.9 or later, this is .* optim=adamw"):
        build_optimizer(OneBlock(), OptimConfig(name="muon"))
    assert list(build_optimizer(OneBlock(), OptimConfig()).parts) == ["adamw"]


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
        ({"schedule": "cosine"}, "must be one of one_cycle, warmup_stable_decay, constant, not 'c"),
        ({"name": "sgd"}, "optim.name must be one of adamw, muon, not 'sgd'"),
        ({"cooldown": 0.0}, r"optim.cooldown must be in \(0, 1\], not 0.0"),
        ({"schedule": "warmup_stable_decay", "warmup": 0.9}, "add up to 1 or less"),
        ({"ema_decay": 1.0}, r"optim.ema_decay must be in \[0, 1\) or null, not 1.0"),
        ({"momentum": 1.0}, r"optim.momentum must be in \[0, 1\), not 1.0"),
        ({"newton_schulz_steps": 0}, "optim.newton_schulz_steps must be 1 to 99, not 0"),
        ({"lr_adjustment": "none"}, "optim.lr_adjustment must be one of match_rms_adamw, original"),
        ({"learning_rate": 1.0}, "optim.learning_rate is not known"),
    ],
)
def test_bad_values_are_refused(values: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        from_dict(OptimConfig, values, "optim")
