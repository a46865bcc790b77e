"""Corpora: the same bytes however they are made, interruptions, failures; relbench opens them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import relbench
from raw_folders import listing

import plurel.corpus
from plurel.cli import clean_exit
from plurel.config import Config
from plurel.corpus import Job, _run_processes, generate_corpus, shard
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.folder import is_complete
from plurel.processes import available_cores
from plurel.schema import draw_schema
from scripts.synthetic_gen import main

SCRIPT = Path(__file__).parents[1] / "scripts" / "synthetic_gen.py"
OVERRIDES = [
    "database_params.num_tables_choices={kind: range, value: [2, 4]}",
    "database_params.num_rows_entity_table_choices={kind: range, value: [20, 40]}",
    "database_params.num_rows_activity_table_choices={kind: range, value: [100, 200]}",
    "database_params.num_cols_choices={kind: range, value: [2, 5]}",
]
CONFIG = Config().overridden(OVERRIDES)


def script(out: Path, *arguments: str) -> list[str]:
    sets = [word for override in OVERRIDES for word in ("--set", override)]
    return [sys.executable, str(SCRIPT), "--out", str(out), *sets, *arguments]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 5, 6, 7, written by the script in two processes."""
    out = tmp_path_factory.mktemp("corpus")
    command = script(out, "--seed_offset", "5", "--num_dbs", "3", "--num_proc", "2")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 databases generated" in done.stdout
    assert "rows/s" in done.stderr
    return out


def test_same_bytes_for_any_number_of_processes_and_order(corpus: Path, tmp_path: Path) -> None:
    report = generate_corpus([7, 6, 5], CONFIG, tmp_path, num_proc=1)
    assert sorted(report.generated) == [5, 6, 7]
    assert report.num_rows > 300
    assert listing(tmp_path) == listing(corpus)
    SyntheticDataset(6, CONFIG).save(tmp_path / "here" / "rel-synthetic-6")
    assert listing(tmp_path / "here" / "rel-synthetic-6") == listing(corpus / "rel-synthetic-6")


@pytest.mark.parametrize("count", range(1, 9))
def test_shards_are_the_whole_corpus_and_disjoint(count: int) -> None:
    seeds = range(5, 12)
    shards = [shard(seeds, f"{number}/{count}") for number in range(count)]
    assert sorted(seed for part in shards for seed in part) == list(seeds)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["2/2", "0/0", "1", "-1/2", "a/b", "0/2/3", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"shard '{text}' must be i/n with i from 0 to n - 1"):
        shard(range(9), text)


def test_shards_write_the_same_bytes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CONFIG.to_yaml(tmp_path / "config.yaml")
    out = tmp_path / "out"
    options = ["--seed_offset", "5", "--num_dbs", "3", "--num_proc", "1", "--out", str(out)]
    for part, seeds in (("1/2", {6}), ("0/2", {5, 6, 7})):
        config = ["--config", str(tmp_path / "config.yaml"), "--shard", part]
        monkeypatch.setattr(sys, "argv", ["gen", *options, *config])
        main()
        assert {folder.name for folder in out.iterdir()} == {f"rel-synthetic-{s}" for s in seeds}
    assert listing(out) == listing(corpus)


def test_relbench_opens_them_and_their_tasks_evaluate(corpus: Path) -> None:
    kinds = set()
    for seed in (5, 6, 7):
        dataset = relbench.load_dataset(corpus / f"rel-synthetic-{seed}")
        assert dataset.get_task_names()
        for name in dataset.get_task_names():
            task = dataset.load_task(name)
            rows = len(task.get_table("test").df)
            rng = np.random.default_rng(0)
            scores = task.evaluate(rng.random(rows))
            assert all(np.isfinite(score) for score in scores.values())
            kinds |= set(scores)
    assert kinds == {"roc_auc", "nmae"}


def test_folder_and_dataset_hold_the_same_database(corpus: Path) -> None:
    dataset = SyntheticDataset(5, CONFIG)
    loaded = relbench.load_dataset(corpus / "rel-synthetic-5")
    assert (dataset.val_timestamp, dataset.test_timestamp) == (
        loaded.val_timestamp,
        loaded.test_timestamp,
    )
    ours, theirs = dataset.get_db().table_dict, loaded.get_db().table_dict
    assert list(ours) == list(theirs)
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table.df, theirs[name].df)


def test_tables_follow_their_schema(corpus: Path) -> None:
    for seed in (5, 6, 7):
        tables = SyntheticDataset(seed, CONFIG).make_db().table_dict
        for table in draw_schema(CONFIG, seed).tables:
            frame = tables[table.name].df
            assert frame["row_idx"].tolist() == list(range(table.num_rows))
            for key in table.foreign_keys:
                parents = len(tables[key.parent].df)
                assert frame[key.column].between(0, parents - 1).all()
                assert frame[key.column].dtype == np.int64
            keys = 1 + len(table.foreign_keys) + (table.time_column is not None)
            features = frame.columns[keys:]
            assert set(features) <= {column.name for column in table.columns}
            assert all(frame[column].dtype.kind in "bf" for column in features)
            if table.time_column:
                assert frame["date"].is_monotonic_increasing


