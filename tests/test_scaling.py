"""Scaling laws: known laws come back, intervals hold them, and what can't be told is said."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares
from small_stores import small_run, write_stores
from small_sweeps import LAW, loss_of, write_run, write_sweep
from test_plot import is_picture

from plurel.errors import InputError
from plurel.rng import stream
from rt import power_law
from rt.scaling import Fit, TooFewRunsError, draw_residuals, draw_runs, fit
from rt.scaling_points import FORMS, Points, not_a_bottleneck
from rt.scaling_report import short
from rt.scaling_runs import read_sweep
from rt.train import run as train
from scripts import fit_scaling

N_FORM, S_FORM, JOINT = FORMS
DATABASES, TOKENS = (8, 16, 32, 64), (1_000_000, 4_000_000, 16_000_000, 64_000_000)
Row = tuple[int, str, int, int, float]


def rows(
    noise: float = 0.0,
    databases: tuple[int, ...] = DATABASES,
    tokens: tuple[int, ...] = TOKENS,
    seeds: int = 2,
    repetition: int = 0,
) -> list[Row]:
    draws = stream(repetition, "rows")
    return [
        (n, f"{s} tokens", s, seed, loss_of(n, s) * float(np.exp(noise * draws.normal())))
        for n, s, seed in product(databases, tokens, range(seeds))
    ]


def only_databases(noise: float, repetition: int, seeds: int) -> Points:
    """L = A N^-a + C."""
    draws = stream(repetition, "only databases")
    exact = {n: LAW["A"] * n ** -LAW["a"] + LAW["C"] for n in DATABASES}
    return Points.of(
        (n, "1", 1, seed, exact[n] * float(np.exp(noise * draws.normal())))
        for n, seed in product(DATABASES, range(seeds))
    )


def values(found: Fit) -> dict[str, float]:
    return {name: estimate.value for name, estimate in found.estimates.items()}


def test_a_law_without_noise_comes_back() -> None:
    found = fit(Points.of(rows()), JOINT, resamples=100)
    assert values(found) == pytest.approx(LAW, rel=1e-4)
    assert found.scatter.r2 == pytest.approx(1)
    assert all(estimate.identified for estimate in found.estimates.values())
    assert found.notes == ()
    assert len(found.points) == 32


def test_a_law_with_noise_comes_back_within_its_intervals() -> None:
    found = fit(Points.of(rows(noise=0.005)), JOINT, resamples=200)
    assert values(found) == pytest.approx(LAW, rel=0.25)
    for name, estimate in found.estimates.items():
        assert estimate.low < LAW[name] < estimate.high
    assert found.scatter.spread == pytest.approx(0.005, rel=0.4)
    assert found.scatter.seed_spread == pytest.approx(0.005, rel=0.4)


def test_an_outlier_hardly_moves_the_fit() -> None:
    clean = rows(noise=0.003)
    spoilt = [*clean[:5], (*clean[5][:4], clean[5][4] * 1.3), *clean[6:]]
    clean_fit, spoilt_fit = (fit(Points.of(r), JOINT, resamples=100) for r in (clean, spoilt))
    assert values(spoilt_fit) == pytest.approx(values(clean_fit), rel=0.1)


@pytest.mark.parametrize(("form", "chosen"), [(N_FORM, 8), (S_FORM, 8), (JOINT, 32)])
def test_a_form_takes_the_runs_that_are_no_bottleneck(form: Any, chosen: int) -> None:
    points = not_a_bottleneck(Points.of(rows()), form)
    assert len(points) == chosen
    if form is N_FORM:
        assert set(points.tokens) == {TOKENS[-1]}
    if form is S_FORM:
        assert set(points.databases) == {DATABASES[-1]}


def test_forms_of_one_variable_absorb_the_other_into_the_floor() -> None:
    found = values(fit(Points.of(rows()), S_FORM, resamples=100))
    floor = LAW["C"] + LAW["A"] * DATABASES[-1] ** -LAW["a"]
    assert found == pytest.approx({"B": LAW["B"], "b": LAW["b"], "C": floor}, rel=1e-4)


@pytest.mark.parametrize(("seeds", "method"), [(2, "residuals"), (4, "runs")])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds: int, method: str) -> None:
    held = dict.fromkeys(("A", "a", "C"), 0)
    for repetition in range(40):
        points = only_databases(0.005, repetition, seeds)
        found = fit(points, N_FORM, resamples=100, seed=repetition)
        assert found.method == method
        for name, estimate in found.estimates.items():
            held[name] += estimate.low <= LAW[name] <= estimate.high
    # 38 are to be expected, 35 or fewer in one of twenty series of this length
    assert min(held.values()) >= 35


def test_wider_for_more_noise_and_for_more_confidence() -> None:
    def width(noise: float, confidence: float) -> float:
        points = Points.of(rows(noise))
        found = fit(points, JOINT, resamples=100, confidence=confidence).estimates["a"]
        return found.high - found.low

    assert width(0.01, 0.95) > 2 * width(0.002, 0.95)
    assert width(0.01, 0.95) > 1.3 * width(0.01, 0.68)


def test_the_sum_is_the_least_that_scipy_finds() -> None:
    points = Points.of(rows(noise=0.01))
    x, y = JOINT.log_resources(points.databases, points.tokens), np.log(points.loss)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.max()
    grid, delta = power_law.starts(2, float(np.exp(y.min()))), 0.01
    theta, cost = power_law.best_of(x, y[None], np.ones(1), grid, delta)
    low, high = power_law.limits(2)
    found = [
        least_squares(
            lambda one: np.log(power_law.values(one[None], x))[0] - y,
            np.clip(start, low + 1e-6, high - 1e-6),
            bounds=(low, high),
            loss="huber",
            f_scale=delta,
        )
        for start in grid[::40]
    ]
    best = min(found, key=lambda one: one.cost)
    assert cost[0] <= best.cost * (1 + 1e-6)
    assert theta[0] == pytest.approx(best.x, abs=2e-3)


def test_the_order_of_runs_changes_nothing() -> None:
    given = rows(noise=0.01)
    one = fit(Points.of(given), JOINT, resamples=100)
    other = fit(Points.of(stream(0, "order").permutation(np.array(given, object))), JOINT,
                resamples=100)  # fmt: skip
    assert one.estimates == other.estimates
    assert np.array_equal(one.samples, other.samples)


@pytest.mark.parametrize("method", ["residuals", "runs"])
def test_the_seed_decides_the_resamples(method: Any) -> None:
    points = Points.of(rows(noise=0.01))
    first, again, other = (
        fit(points, N_FORM, resampling=method, resamples=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first.estimates == again.estimates
    assert values(first) == values(other)
    assert not np.array_equal(first.samples, other.samples)


def test_units() -> None:
    one = Points.of(rows(noise=0.002))
    as_billions = fit(one, JOINT, resamples=100)
    scaled = replace(one, tokens=one.tokens * 1000, loss=one.loss * 7)
    found = fit(scaled, JOINT, resamples=100)
    before, after = values(as_billions), values(found)
    assert [after[n] for n in "ab"] == pytest.approx([before[n] for n in "ab"], rel=1e-4)
    assert after["A"] == pytest.approx(7 * before["A"], rel=1e-4)
    assert after["B"] == pytest.approx(7 * before["B"] * 1000 ** before["b"], rel=1e-3)
    assert after["C"] == pytest.approx(7 * before["C"], rel=1e-4)
    assert short(64e6) == "64 M"
    assert short(999_999) == "1 M"


def test_the_curve_runs_through_the_law_and_between_its_ends() -> None:
    found = fit(Points.of(rows(noise=0.003)), JOINT, resamples=100)
    n, s = np.array([8.0, 1000.0]), np.array([1e6, 1e9])
    value, low, high = found.curve(n, s)
    law = LAW["A"] * n ** -LAW["a"] + LAW["B"] * (s / 1e9) ** -LAW["b"] + LAW["C"]
    assert value == pytest.approx(law, rel=0.05)
    assert (low < value).all()
    assert (value < high).all()


def test_draws_of_runs_keep_each_pair_and_its_variance() -> None:
    points = Points.of(rows(seeds=3))
    y = stream(0, "y").normal(size=len(points))
    targets, weights = draw_runs(points, y, 4000, stream(0, "draws"))
    assert np.array_equal(targets[7], y)
    for cell in points.cells():
        assert weights[:, cell].sum(axis=1) == pytest.approx(3)
        means = (weights[:, cell] * y[cell]).sum(axis=1) / 3
        assert means.mean() == pytest.approx(y[cell].mean(), abs=0.05)
        assert means.var() == pytest.approx(y[cell].var(ddof=1) / 3, rel=0.15)


def test_draws_of_residuals_have_the_variance_of_the_runs() -> None:
    y = stream(0, "y").normal(size=30)
    targets, weights = draw_residuals(y, np.zeros(30), 5, 2000, stream(0, "draws"))
    assert targets.var() == pytest.approx(y.var() * 30 / 25, rel=0.05)
    assert (weights == 1).all()


def test_the_number_of_seeds_decides_what_is_drawn() -> None:
    def method(seeds: int) -> str:
        return fit(Points.of(rows(0.01, seeds=seeds)), N_FORM, resamples=100).method

    assert [method(seeds) for seeds in (1, 2, 3)] == ["residuals", "residuals", "runs"]


@pytest.mark.parametrize(
    ("form", "databases", "tokens", "line"),
    [
        (N_FORM, DATABASES[:2], TOKENS, "3 or more numbers of databases at the largest budget"),
        (S_FORM, DATABASES, TOKENS[:2], "3 or more budgets on the most databases"),
        (JOINT, DATABASES, TOKENS[:1], "needs 3 or more budgets, the runs have 1"),
        (JOINT, (), (), "the runs have 0"),
    ],
)
def test_too_few_runs_are_told(form: Any, databases: Any, tokens: Any, line: str) -> None:
    with pytest.raises(TooFewRunsError, match=line):
        fit(Points.of(rows(databases=databases, tokens=tokens)), form)


def test_a_joint_form_needs_as_many_pairs_as_parameters() -> None:
    diagonal = [(n, str(s), s, 0, loss_of(n, s)) for n, s in zip(DATABASES, TOKENS, strict=True)]
    with pytest.raises(TooFewRunsError, match="5 or more pairs of N and S, the runs have 4"):
        fit(Points.of(diagonal), JOINT)


def test_as_many_runs_as_parameters_have_no_interval() -> None:
    found = fit(Points.of(rows(databases=DATABASES[:3], seeds=1)), N_FORM)
    assert (found.method, found.scatter.spread) == ("none", None)
    assert found.estimates["a"].low is None
    assert not found.estimates["a"].identified
    assert any("no intervals" in note for note in found.notes)
    assert any("as many (N, S) as parameters" in note for note in found.notes)


def noisy(of: Any, seeds: int = 3, noise: float = 0.003, shift: float = 0.0) -> Points:
    draws = stream(3, "noisy")
    return Points.of(
        (n, "1", 1, seed, of(n) * float(np.exp(noise * draws.normal() + shift * seed)))
        for n, seed in product((8, 16, 32, 64, 128, 256), range(seeds))
    )


@pytest.mark.parametrize(
    ("points", "line", "unknown"),
    [
        (noisy(lambda n: 0.5), "does not fall with N|spans more than a factor", {"A", "a"}),
        (noisy(lambda n: 0.3 * n**0.1), "does not fall with N", {"A"}),
        (noisy(lambda n: n**-0.3), "C is 0, the least|C is not identified", {"C"}),
        (noisy(lambda n: 0.4 + 0.1 * (n < 20)), "misses the means of the (N, S)", set()),
        (noisy(lambda n: 0.4 + n**-0.6, shift=0.02), "seeds differ in all runs alike", set()),
    ],
)
def test_what_the_runs_cannot_tell_is_said(points: Points, line: str, unknown: set[str]) -> None:
    found = fit(points, N_FORM, resamples=100)
    assert any(re.search(part, note) for note in found.notes for part in _parts(line))
    assert unknown <= {name for name, e in found.estimates.items() if not e.identified}


def _parts(line: str) -> list[str]:
    return [re.escape(part) for part in line.split("|")]


def test_intervals_by_runs_that_stand_alone_are_called_too_narrow() -> None:
    given = [row for row in rows(0.01) if row[3] == 0 or row[0] > 8]
    found = fit(Points.of(given), N_FORM, resampling="runs", resamples=100)
    assert any("too narrow: 1 of 4 (N, S) have one run" in note for note in found.notes)


def script(monkeypatch: pytest.MonkeyPatch, *words: Any) -> None:
    monkeypatch.setattr("sys.argv", ["fit_scaling.py", *map(str, words)])
    fit_scaling.main()


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "runs")


def test_the_script_writes_tables_json_and_pictures(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(sweep / "deep" / "unfinished", 8, 1_000_000, finished=False)
    write_run(sweep / "broken", 8, 1_000_000, 2, loss=float("nan"))
    out = tmp_path / "out" / "deep"
    script(monkeypatch, sweep, sweep / "n8_s1000000_0", "--out", out, "--resamples", 100,
           "--metric", "loss", "auroc")  # fmt: skip
    text = (out / "scaling.md").read_text()
    printed = capsys.readouterr().out
    assert text in printed
    assert f"left out, not finished: {sweep}/deep/unfinished" in text
    assert f"left out, loss is nan, no number above 0: {sweep}/broken" in text
    assert "1 - AUROC, mean of real tasks (val, best step)" in text
    assert "| L = A N^-a + C, S = 64 M |" in text
    assert "| published " in text
    assert text.count("published: of another model size") == 1
    content = json.loads((out / "scaling.json").read_text())
    assert len(content["runs"]) == 33
    assert list(content["metrics"]) == ["loss", "auroc"]
    joint = content["metrics"]["loss"]["forms"]["joint"]
    assert joint["runs"] == 32
    assert joint["parameters"]["b"]["value"] == pytest.approx(LAW["b"], rel=0.1)
    assert content["metrics"]["loss"]["forms"]["N"]["published"]["a"] == 0.38
    for metric in content["metrics"]:
        assert is_picture(out / f"{metric}.png")
        assert f"{out}/{metric}.png" in printed


def test_a_form_that_cannot_be_fitted_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path / "runs", tokens=TOKENS[:2], scores=False)
    script(monkeypatch, tmp_path / "runs", "--out", tmp_path, "--resamples", 100)
    printed = capsys.readouterr().out
    assert "L = A N^-a + B S^-b + C is left out: it needs 3 or more budgets" in printed
    assert is_picture(tmp_path / "loss.png")
    write_sweep(tmp_path / "few", databases=(8,), tokens=TOKENS[:2], scores=False)
    script(monkeypatch, tmp_path / "few", "--out", tmp_path / "none", "--resamples", 100)
    assert "No form could be fitted." in capsys.readouterr().out
    assert not (tmp_path / "none" / "loss.png").exists()


def test_losses_and_splits_are_chosen(sweep: Path) -> None:
    end, best = (read_sweep([sweep], loss=loss).runs[0] for loss in ("end", "best"))  # type: ignore[arg-type]
    assert end.values["loss"] - best.values["loss"] == pytest.approx(0.01)
    assert set(end.values) == {"loss", "auroc", "nmae", "r2"}
    path = sweep / "n8_s1000000_0" / "training.json"
    content = json.loads(path.read_text())
    content["scores"]["test"]["best"]["mean"]["auroc"] = 0.9
    content["heldout"]["ema_loss"] = {"best": 0.1, "end": 0.2}
    path.write_text(json.dumps(content))
    val, test = (read_sweep([sweep / "n8_s1000000_0"], split=s).runs[0] for s in ("val", "test"))  # type: ignore[arg-type]
    assert test.values["auroc"] == pytest.approx(0.1)
    assert val.values["auroc"] == end.values["auroc"]
    assert val.values["ema_loss"] == 0.2


def test_a_run_is_read_as_training_writes_it(tmp_path: Path) -> None:
    folder = train(small_run(write_stores(tmp_path, 3), tmp_path / "run"))
    sweep = read_sweep([tmp_path])
    (run,) = sweep.runs
    result = json.loads((folder / "training.json").read_text())
    assert (run.databases, run.budget, run.seed) == (2, "6 steps", 0)
    assert run.tokens == result["tokens"]
    assert run.values["loss"] == result["heldout"]["loss"]["end"]
    assert (sweep.unfinished, sweep.notes, sweep.synthetic) == ((), (), True)


def test_the_number_of_databases_is_that_of_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "all", 12, 1_000_000, data__num_dbs=None)
    (run,) = read_sweep([folder]).runs
    assert (run.databases, run.tokens, run.budget) == (12, 1_000_007, "1000000 tokens")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"optim__lr": 0.02}, r"a has optim.lr = 0.01 but \S*b has 0.02"),
        ({"model__num_blocks": 2}, r"model.num_blocks = 1 but \S*b has 2"),
        ({"optim__ema_decay": 0.9}, r"optim.ema_decay = None but"),
    ],
)
def test_runs_that_differ_elsewhere_are_refused_unless_mixed(
    tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    write_run(tmp_path / "a", 8, 1_000_000)
    write_run(tmp_path / "b", 16, 2_000_000, seed=1, **change)
    with pytest.raises(InputError, match=line):
        read_sweep([tmp_path])
    mixed = read_sweep([tmp_path], mixed=True)
    assert len(mixed.runs) == 2
    assert any(next(iter(change)).replace("__", ".") in note for note in mixed.notes)


def test_keys_that_decide_no_value_may_differ(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 8, 1_000_000)
    free = {"data__num_workers": 3, "logger__every": 7, "trainer__eval_every": 99}
    write_run(tmp_path / "b", 16, 2_000_000, **free)
    assert len(read_sweep([tmp_path]).runs) == 2
    with pytest.raises(InputError, match="eval_every"):
        read_sweep([tmp_path], loss="best")
    scores = {"val": {"best": {"mean": {"auroc": 0.7}}}}
    write_run(tmp_path / "b", 16, 2_000_000, result={"scores": scores}, **free)
    with pytest.raises(InputError, match="eval_every"):
        read_sweep([tmp_path])


def test_runs_that_measured_on_other_databases_or_tasks_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 8, 1_000_000)
    facts = json.loads((write_run(tmp_path / "b", 8, 1_000_000, 1) / "run.json").read_text())
    facts["databases"]["heldout"] = ["db-1000"]
    (tmp_path / "b" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="held-out databases = "):
        read_sweep([tmp_path])
    for name, task in (("c", "x/y"), ("d", "x/z")):
        scores = {"val": {"best": {"mean": {"auroc": 0.7}, "tasks": {task: {"auroc": 0.7}}}}}
        write_run(tmp_path / "scores" / name, 8, 1_000_000, result={"scores": scores})
    write_run(tmp_path / "scores" / "none", 8, 1_000_000)
    with pytest.raises(InputError, match=r"real tasks = \['x/y'\] but"):
        read_sweep([tmp_path / "scores"])
    assert len(read_sweep([tmp_path / "scores"], scored=False).runs) == 3


def test_runs_that_stopped_early_or_repeat_another_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 8, 1_000_000)
    write_run(tmp_path / "b", 8, 1_000_000, result={"stopped_early": True})
    notes = read_sweep([tmp_path]).notes
    assert any("1 run stopped early" in note for note in notes)
    assert any("repeat N, budget and seed" in note for note in notes)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["{empty}"], "no run in"),
        (["{unfinished}"], r"no finished run in \S* \(1 unfinished run\)"),
        (["{runs}", "--metric", "ema_loss"], "--metric ema_loss: no finished run has it"),
        (["{runs}", "--resamples", "5"], "--resamples must be 100 or more"),
        (["{runs}", "--confidence", "95"], "--confidence must lie between 0 and 1"),
        (["{runs}", "--huber", "0"], "--huber must be above 0"),
        (["{runs}", "--metric", "accuracy"], "invalid choice"),
        (["{runs}", "--out", "{runs}/a/run.json"], "is a file, not a folder"),
        (["{cut}"], "training.json can't be read"),
        (["{other}"], "run.json names no databases"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    places = {name: tmp_path / name for name in ("empty", "unfinished", "runs", "cut", "other")}
    places["empty"].mkdir()
    write_run(places["unfinished"] / "a", 8, 1_000_000, finished=False)
    for name in ("runs", "cut", "other"):
        write_run(places[name] / "a", 8, 1_000_000)
    (places["cut"] / "a" / "training.json").write_text('{"tokens": 1')
    (places["other"] / "a" / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=line):
        script(monkeypatch, *(word.format(**places) for word in words))
