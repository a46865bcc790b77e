"""The attention form as a run's config gives it: the same losses by each, or one line of error."""

from pathlib import Path

import pytest
from flex_on_cpu import flex_by_definition
from small_stores import small_config, small_run, write_stores

from plurel.errors import InputError
from rt.config import from_dict
from rt.logs import read_metrics
from rt.train import run
from rt.train_config import TrainConfig


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("attention"), 3)


def config(pre: Path, run_dir: Path, form: str) -> TrainConfig:
    values = small_config(pre, run_dir)
    return from_dict(TrainConfig, values | {"model": values["model"] | {"attention": form}})


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(folder) if "loss" in record]


def test_a_run_has_the_same_losses_by_every_form(pre: Path, tmp_path: Path) -> None:
    expected = losses(run(small_run(pre, tmp_path / "auto")))
    assert len(expected) == 6
    for form in ("reference", "cpu"):
        found = losses(run(config(pre, tmp_path / form, form)))
        assert found == pytest.approx(expected, rel=1e-3), form
    with flex_by_definition():
        found = losses(run(config(pre, tmp_path / "flex", "flex")))
    assert found == pytest.approx(expected, rel=1e-3)


def test_an_unknown_form_is_one_line(pre: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="attention form 'dense' is unknown: one of auto, ref"):
        run(config(pre, tmp_path / "dense", "dense"))
