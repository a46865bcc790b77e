"""Stores of real databases against their parquet files."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from opened_store import Opened
from raw_folders import shared_folder

from rt import store
from rt.relbench_folder import label_table, open_dataset, open_task
from rt.store import Z_CLIP, preprocess

DATABASES = ["adventureworks", "bicycles-meta", "chinook", "mimic-iii-demo", "northwind",
             "online-retail", "rel-f1", "sakila", "sf-restaurants", "survivor", "tate", "un-votes",
             "us-congress", "us-polls", "worldcup"]  # fmt: skip


@pytest.mark.parametrize("name", DATABASES)
def test_every_database_goes_in_with_the_labels_that_relbench_reads(
    tmp_path: Path, name: str
) -> None:
    raw = shared_folder(name)
    pre = preprocess(raw, tmp_path / "pre", embedder="hash", show_progress=False)
    meta, arrays = store.open_meta(pre), store.read_arrays(pre)
    dataset = open_dataset(raw)
    assert meta.report["skipped_tasks"] == {}
    assert [entry["name"] for entry in meta.tasks] == dataset.get_task_names()
    for entry in meta.tasks:
        task = open_task(dataset, entry["name"])
        for split, (start, end) in entry["splits"].items():
            first, last = arrays["cell_ptr"][[start, end]]
            cells = arrays["cell_column"][first:last] == entry["column"]
            assert np.count_nonzero(cells) == len(label_table(task, split).df)


def test_f1_matches_its_files(tmp_path: Path) -> None:
    raw = shared_folder("rel-f1")
    found = Opened(preprocess(raw, tmp_path / "pre", embedder="hash", show_progress=False))
    assert sum(t.rows[1] - t.rows[0] for t in found.meta.tables if t.kind == "database") == 97_606
    results = pd.read_parquet(raw / "db" / "results.parquet")
    table = found.meta.tables[found.meta.table("results")]
    source = found.arrays["row_source"][slice(*table.rows)]
    past = results[results["date"] <= "2005-01-01"]["points"]
    column = found.column("results", "points")
    assert (column.mean, column.std) == pytest.approx((past.mean(), past.std(ddof=0)))
    bounds = column.mean - Z_CLIP * column.std, column.mean + Z_CLIP * column.std
    expected = np.clip(results["points"].to_numpy(), *bounds)[source]
    np.testing.assert_allclose(found.values("results", "points"), expected, atol=1e-3)
    keys = ["raceId", "driverId", "constructorId"]
    starts = [
        found.meta.tables[found.meta.table(t)].rows[0] for t in ("races", "drivers", "constructors")
    ]
    links = np.array(found.edges("parent", "results"))
    races = found.arrays["row_source"][links[:, 0]]
    assert (races == results["raceId"].to_numpy()[source]).all()
    assert (links[:, 1:] == (results[keys[1:]].to_numpy() + starts[1:])[source]).all()
    sizes = {t["name"]: [b - a for a, b in t["splits"].values()] for t in found.meta.tasks}
    assert sizes["driver-dnf"] == [11_411, 566, 702]
    assert sizes["driver-position"] == [7_453, 499, 760]


def test_chinook_has_its_self_references_and_labels(tmp_path: Path) -> None:
    raw = shared_folder("chinook")
    found = Opened(preprocess(raw, tmp_path / "pre", embedder="hash", show_progress=False))
    employees = pq.read_table(raw / "db" / "employee.parquet")
    bosses = employees.column("reports_to").to_pylist()
    start = found.meta.tables[found.meta.table("employee")].rows[0]
    assert found.edges("parent", "employee") == [[] if b is None else [start + b] for b in bosses]
    labels = [
        pq.read_table(raw / "tasks" / "customer-spend" / f"{s}.parquet").column("spend")
        for s in ("train", "val", "test")
    ]
    spend = pa.chunked_array([chunk for label in labels for chunk in label.chunks]).to_numpy()
    column = found.column("customer-spend", "spend", "task")
    assert column.mean == pytest.approx(labels[0].to_numpy().mean())
    clipped = np.clip(spend, column.mean - Z_CLIP * column.std, column.mean + Z_CLIP * column.std)
    np.testing.assert_allclose(found.values("customer-spend", "spend", "task"), clipped, atol=1e-4)
    phones = pq.read_table(raw / "db" / "customer.parquet").column("fax")
    assert found.cells("customer", "fax") == phones.to_pylist()
    assert pc.count(phones).as_py() < len(phones)


def test_relbench_makes_missing_labels(tmp_path: Path) -> None:
    raw = shared_folder("chinook")
    copy = tmp_path / "chinook"
    shutil.copytree(raw, copy)
    for path in (copy / "tasks" / "customer-buys").glob("*.parquet"):
        path.unlink()
    with_files, made = (
        Opened(store.write_store(f, tmp_path / n)) for f, n in ((raw, "a"), (copy, "b"))
    )
    for name in ("row_time", "parent_row"):
        assert (with_files.arrays[name] == made.arrays[name]).all()
    assert with_files.cells("customer-buys", "buys", "task") == made.cells(
        "customer-buys", "buys", "task"
    )
