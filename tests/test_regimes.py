"""Models by regime beside each other: metrics, their intervals, and pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from plurel.rng import stream
from rt.bootstrap import Bootstrap, TaskPredictions
from rt.regimes import comparison, format_comparison


def binary(rows: int = 300, seed: int = 0) -> TaskPredictions:
    """Two seeds of a good model and of a bad one, with ties."""
    draws = stream(seed, "binary")
    truth = (draws.random(rows) < 0.3).astype(float)
    good = np.stack([truth + draws.normal(size=rows) for _ in range(2)]).round(1)
    bad = np.stack([draws.normal(size=rows) for _ in range(2)]).round(1)
    return TaskPredictions("a/b", "auroc", truth, {"good": good, "bad": bad})


def regression(rows: int = 200) -> TaskPredictions:
    draws = stream(0, "regression")
    truth = draws.normal(size=rows)
    close, far = (truth + width * draws.normal(size=(1, rows)) for width in (0.1, 1.0))
    return TaskPredictions("a/c", "nmae", truth, {"close": close, "far": far}, scale=2.0)


def test_auroc_is_that_of_scikit_learn() -> None:
    task = binary()
    found = Bootstrap(task, resamples=10).scores()
    for name, predictions in task.predictions.items():
        each = [roc_auc_score(task.truth, one) for one in predictions]
        assert found[name].value == pytest.approx(np.mean(each))


def test_nmae_is_divided_by_the_scale() -> None:
    task = regression()
    error = np.abs(task.predictions["far"][0] - task.truth).mean()
    assert Bootstrap(task, resamples=10).scores()["far"].value == pytest.approx(error / 2)


def test_intervals_cover_the_true_value_about_as_often_as_they_say() -> None:
    """AUROC of two normal populations one deviation apart: Phi(1 / sqrt 2) = 0.7602."""
    inside = 0
    for seed in range(120):
        draws = stream(seed, "cover")
        truth = (np.arange(200) < 80).astype(float)
        score = truth + draws.normal(size=200)
        task = TaskPredictions("x/y", "auroc", truth, {"m": score[None]})
        interval = Bootstrap(task, resamples=200, seed=seed).scores()["m"]
        inside += interval.low <= 0.7602 <= interval.high
    # 95 % of 120 are 114; 4 deviations are 9.5
    assert inside >= 104


def test_pairs_tell_models_apart_that_their_own_intervals_do_not() -> None:
    task = binary(rows=60)
    noise = stream(1, "noise").normal(size=task.truth.shape)
    hard = task.truth + 2 * noise
    pair = {"base": hard[None], "better": (hard + 0.25 * task.truth)[None]}
    both = TaskPredictions("p/q", "auroc", task.truth, pair)
    alone = Bootstrap(both, resamples=400).scores()
    better = Bootstrap(both, resamples=400).better_than("base")["better"]
    assert alone["base"].high > alone["better"].low
    assert better.low > 0
    assert Bootstrap(both, resamples=50).better_than("base")["base"].record() == {
        "value": 0.0, "low": 0.0, "high": 0.0,
    }  # fmt: skip


def test_less_error_is_better() -> None:
    better = Bootstrap(regression(), resamples=100).better_than("far")["close"]
    assert better.low > 0


def test_intervals_depend_on_the_seed_and_the_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task = binary()
    first = Bootstrap(task, resamples=30).scores()
    monkeypatch.setattr("rt.bootstrap.BLOCK", 301)  # a resample at a time
    assert Bootstrap(task, resamples=30).scores() == first
    assert Bootstrap(task, resamples=30, seed=1).scores() != first


def test_resamples_of_one_class_count_for_nothing() -> None:
    truth = np.array([1.0, 0.0, 0.0])
    task = TaskPredictions("s/t", "auroc", truth, {"m": np.array([[0.9, 0.1, 0.2]])})
    assert Bootstrap(task, resamples=100).scores()["m"].low == 1.0


def test_a_comparison_is_plain_and_reads_as_a_table() -> None:
    result = comparison([binary(), regression_like()], against="bad", resamples=50)
    assert result["a/b"]["rows"] == 300
    assert set(result["a/b"]["better_than_bad"]) == {"good"}
    lines = format_comparison(result).splitlines()
    assert lines[0].split() == ["task", "metric", "rows", "good", "bad"]
    assert [line.split()[0] for line in lines] == ["task", "a/b", "a/c", "mean", "mean"]
    assert f"{result['a/b']['scores']['good']['value']:.3f} ±" in lines[1]


def regression_like() -> TaskPredictions:
    task = regression()
    good, bad = task.predictions.values()
    return TaskPredictions(task.name, "nmae", task.truth, {"good": good, "bad": bad}, task.scale)
