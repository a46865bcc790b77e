"""Every file in conf composes, builds its dataclasses, and refuses what it does not know."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from plurel.errors import InputError
from rt.checkpoint import Settings, save_pretrained
from rt.config import from_dict, to_dict
from rt.model import SIZES, ModelConfig, RelationalTransformer
from rt.optim import OptimConfig
from rt.recipes import PRESETS, Recipe, named
from rt.train_config import TrainConfig
from scripts.hydra_entry import (
    fixed_keys,
    one_line_errors,
    plain,
    register,
    sweep_name,
    training_config,
)

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent != CONF
)


ROOTS = {
    "synthetic_pretrain": (),
    "baseline_pretrain": ("data.root=databases",),
    "cntd_pretrain": ("data.root=databases", "load_ckpt_path=CKPT"),
    "finetune": ("data.root=databases", "task=shop/churn", "load_ckpt_path=CKPT"),
}
NEEDS = {"data=real": ("data.root=x",), "evaluation=real": ("evaluation.root=x",)}
OF_OTHER_ROOTS = ("model=checkpoint", "recipe=checkpoint", "evaluation=task")
"""What continued training and fine-tuning are composed of, tested with them."""


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of the paper's size in all but depth."""
    config = ModelConfig(**{**SIZES["paper"], "num_blocks": 1}, d_text=384)
    context = {"context_length": [96], "recipes": {"labels": {}}}
    folder = tmp_path_factory.mktemp("model") / "model"
    settings = Settings("all-MiniLM-L12-v2", context)
    return str(save_pretrained(RelationalTransformer(config), folder, settings))


def composed(*overrides: str, root: str = "synthetic_pretrain") -> dict[str, Any]:
    register()
    with one_line_errors(), initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(root, list(overrides)))


def built(*overrides: str, root: str = "synthetic_pretrain") -> TrainConfig:
    return training_config(composed(*overrides, root=root), overrides)


@pytest.mark.parametrize("root", ROOTS)
def test_every_script_has_a_config_of_its_own(root: str, ckpt: str) -> None:
    assert (CONF.parent / "scripts" / f"{root}.py").is_file()
    overrides = [override.replace("CKPT", ckpt) for override in ROOTS[root]]
    config = built(*overrides, root=root)
    regimes = dict(zip(ROOTS, ("synthetic", "baseline", "continued", "finetune"), strict=True))
    assert config.regime == regimes[root]
    assert from_dict(TrainConfig, to_dict(config)) == config
    paper = built(*overrides, "experiment=paper", "model.num_blocks=1", root=root)
    synthetic = root == "synthetic_pretrain"
    assert paper.trainer.token_budget == (4_000_000_000 if synthetic else None)
    assert paper.trainer.steps == (None if synthetic else 50_000)
    assert paper.data.num_dbs == (1024 if synthetic else None)
    debugged = built(*overrides, "debug=default", root=root)
    assert (debugged.trainer.steps, debugged.trainer.token_budget) == (4, None)


def test_continued_training_takes_from_the_checkpoint_what_is_not_given(ckpt: str) -> None:
    overrides = ("data.root=databases", f"load_ckpt_path={ckpt}")
    config = built(*overrides, root="cntd_pretrain")
    assert (config.model.num_blocks, config.model.d_model) == (1, 256)
    assert config.data.embedder == "all-MiniLM-L12-v2"
    assert config.data.context_length == (96,)
    assert config.data.recipes == {"labels": named("labels")}
    other = built(*overrides, "recipe=walks", "data.context_length=64", root="cntd_pretrain")
    assert (other.data.context_length, list(other.data.recipes)) == ((64,), ["walks"])


def test_what_is_left_out_is_scored() -> None:
    config = built("data.root=[a,b]", "data.leave_out=[c,d]", root="baseline_pretrain")
    assert config.evaluation.root == ("a", "b")
    assert config.evaluation.databases == ("c", "d")
    assert not built("data.root=a", root="baseline_pretrain").evaluation.scored


def test_the_task_is_trained_on_and_scored(ckpt: str) -> None:
    overrides = ("data.root=a", "task=shop/churn", f"load_ckpt_path={ckpt}")
    config = built(*overrides, root="finetune")
    assert config.data.task == "shop/churn"
    assert config.evaluation.tasks == ("shop/churn",)
    assert config.trainer.select == "score"


def test_one_budget_on_the_command_line_is_enough() -> None:
    for overrides, budget in (
        ((), (None, 32_000_000)),
        (("trainer.steps=5",), (5, None)),
        (("trainer.token_budget=1e6",), (None, 1_000_000)),
        (("experiment=demo", "trainer.token_budget=1e6"), (None, 1_000_000)),
        (("experiment=paper", "trainer.steps=7"), (7, None)),
    ):
        trainer = built(*overrides).trainer
        assert (trainer.steps, trainer.token_budget) == budget
    with pytest.raises(InputError, match=r"give either trainer.steps or trainer.token_budget"):
        built("trainer.steps=5", "trainer.token_budget=5")


