"""Every file in conf composes, builds its dataclasses, and refuses what it does not know."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from plurel.errors import InputError
from rt.config import from_dict, to_dict
from rt.model import SIZES
from rt.optim import OptimConfig
from rt.recipes import PRESETS, Recipe, named
from rt.train_config import TrainConfig
from scripts.hydra_entry import one_line_errors, plain, register

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent != CONF
)


def composed(*overrides: str) -> dict[str, Any]:
    register()
    with one_line_errors(), initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("synthetic_pretrain", list(overrides)))


def built(*overrides: str) -> TrainConfig:
    return from_dict(TrainConfig, composed(*overrides))


def test_there_is_a_file_of_each_group() -> None:
    groups = {name.split("=")[0] for name in GROUPS}
    names = ("model", "data", "recipe", "optim", "trainer", "logger", "experiment", "debug")
    assert groups == set(names)


@pytest.mark.parametrize("override", GROUPS)
def test_every_file_builds_a_config_that_survives_yaml(override: str) -> None:
    config = built(override)
    again = yaml.safe_load(yaml.safe_dump(to_dict(config)))
    assert from_dict(TrainConfig, again) == config


@pytest.mark.parametrize("override", [g for g in GROUPS if g.startswith("experiment")])
def test_every_experiment_can_be_debugged(override: str) -> None:
    config = built(override, "debug=default")
    assert (config.trainer.steps, config.trainer.token_budget) == (4, None)


def test_the_defaults_of_optim_are_the_published_ones() -> None:
    assert built().optim == OptimConfig()
    published = {"lr": 5e-4, "weight_decay": 0.1, "betas": [0.9, 0.999], "clip": 1.0}
    published |= {"schedule": "one_cycle", "warmup": 0.2, "decay": "all", "name": "adamw"}
    assert published.items() <= to_dict(OptimConfig()).items()


def test_muon_differs_from_adamw_in_its_name_alone() -> None:
    assert built("optim=muon").optim == OptimConfig(name="muon")


def test_the_page_on_training_names_every_key_of_optim() -> None:
    page = (CONF.parent / "docs/training.md").read_text()
    for key in (*to_dict(OptimConfig()), "trainer.patience", "trainer.min_delta"):
        assert re.search(rf"`(optim\.)?{re.escape(key)}[`=]", page), key


@pytest.mark.parametrize("size", sorted(SIZES))
def test_the_sizes_are_those_of_the_model(size: str) -> None:
    config = built(f"model={size}").model
    assert {name: getattr(config, name) for name in SIZES[size]} == SIZES[size]


def test_the_paper_is_trained_as_published() -> None:
    config = built("experiment=paper")
    data, trainer = config.data, config.trainer
    assert (config.model.num_blocks, config.model.d_model, config.model.d_ff) == (12, 256, 1024)
    assert (data.context_length, data.batch_size) == ((1024,), 128)
    assert data.recipes == {"published": Recipe()}
    assert (data.num_dbs, data.heldout_dbs, data.heldout_tasks) == (1024, 100, 10)
    assert (trainer.token_budget, trainer.precision) == (4_000_000_000, "bf16")


def test_values_of_other_forms_are_taken() -> None:
    config = built("trainer.token_budget=1e6", "trainer.steps=null", "optim.lr=1")
    assert config.trainer.token_budget == 1_000_000
    assert config.optim.lr == 1.0


def test_the_runs_folder_follows_plurel_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUREL_HOME", "/some/where")
    config = built()
    assert config.trainer.run_dir == "/some/where/runs/synthetic"
    assert config.data.root == "/some/where/pre"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trainer.stpes=3", "trainer.stpes is not known: did you mean trainer.steps?"),
        ("+trainer.stpes=3", "trainer.stpes is not known: did you mean trainer.steps?"),
        ("steps=3", "steps is not known: did you mean trainer.steps?"),
        ("model=tyni", "model.tyni is not known: did you mean model.tiny?"),
        ("experiment=x", "experiment.x is not known: choose one of demo, paper"),
        ("trainer.steps=ten", "trainer.steps must be an integer, not 'ten'"),
        ("trainer.steps=1.5", "trainer.steps must be an integer, not 1.5"),
        ("trainer.steps=true", "trainer.steps must be an integer, not True"),
        ("trainer.steps=0", "trainer.steps must be 1 or more, not 0"),
        ("trainer.token_budget=5", "give either trainer.steps or trainer.token_budget"),
        ("trainer.precision=fp16", "trainer.precision must be one of fp32, bf16, auto, not 'fp16'"),
        ("trainer.run_dir=null", "trainer.run_dir must be text, not None"),
        ("~trainer.run_dir", "trainer.run_dir is missing: give it a value"),
        ("optim.betas=[0.9]", "optim.betas must be a list of 2 values, not [0.9]"),
        ("optim.betas=0.9", "optim.betas must be a list, not 0.9"),
        ("optim=moun", "optim.moun is not known: did you mean optim.muon?"),
        ("optim.momentum=0.9", "optim.momentum is not known: choose one of"),
        ("optim.ema=0.9", "optim.ema is not known: did you mean optim."),
        ("optim.ema_decay=yes", "optim.ema_decay must be a number, not 'yes'"),
        ("optim.schedule=wsd", "must be one of one_cycle, warmup_stable_decay, constant"),
        ("trainer.patience=0", "trainer.patience must be 1 or more, not 0"),
        ("trainer.min_delta=-1", "trainer.min_delta must be 0 or more, not -1.0"),
        ("data.stores=[a]", "give either data.root or data.stores"),
        ("data.extra_target_share=[0.5,0.1]", "data.extra_target_share must be two shares"),
        ("data.extra_target_share=[0,x]", "data.extra_target_share[1] must be a number, not 'x'"),
        ("recipe=label", "recipe.label is not known: did you mean recipe.labels?"),
        ("data.recipes.published.widht=[3]", "did you mean data.recipes.published.width?"),
        ("data.recipes.published.width=[x]", "data.recipes.published.width[0] must be an integer"),
        ("data.recipes.published.other_order=[near]", "must be one of recency, walks, random"),
        ("data.context_length=0", "data.context_length must be 1 or more"),
        ("data.mix=rows", "data.mix must be one of database, task, row"),
        ("logger.every=0", "logger.every must be 1 or more, not 0"),
        ("model=[", "the override 'model=[' is not of the form key=value"),
    ],
)
def test_wrong_overrides_are_refused_in_one_line(override: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        built(override)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_group_that_is_no_group_is_refused() -> None:
    with pytest.raises(InputError, match="model must be a group of keys, not 3"):
        from_dict(TrainConfig, composed() | {"model": 3})


@pytest.mark.parametrize("name", ["published", "labels", "walks", "mixed"])
def test_recipe_files_hold_every_field_of_their_presets(name: str) -> None:
    data = from_dict(TrainConfig, composed(f"recipe={name}")).data
    assert set(data.recipes) == ({name} if name != "mixed" else set(PRESETS))
    for key, recipe in data.recipes.items():
        assert replace(recipe, weight=1.0) == named(key)
    widths = [f"data.recipes.{key}.width=[3,9]" for key in data.recipes]
    changed = composed(f"recipe={name}", *widths)
    recipes = from_dict(TrainConfig, changed).data.recipes
    assert {recipe.width for recipe in recipes.values()} == {(3, 9)}
