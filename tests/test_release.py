"""A run's model as a folder to publish, and the models that come with the package."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hub_stand_in import Hub, serving, use
from huggingface_hub import constants
from safetensors.torch import load_file
from small_stores import small_run, write_stores

from plurel.errors import InputError
from rt import checkpoint, shipped
from rt.logs import read_metrics
from rt.model import RelationalTransformer
from rt.predict import Predictor
from rt.recipes import named
from rt.release import release
from rt.train import run
from scripts.release import main

SCORES = {
    "database": "shop", "split": "test", "protocol": "rolling",
    "tasks": {"churn": {"metric": "roc_auc", "better": "higher", "rows": 10, "of_rows": 10,
                        "entity_column": "user", "pretrained": 0.7531, "global_mean": 0.5}},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("release")
    return run(small_run(write_stores(place / "pre", 3), place / "runs" / "first"))


@pytest.fixture(scope="module")
def released(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("out")
    (place / "scores.json").write_text(json.dumps(SCORES))
    (place / "notes.md").write_text("No real database was trained on.\n")
    words = [finished, "--name", "lab-tiny", "--out", place / "model", "--checkpoint", "latest"]
    words += ["--scores", place / "scores.json", "--notes", place / "notes.md"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["release.py", *map(str, words)])
        main()
    return place / "model"


def test_the_folder_is_the_model_in_half_the_bytes(finished: Path, released: Path) -> None:
    names = {"model.safetensors", "config.yaml", "README.md", "LICENSE"}
    assert {path.name for path in released.iterdir()} == names
    step = checkpoint.find_checkpoint(finished)
    state = load_file(released / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    trained = checkpoint.load_model(step).state_dict()
    loaded = RelationalTransformer.from_pretrained(released)
    assert loaded.settings == checkpoint.load_settings(step)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, trained[name].bfloat16().float())


def test_the_card_says_what_the_run_says(finished: Path, released: Path) -> None:
    card = (released / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "mit"
    result = json.loads((finished / "training.json").read_text())
    assert f"{result['tokens']:,} tokens" in text
    assert "2 databases" in text
    assert "text embedder hash" in text
    assert f"{result['heldout']['loss']['start']:.3f} → " in text
    assert "No real database was trained on." in text
    assert "Rows of the test split, protocol `rolling`; column pretrained is this model." in text
    assert "| shop/churn, AUROC ↑ | 10 | 0.500 | 0.753 |" in text
    config = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert config["optim"]["lr"] == 0.01
    assert config["trainer"]["run_dir"] == "first"
    assert str(finished.parent) not in card  # nor any other place of this machine


def test_the_card_says_which_sources_made_which_steps(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    given = [{"from_step": step, "git_revision": name} for step, name in ((0, "aa"), (3, "bb+"))]
    later = {"from_step": 6, "git_revision": "cc"}  # none of the six steps
    for revisions, line in (
        (given[:1], "- source revision aa\n"),
        (given, "- source revisions aa from step 0, bb+ from step 3\n"),
        ([{**given[0], "from_step": None}, given[1]], "- source revisions aa, bb+ from step 3\n"),
        ([{**given[0], "git_revision": None}], None),
    ):
        (folder / "run.json").write_text(json.dumps(facts | {"revisions": [*revisions, later]}))
        release(folder, tmp_path / "out", "x", "free")
        card = (tmp_path / "out" / "README.md").read_text()
        assert "cc" not in card.split("- source")[-1][:80]
        assert line in card if line else "source revision" not in card
        shutil.rmtree(tmp_path / "out")


def test_the_card_of_an_earlier_step_says_how_far_it_is(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "going")
    (tmp_path / "going" / "training.json").unlink()
    tokens = {r["step"]: r["tokens"] for r in read_metrics(finished) if "loss" in r}
    # a checkpoint may lie between two records
    metrics = tmp_path / "going" / "metrics.jsonl"
    kept = [r for r in read_metrics(finished) if "loss" not in r or r["step"] <= 4]
    metrics.write_text("".join(json.dumps(record) + "\n" for record in kept))
    for step, run_dir in (("step_4", finished), ("latest", tmp_path / "going")):
        words = [run_dir, "--name", "x", "--out", tmp_path / step, "--checkpoint", step]
        chosen = ["--unfinished", "--context_length", "48", "--recipe", "fitted"]
        words += chosen if step == "latest" else []
        monkeypatch.setattr("sys.argv", ["release.py", *map(str, words)])
        main()
        card = (tmp_path / step / "README.md").read_text()
        assert f"{tokens[4 if step == 'step_4' else 6]:,} tokens" in card
        assert ("**the run is not finished**: its budget is 6 steps" in card) == (step == "latest")
        read = "contexts of 24 cells; it reads 48 and the recipe fitted, chosen after it"
        assert (read in card) == (step == "latest")
        settings = Predictor.from_pretrained(tmp_path / step).settings
        assert settings.context_length == (48 if step == "latest" else 24)
        assert (settings.recipe == replace(named("fitted"), weight=0.0)) == (step == "latest")
    # training from it draws none of these contexts
    recipes = checkpoint.load_settings(tmp_path / "latest").context["recipes"]
    assert [recipe["weight"] > 0 for recipe in recipes.values()] == [False, True]
    words[words.index("fitted")] = "fited"
    monkeypatch.setattr("sys.argv", ["release.py", *map(str, words)])
    with pytest.raises(InputError, match=r"did you mean recipe\.fitted"):
        main()


def test_it_is_a_repository_of_the_hub(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    files = {path.name: path.read_bytes() for path in released.iterdir()}
    with serving(Hub()) as server:
        use(monkeypatch, server.url)
        server.repositories["lab/tiny"] = {"main": files}
        found = RelationalTransformer.from_pretrained("lab/tiny").state_dict()
    expected = RelationalTransformer.from_pretrained(released).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_models_of_the_package_go_by_their_names(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "MODELS", released.parent)
    monkeypatch.chdir(tmp_path)
    assert shipped.shipped_models() == ["model"]
    assert checkpoint.resolve("model") == released
    assert Predictor.from_pretrained("model").settings.embedder == "hash"
    with pytest.raises(InputError, match=r"OWNER/NAME of the Hub or model"):
        checkpoint.resolve("modell")
    # whatever folder stands there
    (tmp_path / "model").mkdir()
    assert checkpoint.resolve("model") == released
    with pytest.raises(InputError, match="model is no checkpoint"):
        checkpoint.resolve("./model")


def test_what_is_refused(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["release.py", *map(str, words), "--name", "x"])
        with pytest.raises(InputError) as raised:
            main()
        assert not (tmp_path / "out").exists()
        return str(raised.value)

    out = ("--out", tmp_path / "out")
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[1]")
    assert "no scores of one database" in refused(finished, *out, "--scores", wrong)
    wrong.write_text("{")
    assert "give a file of evaluate.py" in refused(finished, *out, "--scores", wrong)
    assert "nothing.md: can't be read" in refused(
        finished, *out, "--notes", tmp_path / "nothing.md"
    )
    copy = tmp_path / "unfinished"
    copy.mkdir()
    for name in ("config.yaml", "run.json"):
        (copy / name).write_bytes((finished / name).read_bytes())
    assert "is not finished" in refused(copy, *out)
    assert "step_99" in refused(finished, *out, "--checkpoint", "step_99")