def test_runs_of_a_sweep_are_named_by_what_varies() -> None:
    names = [
        sweep_name(["data.num_dbs=8", "seed=1"]),
        sweep_name(["seed=1.0", "+data.num_dbs=8"]),
        sweep_name(["optim.lr=1e-3", "model=tiny", "data.leave_out=[a, b]"]),
        sweep_name(["data.max=1", "optim.max=2"]),
        sweep_name([]),
    ]
    assert names == [
        "num_dbs=8,seed=1",
        "num_dbs=8,seed=1",
        "leave_out=[a,b],lr=1e-3,model=tiny",
        "data.max=1,optim.max=2",
        "run",
    ]
    long = [sweep_name([f"data.pattern{i}={'x' * 300}"]) for i in range(2)]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 200
    line = ["--multirun", "data.root=/a", "data.leave_out=[a,b],[c]", "+x=1", "seed=range(3)"]
    assert fixed_keys(line) == ["data.root", "x"]
    config = training_config(composed("trainer.run_dir=sweep"), [], ["seed=1"])
    assert config.trainer.run_dir == "sweep/seed=1"


def test_there_is_a_file_of_each_group() -> None:
    groups = {name.split("=")[0] for name in GROUPS}
    names = (
        "model",
        "data",
        "recipe",
        "optim",
        "trainer",
        "evaluation",
        "logger",
        "experiment",
        "debug",
    )
    assert groups == set(names)


@pytest.mark.parametrize("override", sorted(set(GROUPS) - set(OF_OTHER_ROOTS)))
def test_every_file_builds_a_config_that_survives_yaml(override: str) -> None:
    config = built(override, *NEEDS.get(override, ()))
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
    assert config.data.root == ("/some/where/pre",)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trainer.stpes=3", "trainer.stpes is not known: did you mean trainer.steps?"),
        ("+trainer.stpes=3", "trainer.stpes is not known: did you mean trainer.steps?"),
        ("steps=3", "steps is not known: did you mean trainer.steps?"),
        ("model=tyni", "model.tyni is not known: did you mean model.tiny?"),
        ("experiment=x", "experiment.x is not known: choose one of demo, paper, plurel-small"),
        ("trainer.steps=ten", "trainer.steps must be an integer, not 'ten'"),
        ("trainer.steps=1.5", "trainer.steps must be an integer, not 1.5"),
        ("trainer.steps=true", "trainer.steps must be an integer, not True"),
        ("trainer.steps=0", "trainer.steps must be 1 or more, not 0"),
        ("trainer.select=loss", "trainer.select must be one of heldout_loss, score, not 'loss'"),
        ("evaluation=task", "Interpolation key 'task' not found"),
        ("evaluation=reel", "evaluation.reel is not known: did you mean evaluation.real?"),
        ("evaluation.max_rows=0", "evaluation.max_rows must be 1 or more, not 0"),
        ("evaluation.test_rows=-1", "evaluation.test_rows must be 0 or more, not -1"),
        ("evaluation.tasks=[churn]", "evaluation.tasks must be <database>/<task>, not 'churn'"),
        ("model=checkpoint", "model.num_blocks is null, as the checkpoint says: give load_ckpt_"),
        ("recipe=checkpoint", "data.context_length is null, as the checkpoint says"),
        ("load_ckpt_path=/no/such.pt", "/no/such.pt does not exist"),
        ("data=real", "data.root is missing: give data.root=VALUE"),
        ("evaluation=real", "evaluation.root is missing: give evaluation.root=VALUE"),
        ("data.root=[]", "data.root must be one place or more, not []"),
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
        ("data.extra_target_share=[0.5,0.1]", "data.extra_target_share must be two shares"),
        ("data.extra_target_share=[0,x]", "data.extra_target_share[1] must be a number, not 'x'"),
        ("recipe=label", "recipe.label is not known: did you mean recipe.labels?"),
        ("data.recipes.published.widht=[3]", "did you mean data.recipes.published.width?"),
        ("data.recipes.published.width=[x]", "data.recipes.published.width[0] must be an integer"),
        (
            "data.recipes.published.other_order=[near]",
            "must be one of recency, walks, random, telling",
        ),
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


@pytest.mark.parametrize(
    "name", ["published", "labels", "walks", "nearest", "alike", "fitted", "mixed"]
)
def test_recipe_files_hold_every_field_of_their_presets(name: str) -> None:
    data = from_dict(TrainConfig, composed(f"recipe={name}")).data
    # weights fitted to each of many tasks take long
    assert set(data.recipes) == ({name} if name != "mixed" else {*PRESETS} - {"fitted"})
    for key, recipe in data.recipes.items():
        assert replace(recipe, weight=1.0) == named(key)
    widths = [f"data.recipes.{key}.width=[3,9]" for key in data.recipes]
    changed = composed(f"recipe={name}", *widths)
    recipes = from_dict(TrainConfig, changed).data.recipes
    assert {recipe.width for recipe in recipes.values()} == {(3, 9)}
