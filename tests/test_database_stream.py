"""Databases generated while a run trains: which ones a step has, and that nothing else changes."""

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from small_stores import records, small_config
from test_continue import state_of, stopped_in

import rt.database_stream
from plurel.config import Config
from plurel.corpus import generate_corpus
from plurel.errors import InputError
from rt import checkpoint
from rt.config import from_dict
from rt.corpus import DataConfig, build_sampler, open_corpus
from rt.data import Batch
from rt.database_stream import DatabaseStream, GenerateConfig
from rt.defining.drawn import draw_tasks
from rt.generate import MADE
from rt.loader import BatchStream
from rt.logs import read_metrics
from rt.meta import META
from rt.store import preprocess_many
from rt.train import run
from rt.train_config import TrainConfig

NUM_DBS, HELDOUT, EVERY, REPLACED = 3, 1, 2, 2


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt.plots.plot_losses", lambda *_, **__: None)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of the generator for databases that take no time."""
    file = tmp_path_factory.mktemp("generator") / "small.yaml"
    sizes = [
        "database_params.num_tables_choices=3",
        "database_params.num_rows_entity_table_choices=60",
        "database_params.num_rows_activity_table_choices=300",
    ]
    Config.load("lifelike").overridden(sizes).to_yaml(file)
    return file


def config(generator: Path, run_dir: Path, **trainer: Any) -> TrainConfig:
    """A run of 6 steps: windows of the seeds 1-3, 3-5 and 5-7, seed 0 held out."""
    values = small_config(run_dir, run_dir)
    values["data"] |= {
        "root": [],
        "tasks": "both",
        "num_dbs": NUM_DBS,
        "generate": {
            "config": str(generator),
            "prefix": "fresh",
            "forecasts": 1,
            "every": EVERY,
            "replaced": REPLACED,
        },
    }
    values["trainer"] |= trainer
    return from_dict(TrainConfig, values)


Batches = dict[int, dict[str, bytes]]


def arrays(batch: Batch) -> dict[str, bytes]:
    """Contents of a batch."""
    names = ("target_row", "context_task", "context_store", "value", "text_embedding")
    return {name: getattr(batch, name).numpy().tobytes() for name in names}


@pytest.fixture(scope="module")
def finished(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Batches]:
    """A finished run that was never stopped, and the batches of its steps."""
    seen: Batches = {}
    item = BatchStream.item

    def noted(self: BatchStream, number: int) -> Batch:
        batch = item(self, number)
        seen[number] = arrays(batch)
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchStream, "item", noted)
        patch.setattr("rt.plots.plot_losses", lambda *_, **__: None)
        folder = run(config(generator, tmp_path_factory.mktemp("finished") / "run"))
    return folder, seen


