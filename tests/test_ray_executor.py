"""The same corpus through Ray, on a small cluster of this machine."""

import sys
from pathlib import Path

import pytest

from plurel.config import Config
from plurel.corpus import generate_corpus
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError

CONFIG = Config().overridden(
    [
        "database_params.num_tables_choices={kind: range, value: [2, 4]}",
        "database_params.num_rows_entity_table_choices={kind: range, value: [20, 40]}",
        "database_params.num_rows_activity_table_choices={kind: range, value: [100, 200]}",
        "database_params.num_cols_choices={kind: range, value: [2, 5]}",
    ]
)


def listing(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_the_same_bytes_and_one_failing_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="Ray (extra ray) is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray" / "rel-synthetic-3").mkdir(parents=True)
    (tmp_path / "ray" / "rel-synthetic-3" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)  # a relative path is the same place for every process
    report = generate_corpus(range(2, 6), CONFIG, "ray", num_proc=2, executor="ray")
    assert sorted(report.generated) == [2, 4, 5]
    assert list(report.failed) == [3]
    assert report.failed[3].startswith("InputError: ")
    assert "holds no manifest.yaml" in report.failed[3]
    assert "generate: 100%" in capfd.readouterr().err
    (tmp_path / "ray" / "rel-synthetic-3" / "notes.txt").unlink()
    (tmp_path / "ray" / "rel-synthetic-3").rmdir()
    folders = {seed: tmp_path / "here" / f"rel-synthetic-{seed}" for seed in (5, 4, 2)}
    rows = sum(SyntheticDataset(seed, CONFIG).save(path) for seed, path in folders.items())
    assert report.num_rows == rows
    assert listing(tmp_path / "ray") == listing(tmp_path / "here")


def test_an_address_without_a_cluster_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray (extra ray) is not installed")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=f"RAY_ADDRESS={address}: no Ray cluster there"):
            generate_corpus([2], CONFIG, tmp_path, executor="ray")


def test_nothing_to_do_starts_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    SyntheticDataset(2, CONFIG).save(tmp_path / "rel-synthetic-2")
    assert generate_corpus([2], CONFIG, tmp_path, executor="ray").skipped == [2]


def test_ray_that_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray, which is missing; run: pip install 'plurel"):
        generate_corpus([2], CONFIG, tmp_path, executor="ray")
    assert list(tmp_path.iterdir()) == []
