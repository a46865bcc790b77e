"""The weight average: the formula, the checkpoint, what is recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stores import small_run, write_stores

from rt import checkpoint
from rt.average import WeightAverage
from rt.logs import read_metrics
from rt.model import ModelConfig, RelationalTransformer
from rt.runs import table
from rt.train import run
from rt.trainer import Trainer


def flat(model: RelationalTransformer) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9995])
def test_the_average_is_the_weighted_mean_of_the_steps(decay: float) -> None:
    model = RelationalTransformer(ModelConfig(1, 8, 2, 8, 8))
    average = WeightAverage(model, decay)
    initial, steps = flat(model), []
    assert torch.equal(flat(average.model), initial)
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(model)
        steps.append(flat(model))
    weights = torch.tensor([decay**age for age in (3, 2, 1, 0)], dtype=torch.float64)
    expected = (weights / weights.sum()) @ torch.stack(steps)
    assert torch.allclose(flat(average.model), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(flat(model), steps[-1])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of 6 steps with an average: its folder, and the live weights after each step."""
    root = tmp_path_factory.mktemp("average")
    config = small_run(write_stores(root, 3), root / "run", optim__ema_decay=0.5)
    live, update = [], WeightAverage.update

    def note(self: WeightAverage, model: RelationalTransformer) -> None:
        update(self, model)
        live.append(flat(model))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverage, "update", note)
        folder = run(config)
    return {"folder": folder, "live": live, "pre": root / "pre"}


def test_the_model_of_a_checkpoint_is_the_average(seen: dict[str, Any]) -> None:
    folder, live = seen["folder"], seen["live"]
    weights = torch.tensor([0.5**age for age in (5, 4, 3, 2, 1, 0)], dtype=torch.float64)
    expected = (weights / weights.sum()) @ torch.stack(live)
    saved = RelationalTransformer.from_pretrained(folder)
    assert torch.allclose(flat(saved), expected, rtol=1e-5, atol=1e-6)
    kept = checkpoint.load_trainer(folder)["live_weights"]
    saved.load_state_dict(kept)
    assert torch.equal(flat(saved), live[-1])


def test_both_losses_are_recorded_and_the_averages_decides(seen: dict[str, Any]) -> None:
    folder = seen["folder"]
    heldout = {r["step"]: r for r in read_metrics(folder) if "heldout_loss" in r}
    assert heldout[0]["ema_heldout_loss"] == heldout[0]["heldout_loss"]
    for kind in ("", "_number", "_boolean"):
        assert heldout[6][f"ema_heldout_loss{kind}"] != heldout[6][f"heldout_loss{kind}"]
    by_average = min((3, 6), key=lambda step: heldout[step]["ema_heldout_loss"])
    assert checkpoint.find_checkpoint(folder, "best").name == f"step_{by_average}"
    result = json.loads((folder / "training.json").read_text())
    assert result["best_step"] == by_average
    assert result["heldout"]["ema_loss"]["end"] == heldout[6]["ema_heldout_loss"]
    assert f"{heldout[6]['ema_heldout_loss']:.4f}" in table(result).split("all, average")[1]


def test_the_average_changes_nothing_in_the_live_run(
    seen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[RelationalTransformer] = []
    save = Trainer.save

    def note(self: Trainer) -> None:
        models.append(self.model)
        save(self)

    monkeypatch.setattr(Trainer, "save", note)
    folder = run(small_run(seen["pre"], tmp_path / "run"))
    assert torch.equal(flat(models[-1]), seen["live"][-1])
    losses = [[r["loss"] for r in read_metrics(f) if "loss" in r] for f in (folder, seen["folder"])]
    assert losses[0] == losses[1]
