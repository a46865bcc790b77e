"""Forecasts drawn for databases: labels as the line says, the same for the same seed."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import relbench

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.rng import stream
from rt.defining import drawn
from rt.defining.definitions import database_columns
from rt.defining.drawn import draw_tasks
from rt.relbench_folder import open_task
from scripts.draw_tasks import DRAWN, main


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A generated database of three tables."""
    folder = tmp_path_factory.mktemp("raw") / "events"
    changes = {"database_params": {"num_tables_choices": {"kind": "set", "value": [3]}}}
    config = Config.preset("demo").updated(changes)
    config = config.updated({"scm_params": {"popularity_choices": {"kind": "set", "value": [1.0]}}})
    SyntheticDataset(1, config).save(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "events"))


def test_tasks_are_written_and_the_same_for_the_same_seed(folder: Path, tmp_path: Path) -> None:
    first = draw_tasks(folder, 3, seed=5)
    again = draw_tasks(folder, 3, seed=5, overwrite=True)
    assert [t.manifest.name for t in first] == ["drawn-0", "drawn-1", "drawn-2"]
    assert len({task.manifest.sql for task in first}) == 3
    for one, other in zip(first, again, strict=True):
        assert one.manifest == other.manifest
        for split, frame in one.labels.items():
            pd.testing.assert_frame_equal(frame, other.labels[split])
    other = draw_tasks(folder, 3, seed=6, overwrite=True)
    assert [t.manifest.sql for t in other] != [t.manifest.sql for t in first]
    dataset = relbench.load_dataset(folder)
    for task in other:
        table = open_task(dataset, task.manifest.name).get_table("val", mask_input_cols=False)
        assert len(table.df) == len(task.labels["val"])
    (folder / "tasks/drawn-by-me").mkdir()
    draw_tasks(folder, 1, seed=5, overwrite=True)
    names = {path.name for path in (folder / "tasks").iterdir()}
    assert {n for n in names if n.startswith("drawn")} == {"drawn-0", "drawn-by-me"}


def test_tasks_that_are_there_are_told_before_any_is_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_tasks(folder, 1)
    monkeypatch.setattr(drawn, "make_task", lambda *_, **__: pytest.fail("labels were made"))
    with pytest.raises(InputError, match="drawn-0"):
        draw_tasks(folder, 1)


def test_labels_are_what_the_line_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count in a window, counted by hand."""
    database = database_columns(folder)
    way = next(way for way in drawn._ways(database) if len(way.via) == 1)
    window = 200 * 86400
    line = f"count({way.events} via {way.via[0]}, {window} seconds) for {way.entity}"
    monkeypatch.setattr(drawn, "_lines", lambda *_: iter([line]))
    (task,) = draw_tasks(folder, 1)
    events = pd.read_parquet(folder / f"db/{way.events}.parquet")
    time = events[database.keys[way.events].time_column]
    for frame in task.labels.values():
        for row in frame.sample(20, random_state=0).itertuples(index=False):
            seed_time, entity, label = row
            inside = (time > seed_time) & (time <= seed_time + pd.Timedelta(seconds=window))
            assert label == (inside & (events[way.via[0]] == entity)).sum()


def test_lines_ask_many_kinds_of_questions(folder: Path) -> None:
    database = database_columns(folder)
    val = relbench.load_dataset(folder).val_timestamp
    lines = list(drawn._lines(folder, database, val, stream(0), 60))
    assert len(set(lines)) > 50
    for words in ("> 0 for", "mean(", "sum(", "max(", " where ", " if exists("):
        assert any(words in line for line in lines), words


def test_labels_that_teach_nothing_are_not_kept(folder: Path) -> None:
    for task in draw_tasks(folder, 4, seed=1):
        target = task.manifest.target_col
        for split, fewest in drawn.FEWEST.items():
            assert len(task.labels[split]) >= fewest
            assert task.labels[split][target].nunique() > 1
        if task.manifest.task_type == "binary_classification":
            assert 0.05 <= task.labels["train"][target].mean() <= 0.95


def test_a_database_without_times_gives_none(folder: Path) -> None:
    path = folder / "manifest.yaml"
    text = path.read_text()
    assert "time_col: date" in text
    path.write_text(text.replace("time_col: date", "time_col: null"))
    assert drawn._ways(database_columns(folder)) == []
    with pytest.raises(InputError, match="must be 1 or more, not 0"):
        draw_tasks(folder, 0)


def test_the_command_goes_on_and_refuses_another_seed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["draw_tasks.py", str(folder.parent), *arguments])
        main()
        return capsys.readouterr().out

    assert "1 forecast for 1 database" in run("--count", "1")
    stamp = (folder / "tasks/drawn-0/train.parquet").stat().st_mtime_ns
    assert "0 forecasts for 1 database" in run("--count", "1")
    assert (folder / "tasks/drawn-0/train.parquet").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="drawn otherwise: give --overwrite"):
        run("--count", "1", "--seed", "1")
    whole = (folder / DRAWN).read_text()
    (folder / DRAWN).write_text(whole[:5])
    assert "1 forecast for 1 database" in run("--count", "1")
    assert (folder / DRAWN).read_text() == whole
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=str(folder.parent)):
        run()
