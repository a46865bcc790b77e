"""Databases stay what they were: pinned ones, and the same bytes however a folder is made."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from golden import (
    DATABASES,
    GOLDEN,
    RENEW,
    STEADY,
    differences,
    different_columns,
    disturbed,
    equal_share,
)
from raw_folders import listing

from plurel.corpus import generate_corpus
from plurel.dataset import SyntheticDataset

NAMES = sorted(DATABASES)


@pytest.mark.parametrize("name", NAMES)
def test_golden_databases(name: str) -> None:
    found = differences(GOLDEN / name, *DATABASES[name])
    assert not found, f"{name} is not what it was: {'; '.join(found)}; {RENEW}"


@pytest.mark.parametrize("name", NAMES)
def test_last_bits_make_no_difference(name: str) -> None:
    """Another processor's last bits pass, by draws that the choice of columns has not seen."""
    with disturbed(17):
        assert differences(GOLDEN / name, *DATABASES[name]) == []


def test_changes_are_noticed() -> None:
    """Another seed, another default and another model all show."""
    seed, config = DATABASES["demo"]
    assert differences(GOLDEN / "demo", seed + 1, config)
    other = config.overridden(["scm_params.propagation_agg_choices=[sum, max]"])
    found = differences(GOLDEN / "demo", seed, other)
    assert found[0] == "config scm_params.propagation_agg_choices"
    assert any("of the cells agree" in line for line in found)
    links = config.overridden(["scm_params.bi_hsbm_levels_choices=2"])
    assert any("foreign_row_0" in line for line in differences(GOLDEN / "demo", seed, links))


def test_most_columns_are_compared_and_files_are_small() -> None:
    for name in NAMES:
        folder = GOLDEN / name
        steady = yaml.safe_load((folder / STEADY).read_text())
        shapes = {table: pd.read_parquet(folder / "db" / f"{table}.parquet") for table in steady}
        columns = sum(frame.shape[1] for frame in shapes.values())
        assert sum(map(len, steady.values())) > 0.9 * columns
        assert sum(file.stat().st_size for file in folder.rglob("*.*")) < 200_000


def test_what_counts_as_equal() -> None:
    one = pd.Series([1.0, 1e-9, np.nan, 4.0])
    near = pd.Series([1.0005, -1e-9, np.nan, 4.0])
    assert equal_share(one, near, exactly=False) == 1.0
    assert equal_share(one, near, exactly=True) == 0.5
    assert equal_share(one, pd.Series([1.0, 1e-9, 3.0, np.nan]), exactly=False) == 0.5
    assert equal_share(pd.Series(["a", None]), pd.Series(["a", None]), exactly=True) == 1.0
    frame = pd.DataFrame({"key": [1, 2], "value": [0.5, 0.6], "rough": [1.0, 2.0]})
    both = {"key"}, {"key", "value"}
    assert different_columns("t", frame, frame.assign(rough=0.0), both) == []
    assert different_columns("t", frame, frame.assign(rough=0), both) == [
        "t.rough: int64 instead of float64"
    ]
    assert different_columns("t", frame, frame.assign(key=[1, 1]), both) == [
        "t.key: 50.0% of the cells agree"
    ]
    assert len(different_columns("t", frame, frame.assign(value=0.0), both)) == 1
    assert different_columns("t", frame, frame[:1], both) == ["t: 1 rows instead of 2"]


def test_databases_of_sql_have_the_same_bytes_in_any_process_and_order(tmp_path: Path) -> None:
    """Beside the drawn schemas of test_corpus: a parser, texts and sets of names are in play, in
    processes that hash strings by secrets of their own."""
    _, config = DATABASES["northwind"]
    report = generate_corpus([3, 2], config, tmp_path / "two", num_proc=2)
    assert report.failed == {}
    for seed in (2, 3):
        SyntheticDataset(seed, config).save(tmp_path / "one" / f"rel-synthetic-{seed}")
    assert listing(tmp_path / "one") == listing(tmp_path / "two")


def test_a_database_given_up_half_way_leaves_the_samelisting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the second table is made or written, then started again."""
    seed, config = DATABASES["demo"]
    whole, again = tmp_path / "whole" / "db", tmp_path / "again" / "db"
    SyntheticDataset(seed, config).save(whole)
    for function in ("plurel.dataset.finish_table", "plurel.folder.write_parquet"):
        with monkeypatch.context() as patch:
            patch.setattr(function, _stop_at_second(function))
            with pytest.raises(KeyboardInterrupt):
                SyntheticDataset(seed, config).save(again)
        assert not again.exists()
    SyntheticDataset(seed, config).save(again)
    assert listing(again) == listing(whole)
    assert [item.name for item in again.parent.iterdir()] == ["db"]


def _stop_at_second(name: str) -> Callable[..., Any]:
    """The function of this name, interrupted when it is called again."""
    module, _, function = name.rpartition(".")
    real, calls = getattr(importlib.import_module(module), function), []

    def stopping(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    return stopping