def test_cache_dir_is_read_back(tmp_path: Path) -> None:
    config = CONFIG.updated({"cache_dir": str(tmp_path)})
    first = SyntheticDataset(3, config).make_db()
    assert is_complete(tmp_path / "rel-synthetic-3")
    stamp = (tmp_path / "rel-synthetic-3" / "manifest.yaml").stat().st_mtime_ns
    again = SyntheticDataset(3, config).make_db()
    assert (tmp_path / "rel-synthetic-3" / "manifest.yaml").stat().st_mtime_ns == stamp
    plain = SyntheticDataset(3, CONFIG).make_db()
    for name, table in plain.table_dict.items():
        pd.testing.assert_frame_equal(table.df, first.table_dict[name].df)
        pd.testing.assert_frame_equal(table.df, again.table_dict[name].df)


def test_complete_folders_are_skipped_but_never_mixed(corpus: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in corpus.rglob("*")}
    report = generate_corpus([5, 6, 7], CONFIG, corpus)
    assert (report.generated, report.skipped) == ([], [5, 6, 7])
    assert list(report.folders.values()) == [corpus / f"rel-synthetic-{s}" for s in (5, 6, 7)]
    other = CONFIG.overridden(["scm_params.mlp_emb_dim=8"])
    with pytest.raises(InputError, match=r"rel-synthetic-5 was made with another.*overwrite"):
        generate_corpus([4, 5], other, corpus)
    assert {file: file.stat().st_mtime_ns for file in corpus.rglob("*")} == before


def test_a_failing_seed_is_reported_and_not_fatal(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "db-5").mkdir()
    (tmp_path / "db-5" / "notes.txt").write_text("mine")
    report = generate_corpus([5, 6], CONFIG, tmp_path, prefix="db")
    assert report.generated == [6]
    assert list(report.failed) == [5]
    assert "holds no manifest.yaml" in report.failed[5]
    assert is_complete(tmp_path / "db-6")
    assert (tmp_path / "db-5" / "notes.txt").exists()


def test_the_script_ends_with_what_failed(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "rel-synthetic-6").mkdir()
    (tmp_path / "rel-synthetic-6" / "notes.txt").write_text("mine")
    options = ["--seed_offset", "5", "--num_dbs", "3", "--num_proc", "1"]
    monkeypatch.setattr(sys, "argv", script(tmp_path, *options)[1:])
    with pytest.raises(SystemExit) as caught, clean_exit():
        main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert "2 databases generated" in shown.out
    assert "1 failed" in shown.out
    last = shown.err.splitlines()[-1]
    assert last.startswith(f"error: these seeds failed: 6 (seed 6: {tmp_path}")
    assert last.endswith("start again to retry them")
    for seed in (5, 7):
        name = f"rel-synthetic-{seed}"
        assert listing(tmp_path / name) == listing(corpus / name)


class Bomb:
    """Kills the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_dying_process_costs_only_its_own_seed(tmp_path: Path) -> None:
    jobs = {seed: Job(seed, tmp_path / f"db-{seed}", CONFIG) for seed in (2, 3)}
    jobs[2] = Job(2, tmp_path / "db-2", Bomb())  # type: ignore[arg-type]
    outcomes = {job.seed: outcome for job, outcome in _run_processes(jobs, 2)}
    assert isinstance(outcomes[2], RuntimeError)
    assert isinstance(outcomes[3], int)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["db-3"]


def test_a_database_is_made_although_its_process_died_when_it_was_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plurel.corpus._run_pool

    def died_at_the_end(batch: Any, num_proc: int, lost: list[Job]) -> Iterator[Any]:
        monkeypatch.setattr(plurel.corpus, "_run_pool", whole)
        lost.append(batch.popleft())
        plurel.corpus._write(lost[0])
        return iter(())

    monkeypatch.setattr(plurel.corpus, "_run_pool", died_at_the_end)
    jobs = {3: Job(3, tmp_path / "db-3", CONFIG)}
    ((_, outcome),) = _run_processes(jobs, 1)
    assert isinstance(outcome, int)


def test_killed_and_started_again(corpus: Path, tmp_path: Path) -> None:
    command = script(tmp_path, "--seed_offset", "5", "--num_dbs", "3", "--num_proc", "2")
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    # its worker goes with it; what it was writing stays hidden
    for folder in tmp_path.glob("rel-*"):
        assert listing(folder) == listing(corpus / folder.name)
    time.sleep(0.5)
    generate_corpus([5, 6, 7], CONFIG, tmp_path)
    assert listing(tmp_path) == listing(corpus)


def test_stores_without_a_place_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    options = ["--preprocess", "--embedder", "hash", "--pre_out", str(tmp_path / "file" / "pre")]
    monkeypatch.setattr(sys, "argv", script(tmp_path / "out", *options)[1:])
    with pytest.raises(InputError, match="file is a file, not a folder"):
        main()
    assert not (tmp_path / "out").exists()


def test_cores_are_counted_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cores() == (os.cpu_count() or 1)


def test_preprocess_writes_the_stores_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--seed_offset", "6", "--num_proc", "1", "--preprocess", "--embedder", "hash"]
    command = script(corpus, *options, "--pre_out", str(tmp_path / "pre"))
    monkeypatch.setattr(sys, "argv", command[1:])
    main()
    meta = json.loads((tmp_path / "pre" / "rel-synthetic-6" / "meta.json").read_text())
    tables = SyntheticDataset(6, CONFIG).make_db().table_dict
    database = [table for table in meta["tables"] if table["kind"] == "database"]
    assert [table["name"] for table in database] == list(tables)
    sizes = [table["rows"][1] - table["rows"][0] for table in database]
    assert sizes == [len(table.df) for table in tables.values()]
