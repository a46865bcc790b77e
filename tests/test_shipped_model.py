"""The model that comes with the package: found by its name, offline, as good as its table says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file
from test_configs import built

from rt.checkpoint import Settings, digest, load_config, load_sizes, point, resolve, save_checkpoint
from rt.config import to_dict
from rt.databases import make_flights
from rt.evaluate import Selection, evaluate_table
from rt.model import ModelConfig, RelationalTransformer
from rt.predict import Predictor
from rt.recipes import named
from rt.shipped import DEFAULT, MODELS
from rt.store import preprocess_many

ROOT = Path(__file__).resolve().parent.parent
FOLDER = MODELS / DEFAULT
SCORES = ROOT / "docs" / "scores" / DEFAULT / "rolling"
MOST_BYTES = 12_000_000


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def test_it_is_found_by_its_name_and_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES
    state = load_file(FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    model = RelationalTransformer.from_pretrained(DEFAULT)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    predictor = Predictor.from_pretrained()
    assert predictor.settings.embedder == "all-MiniLM-L6-v2"
    assert predictor.settings.context_length == load_config(FOLDER)["context"]["context_length"][0]


def test_a_folder_of_its_name_does_not_stand_in_its_place(tmp_path: Path) -> None:
    """Such as that of a run: trainer.run_dir=plurel-small."""
    small = RelationalTransformer(ModelConfig(1, 16, 2, 24, 8))
    for step in (1, 2):
        step_folder = save_checkpoint(DEFAULT, step, small, Settings("hash"))
        point(DEFAULT, "best" if step == 1 else "latest", step_folder)
    width = load_sizes(FOLDER)["d_model"]
    assert Predictor.from_pretrained().model.config.d_model == width != 16
    assert RelationalTransformer.from_pretrained(DEFAULT).config.d_model == width
    names = {f"./{DEFAULT}": 2, f"{DEFAULT}/": 2, Path(DEFAULT): 2, tmp_path / DEFAULT: 2}
    names |= {f"{DEFAULT}/best": 1, f"{DEFAULT}/latest": 2, f"{DEFAULT}/step_1": 1}
    for name, step in names.items():
        assert resolve(name).resolve() == tmp_path / DEFAULT / f"step_{step}"


def test_its_config_is_that_of_the_experiment() -> None:
    experiment = built(f"experiment={DEFAULT}")
    config = load_config(FOLDER)
    wanted = to_dict(experiment.model)
    assert {key: config["model"][key] for key in wanted if key != "attention"} == {
        key: value for key, value in wanted.items() if key != "attention"
    }
    lengths = config["context"]["context_length"]
    trained = list(experiment.data.context_length)
    card = (FOLDER / "README.md").read_text()
    assert lengths == trained
    said = f"trained on contexts of {' or '.join(map(str, trained))} cells"
    assert said + "; it reads the recipe fitted, chosen after it" in card
    read, *drawn = config["context"]["recipes"].items()
    assert read == ("fitted", to_dict(replace(named("fitted"), weight=0.0)))
    assert dict(drawn) == {name: to_dict(r) for name, r in experiment.data.recipes.items()}


def test_the_card_says_where_it_comes_from() -> None:
    card = (FOLDER / "README.md").read_text()
    for words in ("license: mit", "regime synthetic", "source revision", "What was used for what"):
        assert words in card
    assert (
        "/" not in yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["trainer"]["run_dir"]
    )


def test_a_score_of_the_table_comes_out_again(tmp_path: Path) -> None:
    """On a database that the package's own dependencies carry; rounding differs by processor."""
    told = json.loads((SCORES / "flights.json").read_text())
    raw = make_flights(tmp_path / "raw" / "flights")
    (store,) = preprocess_many([raw], tmp_path / "pre", embedder="all-MiniLM-L6-v2")
    predictor = Predictor.from_pretrained(precision="fp32")
    selection = Selection(**{key: told[key] for key in ("split", "protocol", "max_rows", "seed")})
    found = evaluate_table(
        {"pretrained": predictor.model},
        raw,
        store,
        settings=predictor.settings,
        tasks=["dest-delay"],
        selection=selection,
        show_progress=False,
    )
    entry, expected = found["tasks"]["dest-delay"], told["tasks"]["dest-delay"]
    assert entry["rows"] == expected["rows"]
    assert entry["pretrained"] == pytest.approx(expected["pretrained"], abs=0.005)
    # which rows are alike is a matter of rounding, too, where two nearly are
    assert entry["context_own"] == pytest.approx(expected["context_own"], abs=0.005)
    assert told["sha256"] == digest(FOLDER)
