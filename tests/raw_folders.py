"""Hand-made relbench folders for tests, and where the real ones are."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

SHARED = Path(
    os.environ.get("PLUREL_SHARED_DATA")
    or Path(__file__).resolve().parent.parent.parent / "shared" / "data"
)


def shared_folder(name: str) -> Path:
    """A real database; the test is skipped where it is absent."""
    if not (SHARED / name / "manifest.yaml").is_file():
        pytest.skip(f"no {SHARED / name}: set PLUREL_SHARED_DATA to a folder with {name}")
    return SHARED / name


def listing(path: Path) -> dict[str, bytes]:
    """The bytes of all files under a folder, by relative path."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def write_folder(
    folder: Path,
    tables: dict[str, tuple[dict[str, Any], TableSpec]],
    tasks: dict[str, tuple[TaskManifest, dict[str, dict[str, Any]]]] | None = None,
    val: str = "2020-01-01",
    test: str = "2021-01-01",
) -> Path:
    """tables: columns and manifest entry; tasks: manifest and label columns per split."""
    (folder / "db").mkdir(parents=True)
    for name, (columns, _) in tables.items():
        pq.write_table(pa.table(columns), folder / "db" / f"{name}.parquet")
    specs = {name: spec for name, (_, spec) in tables.items()}
    DatasetManifest(folder.name, val, test, tables=specs).save(folder / "manifest.yaml")
    for name, (manifest, splits) in (tasks or {}).items():
        manifest.save(folder / "tasks" / name / "manifest.yaml")
        for split, labels in splits.items():
            pq.write_table(pa.table(labels), folder / "tasks" / name / f"{split}.parquet")
    return folder


def dates(*days: str | None) -> pa.Array:
    """Timestamps in nanoseconds from ISO strings."""
    return pa.array(days, pa.string()).cast(pa.timestamp("ns"))