@pytest.fixture(scope="module")
def stores(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The stores of the seeds 0-7 by the commands that make a corpus, in the order of the seeds."""
    root = tmp_path_factory.mktemp("corpus")
    report = generate_corpus(range(8), Config.from_yaml(generator), root / "raw", prefix="fresh")
    raw = [report.folders[seed] for seed in range(8)]
    for folder in raw:
        draw_tasks(folder, 1)
    return preprocess_many(raw, root / "pre", embedder="hash", show_progress=False)


def content(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.iterdir() if file.name != MADE}


def test_the_stores_are_those_of_a_corpus_made_beforehand(
    finished: tuple[Path, Batches], stores: list[Path]
) -> None:
    made = finished[0] / "databases"
    for seed in (0, 5, 6, 7):
        assert content(made / f"fresh-{seed}") == content(stores[seed])


def test_each_step_trains_on_its_window(
    finished: tuple[Path, Batches], stores: list[Path], generator: Path
) -> None:
    _, seen = finished
    settings = config(generator, Path("unused")).data
    assert sorted(seen) == list(range(6))
    for step, window in enumerate(([1, 2, 3],) * 2 + ([3, 4, 5],) * 2 + ([5, 6, 7],) * 2):
        chosen = replace(settings, generate=None, root=tuple(str(stores[s]) for s in window),
                         heldout="rows")  # fmt: skip
        sampler = build_sampler(open_corpus(chosen).train, chosen, seed=0,
                                extra_target_share=chosen.extra_target_share)  # fmt: skip
        assert arrays(Batch.from_arrays(sampler.batch(step))) == seen[step]


def test_the_disk_holds_the_held_out_databases_and_two_windows(
    finished: tuple[Path, Batches],
) -> None:
    # the last window is 5-7; that the next one, 7-9, is made as well shows that it is made ahead
    made = {path.name for path in (finished[0] / "databases").glob("fresh-*")}
    assert {"fresh-0", "fresh-5", "fresh-6", "fresh-7"} <= made
    assert made <= {"fresh-0", *(f"fresh-{seed}" for seed in range(5, 10))}


def test_records_say_how_many_databases_were_seen(finished: tuple[Path, Batches]) -> None:
    folder, _ = finished
    seen = [record["databases"] for record in read_metrics(folder) if "loss" in record]
    assert seen == [3, 3, 5, 5, 7, 7]
    assert json.loads((folder / "training.json").read_text())["databases"] == 7


@pytest.mark.parametrize("step", [2, 3])
def test_a_run_continues_on_an_empty_disk_with_the_same_bits(
    finished: tuple[Path, Batches], generator: Path, tmp_path: Path, step: int
) -> None:
    settings = config(generator, tmp_path / "run")
    with stopped_in(step):
        folder = run(settings)
    assert checkpoint.find_checkpoint(folder).name == f"step_{step}"
    shutil.rmtree(folder / "databases")
    run(settings)
    assert state_of(folder) == state_of(finished[0])
    assert records(folder) == records(finished[0])


def stream(generator: Path, folder: Path, **changes: Any) -> DatabaseStream:
    """A stream like that of `config`, by itself."""
    values = {"config": str(generator), "prefix": "fresh", "every": EVERY, "replaced": REPLACED}
    keys = {name: changes.pop(name) for name in ("main", "stop") if name in changes}
    return DatabaseStream(
        GenerateConfig(**(values | changes)),
        num_dbs=NUM_DBS,
        heldout_dbs=HELDOUT,
        embedder="hash",
        folder=folder,
        **keys,
    )


def test_a_store_of_another_generator_is_made_anew(generator: Path, tmp_path: Path) -> None:
    with stream(generator, tmp_path) as first:
        assert first.open(0)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob(f"*/{META}")}
    file = tmp_path / "fresh-1" / MADE
    file.write_text(file.read_text().replace('"forecasts": 0', '"forecasts": 9'))
    kept, made = tmp_path / "fresh-2" / META, tmp_path / "fresh-1" / META
    times = [path.stat().st_mtime_ns for path in (kept, made)]
    with stream(generator, tmp_path) as second:
        assert second.open(0)
    assert before
    assert kept.stat().st_mtime_ns == times[0]
    assert made.stat().st_mtime_ns > times[1]
    assert '"forecasts": 0' in file.read_text()


def test_databases_that_gave_way_stay_where_asked_and_strangers_always(
    generator: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "databases" / "fresh-1"
    for keep in (True, False):
        with stream(generator, tmp_path / "databases", keep=keep) as one:
            assert one.open(0)
            assert one.open(EVERY)
        assert stranger.is_dir() == keep
    stranger.mkdir()
    (stranger / "notes.txt").write_text("mine")
    with stream(generator, tmp_path / "databases") as one:
        assert one.open(EVERY)
    assert (stranger / "notes.txt").is_file()


def test_other_ranks_wait_for_the_main_one(generator: Path, tmp_path: Path) -> None:
    opened: list[bool] = []
    with stream(generator, tmp_path, main=False) as other:
        waiting = Thread(target=lambda: opened.append(other.open(0)))
        waiting.start()
        time.sleep(3 * rt.database_stream.POLL_SECONDS)
        assert opened == []
        with stream(generator, tmp_path) as main:
            assert main.open(0)
        waiting.join(timeout=30)
    assert opened == [True]
    assert all((store / MADE).is_file() for store in [*other.window(0), *other.heldout()])


def test_a_signal_ends_the_waiting(generator: Path, tmp_path: Path) -> None:
    stop = ["SIGTERM"]
    for main in (False, True):
        with stream(generator, tmp_path, main=main, stop=stop) as one:
            assert not one.open(0)


def test_a_signal_before_the_first_step_is_said(generator: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SIGTERM came while databases were made: start again"):
        run(config(generator, tmp_path / "run"), ["SIGTERM"])


def test_a_signal_while_databases_are_waited_for_saves(
    generator: Path, finished: tuple[Path, Batches], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[str] = []
    opening = DatabaseStream.open

    def told_at_the_second_window(self: DatabaseStream, step: int) -> bool:
        if step != EVERY:
            return opening(self, step)
        told.append("SIGTERM")
        return False

    settings = config(generator, tmp_path / "run", save_every=100)
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseStream, "open", told_at_the_second_window)
        folder = run(settings, told)
    assert checkpoint.find_checkpoint(folder).name == f"step_{EVERY}"
    run(settings)
    assert records(folder) == records(finished[0])


def test_a_database_that_cannot_be_made_is_named(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fresh-2").mkdir()
    (tmp_path / "fresh-2" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"fresh-2 can't be generated: .*fresh-2"):  # noqa: SIM117
        with stream(generator, tmp_path) as one:
            one.open(0)
    assert (tmp_path / "fresh-2" / "notes.txt").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": ["pre"]}, "data.root must be empty with data.generate"),
        ({"leave_out": ["a"]}, "data.leave_out must be empty with data.generate"),
        ({"heldout": "rows"}, "data.heldout must be databases with data.generate"),
        ({"num_dbs": None}, "data.num_dbs must be a number with data.generate"),
        ({"generate": None, "root": []}, "data.root must be one place or more"),
        ({"generate": {"every": 0}}, "data.generate.every must be 1 or more"),
        ({"generate": {"replaced": 4}}, "data.generate.replaced must be at most data.num_dbs"),
        ({"generate": {"prefix": "a/b"}}, "data.generate.prefix must be a plain name"),
        ({"generate": {"forecast": 1}}, "did you mean data.generate.forecasts"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {"num_dbs": 3, "generate": {"replaced": 1}} | changes
    with pytest.raises(InputError, match=re.escape(message)):
        from_dict(DataConfig, values, "data")


def test_an_unknown_generator_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        stream(Path("nowhere.yaml"), tmp_path / "databases")
    assert not (tmp_path / "databases").exists()
