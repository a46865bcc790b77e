"""Databases generated while a run trains: which ones a step has, and that nothing else changes."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_stores import records, small_config
from test_continue import state_of, stopped_in

import rt.database_stream
from plurel.config import Config
from plurel.corpus import generate_corpus
from plurel.errors import InputError
from rt import checkpoint
from rt.config import from_dict, to_dict
from rt.corpus import DataConfig, _with_drawn_columns, build_sampler, open_corpus
from rt.data import Batch
from rt.database_stream import DatabaseStream, GenerateConfig
from rt.defining.drawn import draw_tasks
from rt.generate import MADE
from rt.loader import BatchStream
from rt.logs import read_metrics
from rt.makers import Makers
from rt.meta import META
from rt.ranks import Ranks, usable_cores
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
        "columns_drawn": 3,
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
        every = open_corpus(replace(chosen, columns_drawn=None)).train
        databases = _with_drawn_columns(every, chosen, seed=0, window=step // 2)
        assert databases != every
        sampler = build_sampler(databases, chosen, seed=0,
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


def test_a_run_killed_before_its_summary_needs_no_further_databases(
    finished: tuple[Path, Batches], generator: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    opened: list[int] = []

    def noted(self: DatabaseStream, step: int) -> bool:
        opened.append(step)
        return True

    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "training.json").unlink()
    monkeypatch.setattr(DatabaseStream, "open", noted)
    run(config(generator, folder))
    assert opened == [5]
    assert json.loads((folder / "training.json").read_text())["steps"] == 6


def stream(generator: Path, folder: Path, **changes: Any) -> DatabaseStream:
    """A stream like that of `config`, by itself."""
    values = {"config": str(generator), "prefix": "fresh", "every": EVERY, "replaced": REPLACED}
    keys = {name: changes.pop(name) for name in ("ranks", "stop") if name in changes}
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
    stranger, other = (tmp_path / "databases" / name for name in ("fresh-1", "fresh-more-1"))
    for keep in (True, False):
        with stream(generator, tmp_path / "databases", keep=keep) as one:
            assert one.open(0)
            if keep:
                shutil.copytree(stranger, other)
            assert one.open(EVERY)
        assert stranger.is_dir() == keep
        assert other.is_dir()  # of another prefix
    stranger.mkdir()
    (stranger / "notes.txt").write_text("mine")
    with stream(generator, tmp_path / "databases") as one:
        assert one.open(EVERY)
    assert (stranger / "notes.txt").is_file()


def test_a_store_that_cannot_go_yet_ends_nothing(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where the files of one that is still mapped get other names in its folder."""
    for seed in (1, 2, 3):
        (tmp_path / f"fresh-{seed}").mkdir()
        (tmp_path / f"fresh-{seed}" / MADE).touch()

    def not_empty(path: str, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)

    with stream(generator, tmp_path) as one, monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", not_empty)
        one._delete_before(3)
    assert [path.parent.name for path in tmp_path.glob(f"*/{MADE}")] == ["fresh-3"]


def test_databases_that_are_left_out_later_make_no_other_run(
    generator: Path, tmp_path: Path
) -> None:
    with stream(generator, tmp_path) as one, stream(generator, tmp_path, skip=(0, 2)) as other:
        assert one.names() == other.names()
        assert one.names()["heldout"] == ["fresh-0"]
        assert one.names()["train"] == ["fresh-1", "fresh-2", "fresh-3"]
        assert other.heldout() == []
        assert [path.name for path in other.window(0)] == ["fresh-1", "fresh-3"]


def test_a_signal_ends_the_waiting(generator: Path, tmp_path: Path) -> None:
    with stream(generator, tmp_path, stop=["SIGTERM"]) as one:
        assert not one.open(0)


class TwoRanks(Ranks):
    """The main one of two ranks; the other one has this to say: how many databases it does not
    see, its signals, whether something is wrong."""

    says: ClassVar[list[float]]

    def gather(self, values: list[float]) -> torch.Tensor:
        return torch.tensor([values, self.says], dtype=torch.float64)


def test_what_another_rank_says_ends_the_waiting(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rt.database_stream, "GRACE_SECONDS", 1.0)

    def opened(*says: float) -> bool:
        monkeypatch.setattr(TwoRanks, "says", list(says), raising=False)
        with stream(generator, tmp_path, ranks=TwoRanks()) as one:
            return one.open(0)

    assert not opened(4, 1, 0)
    with pytest.raises(InputError, match="rank 0 says why"):
        opened(4, 0, 1)
    with pytest.raises(InputError, match=r"rank 1 does not see .* that all machines share"):
        opened(4, 0, 0)
    assert opened(0, 0, 0)


