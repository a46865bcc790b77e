"""Contexts chosen on validation: the best there, whatever the test labels are."""

import pytest

from plurel.errors import InputError
from rt.checkpoint import save_pretrained
from rt.evaluate import Selection, evaluate_table
from rt.settings import Settings
from rt.tuning import candidates, tune
from scripts.evaluate import EvaluateConfig, Tuning, run
from tests.shops import EMBEDDER, shop_folders, varied_model

TASK = "any-returned"
LENGTHS, RECIPES = (24, 96), ("own", "labels")
TRAINED = Settings(EMBEDDER, {"context_length": 48, "recipes": {"own": {"width": [16]}}})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


@pytest.fixture(scope="module")
def model():
    return varied_model()


def _tune(model, folders, lengths=LENGTHS, recipes=RECIPES, **given):
    choices = candidates(TRAINED, lengths, recipes, batch_size=16)
    given = {"tasks": [TASK], "selection": Selection("val")} | given
    return tune(model, *folders, choices, show_progress=False, **given)[TASK]


def test_the_best_on_validation_is_chosen(model, folders):
    tuned = _tune(model, folders)
    scores = {}
    for recipe in RECIPES:
        for length in LENGTHS:
            (settings,) = candidates(TRAINED, [length], [recipe], batch_size=16).values()
            result = evaluate_table(
                {"m": model}, *folders, settings=settings, tasks=[TASK],
                selection=Selection("val"), show_progress=False,
            )  # fmt: skip
            scores[f"{recipe}, {length}"] = result["tasks"][TASK]["m"]
    assert tuned.record["scores"] == pytest.approx(scores)
    assert len(set(scores.values())) == 4
    best = max(scores, key=lambda name: scores[name])
    assert tuned.record["chosen"] == best
    assert f"{tuned.settings.context_length}" == best.split(", ")[1]


def test_validation_labels_decide_and_test_labels_do_not(model, folders, tmp_path):
    tuned = _tune(model, folders).record
    of_test = _tune(model, shop_folders(tmp_path / "test", flip="test")).record
    assert of_test == tuned
    of_val = _tune(model, shop_folders(tmp_path / "val", flip="val")).record
    turned = {name: 1 - score for name, score in tuned["scores"].items()}
    assert of_val["scores"] == pytest.approx(turned)
    assert of_val["chosen"] == min(tuned["scores"], key=lambda name: tuned["scores"][name])


def test_errors_are_better_when_lower(model, folders):
    choices = candidates(TRAINED, LENGTHS, None, batch_size=16)
    assert list(choices) == ["the checkpoint's recipe, 24", "the checkpoint's recipe, 96"]
    tuned = tune(
        model, *folders, choices, tasks=["mean-amount"], selection=Selection("val"),
        show_progress=False,
    )["mean-amount"].record  # fmt: skip
    assert tuned["better"] == "lower"
    assert tuned["scores"][tuned["chosen"]] == min(tuned["scores"].values())


def test_validation_rows_of_one_class_are_found_before_anything_is_predicted(
    model, folders, monkeypatch
):
    predicted = []
    monkeypatch.setattr("rt.tuning.predict", lambda *given, **_: predicted.append(given[2].name))
    one_row = Selection("val", max_rows=1)
    named = ["mean-amount", TASK]  # the first has a score
    with pytest.raises(InputError, match="all 1 labels are of one class"):
        _tune(model, folders, tasks=named, selection=one_row)
    assert predicted == []
    monkeypatch.undo()
    choices = candidates(TRAINED, [24], None, batch_size=16)
    found = tune(model, *folders, choices, selection=one_row, show_progress=False)
    assert list(found) == ["mean-amount"]


def test_of_equal_contexts_the_first_is_chosen(model, folders):
    (settings,) = candidates(TRAINED, [24], None, batch_size=16).values()
    choices = {"b": settings, "a": settings}
    tuned = tune(
        model, *folders, choices, tasks=[TASK], selection=Selection("val"), show_progress=False
    )
    assert tuned[TASK].record["chosen"] == "b"


def test_the_command_scores_test_with_what_was_chosen(model, folders, tmp_path, capsys):
    save_pretrained(model, tmp_path / "model", TRAINED)
    given = {
        "checkpoint": str(tmp_path / "model"), "raw": str(folders[0]), "store": str(folders[1]),
        "untrained": False, "batch_size": 16, "tasks": (TASK,),
    }  # fmt: skip
    tune_of = Tuning(LENGTHS, RECIPES, max_rows=None)
    result = run(EvaluateConfig(**given, tune=tune_of))
    printed = capsys.readouterr().out
    tuned = result["tuned"][TASK]
    assert tuned["scores"] == pytest.approx(_tune(model, folders).record["scores"])
    assert f"{tuned['scores'][tuned['chosen']]:.4f}*" in printed
    recipe, length = tuned["chosen"].split(", ")
    direct = run(EvaluateConfig(**given, recipe=recipe, context_length=int(length)))
    assert result["tasks"] == direct["tasks"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "val"}, "split must be test where contexts are chosen on validation"),
        ({"context_length": 3}, "context_length must be 16 cells or more, not 3"),
        ({"context_length": 90}, "context_length must be null where tune is given"),
        ({"recipe": "labels"}, "recipe must be null where tune is given: use tune.recipe"),
    ],
)
def test_settings_that_contradict_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        EvaluateConfig("c", "r", "s", tune=Tuning(), **changes)


def test_choices_that_are_none_are_refused(model, folders):
    with pytest.raises(InputError, match="no recipe to choose from"):
        candidates(TRAINED, None, [])
    with pytest.raises(InputError, match=r"tune\.context_length must be 16 cells or more, not 3"):
        Tuning((256, 3))
    with pytest.raises(InputError, match="no contexts to choose from"):
        tune(model, *folders, {})
    with pytest.raises(InputError, match=r"recipe\.lables.*labels"):
        candidates(TRAINED, None, ["lables"])
    with pytest.raises(InputError, match="on the split val, not 'test'"):
        _tune(model, folders, selection=Selection("test"))
