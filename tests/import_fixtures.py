"""Sources for tests of the import, and how an imported folder is compared with another one."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.raw_folders import SHARED


def write_csv(folder: Path, **tables: str) -> Path:
    """A folder of CSV files: per table its lines, separated by spaces."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines.split()) + "\n", encoding="utf-8")
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    """manifest.yaml of a folder."""
    return yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table of a RelBench folder."""
    columns = pq.read_table(folder / "db" / f"{table}.parquet").to_pydict()
    return list(zip(*columns.values(), strict=True))


def column(folder: Path, table: str, name: str) -> list[Any]:
    """One column of a table of a RelBench folder."""
    return pq.read_table(folder / "db" / f"{table}.parquet", columns=[name])[name].to_pylist()


def load_original(name: str, programs: Path, server: str) -> str:
    """The original SQL of a real database on a PostgreSQL server; returns the URL."""
    sql = (SHARED / name / "source.sql").read_text(encoding="utf-8")
    kept = [
        line
        for line in sql.splitlines()
        if not line.startswith(("CREATE DATABASE", "DROP DATABASE", "\\c"))
    ]
    url = server.replace("/postgres?", f"/{name}?")
    psql = [str(programs / "psql"), "-q", "-X"]
    # the scripts name their owner
    before = "DO $$ BEGIN CREATE ROLE postgres; EXCEPTION WHEN duplicate_object THEN END $$"
    subprocess.run([*psql, server, "-c", before], check=True, capture_output=True)
    subprocess.run([*psql, server, "-c", f"CREATE DATABASE {name}"], check=True)
    text = "\n".join(kept)
    done = subprocess.run([*psql, url], input=text, text=True, capture_output=True, check=True)
    assert "ERROR" not in done.stderr.replace("default_with_oids", ""), done.stderr
    return url


def dump_csv(url: str, tables: list[str], folder: Path) -> Path:
    """The tables of a PostgreSQL server as CSV files, without any key."""
    import psycopg

    folder.mkdir()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in tables:
            sql = f'COPY (SELECT * FROM "{table}") TO STDOUT (FORMAT csv, HEADER)'
            with cursor.copy(sql) as copy, (folder / f"{table}.csv").open("wb") as file:
                for block in copy:
                    file.write(block)
    return folder


def comparable(folder: Path, table: str, names: list[str]) -> list[str]:
    """Each row's values of some columns as one text, equal where the values are equal."""
    found = pq.read_table(folder / "db" / f"{table}.parquet", columns=names)
    if not names:
        return [""] * pq.read_metadata(folder / "db" / f"{table}.parquet").num_rows
    texts = [_texts(found.column(name)) for name in names]
    return ["|".join(values) for values in zip(*texts, strict=True)]


def _texts(array: pa.ChunkedArray) -> list[str]:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us"))
    values = array.to_pylist()
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        return ["" if v is None or v != v else f"{np.float32(v):.6g}" for v in values]
    return ["" if value is None else str(value) for value in values]


def shared_columns(first: Path, second: Path, table: str) -> list[str]:
    """Columns of both folders that are no keys."""
    names = []
    for folder in (first, second):
        spec = manifest(folder)["tables"][table]
        schema = pq.read_schema(folder / "db" / f"{table}.parquet")
        keys = {spec["pkey"], *spec["fkeys"]}
        names.append([name for name in schema.names if name not in keys])
    return [name for name in names[0] if name in names[1]]


def linked(folder: Path, table: str, key: str, values: dict[str, list[str]]) -> Counter[str]:
    """Each row beside the one that its foreign key references, by their values."""
    parents = values[manifest(folder)["tables"][table]["fkeys"][key]]
    found = zip(values[table], column(folder, table, key), strict=True)
    return Counter(f"{row} -> {None if n is None else parents[int(n)]}" for row, n in found)
