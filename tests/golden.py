"""Golden databases: three small ones, pinned under tests/data/golden, and what "the same" means.

What is drawn (schema, keys, sizes, dates) is the same on every processor. Computed values differ in
the last bits from one processor to the next, which can move a value across a threshold, a rounding
or a rank; they are compared with a tolerance. Some columns are nothing but last bits: one whose
model is almost constant, standardised or ranked. Renewing finds them by disturbing last bits on
purpose, under each set of instructions that the processor has, and steady.yaml names the others,
whose values are compared.

    python tests/golden.py      # renews the files after a wanted change; else it changes none
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from relbench.base import Database

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.folder import read_provenance, write_folder
from plurel.rng import stream
from plurel.scm import Model
from plurel.spill import Spill

GOLDEN = Path(__file__).parent / "data" / "golden"
SCHEMA_FILE = Path(__file__).parent / "data" / "sql" / "northwind.sql"
RENEW = "if the change is wanted, renew the files: python tests/golden.py"
RTOL, MIN_EQUAL = 1e-3, 0.97
LAST_BITS, TRIALS = 2.0**-20, 4
STEADIER = 0.985
"""What renewing asks for; the room to MIN_EQUAL is for processors."""
STEADY = "steady.yaml"
INSTRUCTIONS = ("plain", "avx2", "avx512")

_SMALL = {
    "num_rows_entity_table_choices": [80, 120],
    "num_rows_activity_table_choices": [200, 300],
}


def _config(preset: str, num_tables: int | None = None, **other: Any) -> Config:
    sizes: dict[str, Any] = {
        name: {"kind": "range", "value": value} for name, value in _SMALL.items()
    }
    if num_tables is not None:
        sizes["num_tables_choices"] = num_tables
    return Config.preset(preset).updated({"database_params": sizes, **other})


DATABASES: dict[str, tuple[int, Config]] = {
    "demo": (28, _config("demo")),
    "default": (25, _config("default", num_tables=6)),
    "northwind": (2, _config("default", schema_file=str(SCHEMA_FILE))),
}
"""Per name its seed and config."""


def pinned_config(config: Config) -> dict[str, Any]:
    """The config as plain data, without the place of this repository."""
    plain = config.to_dict()
    if plain["schema_file"] is not None:
        plain["schema_file"] = Path(plain["schema_file"]).name
    return plain


class _Disturbed:
    """A source of numbers whose last bits are drawn anew."""

    def __init__(self, source: Any, rng: np.random.Generator) -> None:
        self.source, self.rng = source, rng

    def take(self, count: int) -> Any:
        return _disturb(self.source.take(count), self.rng)


def _disturb(values: Any, rng: np.random.Generator) -> Any:
    if values.dtype.kind != "f":
        return values
    return values * (1 + LAST_BITS * rng.integers(-1, 2, len(values))).astype(values.dtype)


@contextmanager
def disturbed(trial: int) -> Iterator[None]:
    """Models inside take and give numbers that are off in the last three bits of float32: what
    another processor does, and a little more."""
    rng = stream(trial, "disturbed")
    propagate, draw_source = Model.propagate, Model._draw_source

    def rough_propagate(model: Model, spill: Spill) -> list[Any]:
        return [_disturb(column, rng) for column in propagate(model, spill)]

    def rough_source(model: Model, *arguments: Any) -> _Disturbed:
        return _Disturbed(draw_source(model, *arguments), rng)

    with (
        mock.patch.object(Model, "propagate", rough_propagate),
        mock.patch.object(Model, "_draw_source", rough_source),
    ):
        yield


def steady_columns(seed: int, config: Config) -> dict[str, list[str]]:
    """Per table the columns that last bits don't decide.

    Raises ValueError if they decide which columns there are: then another seed is needed.
    """
    tables = SyntheticDataset(seed, config).make_db().table_dict
    steady = {name: [str(column) for column in table.df] for name, table in tables.items()}
    for trial in range(TRIALS):
        with disturbed(trial):
            others = SyntheticDataset(seed, config).make_db().table_dict
        for name, table in tables.items():
            one, other = table.df, others[name].df
            if list(one) != list(other):
                raise ValueError(f"seed {seed}: last bits decide the columns of {name}")
            steady[name] = [
                c for c in steady[name] if equal_share(one[c], other[c], exactly=False) > STEADIER
            ]
    return steady


def steady_everywhere(name: str) -> dict[str, list[str]]:
    """What `steady_columns` gives under every set of instructions of this processor."""
    lists = []
    for instructions in INSTRUCTIONS:
        done = subprocess.run(
            [sys.executable, __file__, name],
            env={**os.environ, "RUSTLER_INSTRUCTIONS": instructions},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            lists.append(yaml.safe_load(done.stdout))
        elif "this processor has" in done.stderr:
            print(f"without {instructions}, which this processor lacks", file=sys.stderr)
        else:
            raise RuntimeError(done.stderr)
    first, *others = lists
    return {
        table: [column for column in columns if all(column in other[table] for other in others)]
        for table, columns in first.items()
    }


def renew(name: str) -> None:
    """Write one database, without its tasks, unless what is there is the same."""
    folder, (seed, config) = GOLDEN / name, DATABASES[name]
    steady = steady_everywhere(name)
    if not folder.exists() or differences(folder, seed, config):
        dataset = SyntheticDataset(seed, config)
        write_folder(
            folder,
            database=dataset.make_db(),
            name=folder.name,
            val_timestamp=dataset.val_timestamp,
            test_timestamp=dataset.test_timestamp,
            provenance={"seed": seed, "config": pinned_config(config)},
            declared=dataset.make_schema().declared(),
            overwrite=True,
        )
    (folder / STEADY).write_text(yaml.safe_dump(steady, sort_keys=False), encoding="utf-8")


def differences(folder: Path, seed: int, config: Config) -> list[str]:
    """In what the database of (seed, config) is not that of the folder; empty if in nothing."""
    dataset = SyntheticDataset(seed, config)
    manifest = _yaml(folder / "manifest.yaml")
    found = _different_config(read_provenance(folder) or {}, seed, config)
    for split in ("val", "test"):
        if manifest[f"{split}_timestamp"] != str(getattr(dataset, f"{split}_timestamp")):
            found.append(f"{split}_timestamp")
    declared = dataset.make_schema().declared()
    if declared is not None and _yaml(folder / "declared.yaml") != declared:
        found.append("declared.yaml: types and keys")
    return found + _different_tables(folder, manifest["tables"], dataset.make_db(), declared)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _different_config(provenance: dict[str, Any], seed: int, config: Config) -> list[str]:
    """New fields of the config are no difference: their defaults change nothing."""
    found = [] if provenance["seed"] == seed else ["seed"]
    now = pinned_config(config)
    for name, value in provenance["config"].items():
        group = value if isinstance(value, dict) else {None: value}
        for key, pinned in group.items():
            if (now[name] if key is None else now[name].get(key)) != pinned:
                found.append(f"config {name}.{key}" if key else f"config {name}")
    return found


def _different_tables(
    folder: Path, specs: dict[str, Any], database: Database, declared: dict[str, Any] | None
) -> list[str]:
    tables = database.table_dict
    if list(specs) != list(tables):
        return [f"tables {list(tables)} instead of {list(specs)}"]
    found = []
    steady = _yaml(folder / STEADY)
    for name, spec in specs.items():
        table = tables[name]
        now = {
            "pkey": table.pkey_col,
            "time_col": table.time_col,
            "fkeys": dict(table.fkey_col_to_pkey_table),
        }
        if spec != now:
            found.append(f"{name}: keys {now} instead of {spec}")
            continue
        keys = {table.pkey_col, table.time_col, *spec["fkeys"]}
        if declared is not None:
            keys |= set(declared["tables"][name]["primary_key"])
            for key in declared["tables"][name]["foreign_keys"]:
                keys |= set(key["columns"])
        pinned = pq.read_table(folder / "db" / f"{name}.parquet").to_pandas()
        found += different_columns(name, pinned, _as_stored(table.df), (keys, set(steady[name])))
    return found


def _as_stored(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as it comes back from a parquet file."""
    stored = pa.Table.from_pandas(frame, preserve_index=False)
    return stored.replace_schema_metadata(None).to_pandas()