def test_two_ranks_train_like_one(
    generator: Path, finished: tuple[Path, Batches], tmp_path: Path
) -> None:
    """With workers that prepare batches, and several batches a step."""
    values = to_dict(config(generator, tmp_path / "run", micro_batches=2))
    values["data"] |= {"num_workers": 2}
    values["optim"] = {"lr": 0.01}
    (tmp_path / "config.json").write_text(json.dumps(values))
    program = [str(Path(sys.executable).with_name("torchrun")), "--standalone"]
    command = [*program, "--nproc_per_node=2", str(Path(__file__).with_name("run_config.py"))]
    done = subprocess.run(
        [*command, str(tmp_path / "config.json")], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("loss", "heldout_loss", "databases"):
        one, two = (
            [record[name] for record in read_metrics(folder) if name in record]
            for folder in (finished[0], tmp_path / "run")
        )
        assert two == pytest.approx(one, abs=1e-5)


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


def test_a_database_that_cannot_be_made_can_be_left_out(
    generator: Path, finished: tuple[Path, Batches], tmp_path: Path
) -> None:
    """Seed 5 comes with the second window: the run is saved, and goes on without it."""
    settings = config(generator, tmp_path / "run", save_every=100)
    stranger = tmp_path / "run" / "databases" / "fresh-5"
    stranger.mkdir(parents=True)
    (stranger / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"fresh-5 can't be generated: .*generate.skip=\[5\]"):
        run(settings)
    assert (stranger / "notes.txt").is_file()
    assert checkpoint.find_checkpoint(tmp_path / "run").name == f"step_{EVERY}"
    without = replace(settings.data.generate, skip=(5,))
    run(replace(settings, data=replace(settings.data, generate=without)))
    assert (stranger / "notes.txt").is_file()
    seen = [record["databases"] for record in read_metrics(tmp_path / "run") if "loss" in record]
    assert seen == [3, 3, 4, 4, 6, 6]


def kill(name: int, makers: Makers) -> None:
    for maker in makers._makers:
        with suppress(ProcessLookupError):  # one that has ended is as dead
            os.kill(maker.process.pid, name)


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_dies_is_started_again(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: int
) -> None:
    making = Makers.start
    killed = []

    def killed_once(self: Makers, jobs: Any, processes: int) -> None:
        making(self, jobs, processes)
        if jobs and not killed:
            killed.append(jobs)
            kill(name, self)

    monkeypatch.setattr(Makers, "start", killed_once)
    with stream(generator, tmp_path) as one:
        assert one.open(0)
        # and so is one that has done all that it was given
        killed.clear()
        assert one.open(EVERY)
        time.sleep(0.5)
        assert one.open(2 * EVERY)
    assert all((store / MADE).is_file() for store in one.window(2 * EVERY))


def test_a_process_that_dies_twice_ends_the_run(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = Makers._start

    def killed(self: Makers, jobs: Any) -> None:
        making(self, jobs)
        os.kill(self._makers[-1].process.pid, signal.SIGKILL)

    monkeypatch.setattr(Makers, "_start", killed)
    with (
        stream(generator, tmp_path) as one,
        pytest.raises(InputError, match=r"fresh-\d can't be generated: .*died, twice; is ther"),
    ):
        one.open(0)


def test_nothing_is_left_running(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = []
    making = Makers._start

    def started(self: Makers, jobs: Any) -> None:
        making(self, jobs)
        processes.append(self._makers[-1].process)

    monkeypatch.setattr(Makers, "_start", started)
    before = set(active_children())
    start = time.monotonic()
    with stream(generator, tmp_path, processes=2, replaced=3) as one:
        assert one.open(0)
        first = min(usable_cores(), HELDOUT + NUM_DBS)
        assert len(processes) == first + 2
    assert not any(process.is_alive() for process in processes)
    assert set(active_children()) == before
    assert time.monotonic() - start < 30
    assert not list(tmp_path.glob(".raw/*/*.parquet"))


def test_a_folder_is_one_runs_alone(generator: Path, tmp_path: Path) -> None:
    with stream(generator, tmp_path) as one, stream(generator, tmp_path) as other:
        assert one.open(0)
        with pytest.raises(
            InputError, match=r"another run makes its databases there: give another"
        ):
            other.open(0)


def test_a_run_does_not_go_on_with_another_generator(
    generator: Path, finished: tuple[Path, Batches], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "run", ignore=shutil.ignore_patterns("databases"))
    own = tmp_path / "own.yaml"
    shutil.copy(generator, own)
    run(config(own, tmp_path / "run"))  # the same in another place
    Config.from_yaml(own).overridden(["database_params.num_tables_choices=4"]).to_yaml(own)
    with pytest.raises(InputError, match="a run on other databases"):
        run(config(own, tmp_path / "run"))


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
        ({"generate": {"prefix": ""}}, "data.generate.prefix must be a plain name"),
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
