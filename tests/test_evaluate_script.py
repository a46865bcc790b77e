"""scripts/evaluate.py: from a checkpoint on disk to summary.json."""

import hashlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from hydra import compose, initialize_config_dir

from plurel.errors import InputError
from rt import checkpoint
from rt.checkpoint import Settings, point, save_checkpoint, save_pretrained
from rt.model import ModelConfig, RelationalTransformer
from scripts.evaluate import EvaluateConfig, run
from scripts.hydra_entry import one_line_errors, plain
from tests.hub_stand_in import write_cache
from tests.shops import D_TEXT, EMBEDDER, shop_folders

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"baselines": "means", "resamples": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with two checkpoints, of which `best` names the first and `latest` the second."""
    folder = tmp_path_factory.mktemp("run")
    settings = Settings(EMBEDDER, {"context_length": 48, "recipes": {"published": {"width": [8]}}})
    for step in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(step)
            model = RelationalTransformer(ModelConfig(1, 16, 2, 32, D_TEXT))
        path = save_checkpoint(folder, step, model, settings)
        if step == 1:
            point(folder, "best", path)
    return folder


def _config(trained, folders, **changes) -> EvaluateConfig:
    raw, store = map(str, folders)
    return EvaluateConfig(
        **{
            "checkpoint": str(trained),
            "raw": raw,
            "store": store,
            "max_rows": 10,
            **QUICK,
            **changes,
        }
    )


def test_scores_are_written_and_the_pointers_name_different_models(
    trained, folders, tmp_path, capsys
):
    best, latest = (
        run(_config(trained / name, folders, out=str(tmp_path / "deep" / f"{name}.json")))
        for name in ("best", "latest")
    )
    assert json.loads((tmp_path / "deep" / "best.json").read_text()) == best
    weights = (checkpoint.find_checkpoint(trained, "best") / checkpoint.MODEL_FILE).read_bytes()
    assert best["sha256"] == hashlib.sha256(weights).hexdigest() != latest["sha256"]
    assert best["contexts"]["context_length"] == 48
    assert best["contexts"]["recipe"]["width"] == [8]
    names = {"metric", "pretrained", "untrained", "global_mean", "entity_mean"}
    for task, entry in best["tasks"].items():
        assert names <= set(entry)
        other = latest["tasks"][task]
        assert entry["untrained"] == other["untrained"]
        assert entry["entity_mean"] == other["entity_mean"]
    assert (
        best["tasks"]["mean-amount"]["pretrained"] != (latest["tasks"]["mean-amount"]["pretrained"])
    )
    printed = capsys.readouterr().out
    assert f"{best['tasks']['mean-amount']['pretrained']:.4f}" in printed
    assert (
        run(_config(trained, folders, tasks=("mean-amount",)))["tasks"]["mean-amount"]
        == (latest["tasks"]["mean-amount"])
    )


def test_checkpoints_beside_it_score_as_they_do_alone(trained, folders, tmp_path):
    model = RelationalTransformer.from_pretrained(trained / "latest")
    other = str(tmp_path / "other")
    settings = Settings(EMBEDDER, {"context_length": 24, "recipes": {"labels": {"width": [4]}}})
    save_pretrained(model, other, settings)
    task = ("mean-amount",)
    both = run(_config(trained / "best", folders, tasks=task, beside=(other,)))["tasks"][task[0]]
    first = run(_config(trained / "best", folders, tasks=task))["tasks"][task[0]]
    alone = run(_config(other, folders, tasks=task))["tasks"][task[0]]
    assert both == first | {other: alone["pretrained"]}
    assert alone["context_own"] != first["context_own"]  # the contexts are others
    for beside in (("pretrained",), (other, other)):
        with pytest.raises(InputError, match="beside must be other checkpoints, each once"):
            _config(trained, folders, beside=beside)


def test_every_baseline_and_intervals_unless_something_else_is_said(
    trained, folders, monkeypatch, capsys
):
    raw, store = map(str, folders)
    config = EvaluateConfig(str(trained), raw, store, tasks=("any-returned",), max_rows=10)
    entry = run(config)["tasks"]["any-returned"]
    others = {"untrained", "global_mean", "entity_mean", "entity_last_10", "lightgbm_row"}
    assert set(entry["better_by"]) >= others | {"lightgbm_joined", "context_own"}
    assert set(entry["intervals"]) == {"pretrained", *entry["better_by"]}
    assert "pretrained better by" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    entry = run(config)["tasks"]["any-returned"]
    assert "lightgbm_row" not in entry
    assert "for all pip install lightgbm" in capsys.readouterr().out


def test_context_settings_come_from_the_checkpoint_unless_given(trained, folders):
    stored = Settings(EMBEDDER, {"context_length": 48, "recipes": {"published": {"width": [8]}}})
    settings = _config(trained, folders, context_length=24).settings(stored)
    assert (settings.embedder, settings.context_length, settings.recipe.width) == (
        EMBEDDER,
        24,
        (8,),
    )
    with pytest.raises(InputError, match="give embedder=NAME"):
        _config(trained, folders).settings(Settings())


def test_a_checkpoint_has_many_names(trained, folders, tmp_path, monkeypatch):
    """A run, its pointer, a folder, a .pt file, a repository of the Hub and a .pt file in one."""
    model = RelationalTransformer.from_pretrained(trained / "best")
    model.save_pretrained(tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "published.pt")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    files["a.pt"] = (tmp_path / "published.pt").read_bytes()
    write_cache(tmp_path / "cache", "lab/model", "main", files)
    said = {"embedder": EMBEDDER, "context_length": 48}  # a .pt file says nothing
    folders_of = [trained / "best", trained / "step_1", tmp_path / "model", "lab/model"]
    files_of = [tmp_path / "published.pt", "lab/model/a.pt"]
    for names, options in ((folders_of, {}), (files_of, said)):
        scores = [
            run(_config(name, folders, untrained=False, tasks=("mean-amount",), **options))["tasks"]
            for name in names
        ]
        assert all(score == scores[0] for score in scores)
    with pytest.raises(InputError, match=r"does not say which text embedder .* give embedder=NAME"):
        run(_config("lab/model/a.pt", folders))


def test_every_key_of_the_config_file_is_known():
    written = yaml.safe_load((ROOT / "conf" / "evaluate.yaml").read_text())
    assert set(written) - {"defaults", "hydra"} == {field.name for field in fields(EvaluateConfig)}
    for field in fields(EvaluateConfig)[3:]:
        value = written[field.name]
        assert (tuple(value) if isinstance(value, list) else value) == field.default


def test_a_model_of_another_embedder_is_refused(folders, tmp_path):
    other = RelationalTransformer(ModelConfig(1, 16, 2, 32, D_TEXT + 1))
    path = save_pretrained(other, tmp_path / "model", Settings(EMBEDDER))
    with pytest.raises(InputError, match=f"have length {D_TEXT}"):
        run(_config(path, folders, out=str(tmp_path / "out.json")))
    assert not (tmp_path / "out.json").exists()


def test_a_model_of_another_embedder_of_the_same_width_is_refused(folders, tmp_path):
    other = RelationalTransformer(ModelConfig(1, 16, 2, 32, D_TEXT))
    path = save_pretrained(other, tmp_path / "model", Settings(EMBEDDER, fingerprint="another"))
    with pytest.raises(InputError, match=rf"text\.{EMBEDDER}.*another text embedder.*another\)"):
        run(_config(path, folders, out=str(tmp_path / "out.json")))
    assert not (tmp_path / "out.json").exists()


def test_a_place_that_scores_cannot_go_to_is_found_before_the_work(folders, tmp_path):
    nothing = tmp_path / "no checkpoint"
    with pytest.raises(InputError, match="is a folder, not a file; choose another place"):
        run(_config(nothing, folders, out=str(tmp_path)))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, not a folder; choose another place"):
        run(_config(nothing, folders, max_rows=None, submission=str(tmp_path / "file" / "sent")))
    with pytest.raises(InputError, match="max_rows must be null for a submission, which needs"):
        _config(nothing, folders, submission=str(tmp_path / "sent"))


def test_the_command_ends_in_one_line_for_bad_input(folders, tmp_path):
    command = [sys.executable, "scripts/evaluate.py", f"checkpoint={tmp_path / 'none'}"]
    words = [f"raw={folders[0]}", f"store={folders[1]}"]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is no checkpoint" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_wrong_and_missing_keys_are_named():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        unknown = "storee is not known: did you mean store"
        with pytest.raises(InputError, match=unknown), one_line_errors():
            compose("evaluate", overrides=["storee=x"])
        missing = "store is missing: give store=VALUE"
        with pytest.raises(InputError, match=missing), one_line_errors():
            plain(compose("evaluate", overrides=["checkpoint=x", "raw=y"]))