def different_columns(
    name: str, pinned: pd.DataFrame, frame: pd.DataFrame, keys_and_steady: tuple[set[str], set[str]]
) -> list[str]:
    """Where two tables differ: keys and the time in any cell, steady columns beyond tolerance, any
    column in its type."""
    keys, steady = keys_and_steady
    if len(pinned) != len(frame):
        return [f"{name}: {len(frame)} rows instead of {len(pinned)}"]
    if list(pinned) != list(frame):
        return [f"{name}: columns {list(frame)} instead of {list(pinned)}"]
    found = []
    for column in pinned:
        if pinned[column].dtype != frame[column].dtype:
            kinds = f"{frame[column].dtype} instead of {pinned[column].dtype}"
            found.append(f"{name}.{column}: {kinds}")
        elif column in keys | steady:
            equal = equal_share(pinned[column], frame[column], exactly=column in keys)
            if equal < (1.0 if column in keys else MIN_EQUAL):
                found.append(f"{name}.{column}: {equal:.1%} of the cells agree")
    return found


def equal_share(pinned: "pd.Series[Any]", now: "pd.Series[Any]", *, exactly: bool) -> float:
    """The share of cells that are equal or both missing; numbers within RTOL unless `exactly`."""
    missing = pinned.isna().to_numpy(), now.isna().to_numpy()
    if pinned.dtype.kind == "f" and not exactly:
        one, other = pinned.to_numpy(), now.to_numpy()
        # a value near zero is compared on the scale of its column
        scale = float(np.nanmedian(np.abs(one))) if not missing[0].all() else 0.0
        equal = np.isclose(one, other, rtol=RTOL, atol=RTOL * scale)
    else:
        equal = (pinned == now).fillna(False).to_numpy(dtype=bool)
    return float((np.where(missing[0] | missing[1], missing[0] & missing[1], equal)).mean())


def main() -> None:
    if sys.argv[1:]:  # one of the processes that `steady_everywhere` starts
        print(yaml.safe_dump(steady_columns(*DATABASES[sys.argv[1]]), sort_keys=False))
        return
    for name in DATABASES:
        renew(name)
        folder = GOLDEN / name
        steady = [column for columns in _yaml(folder / STEADY).values() for column in columns]
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder}: {size / 1024:.0f} KiB, {len(steady)} steady columns")


if __name__ == "__main__":
    main()
