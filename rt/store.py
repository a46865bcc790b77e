"""The store: a relbench folder turned into arrays that the sampler maps into memory.

A store folder holds

- `store.safetensors`, R rows, E foreign-key references, all arrays of one dimension:
  time_value i64[T]: the distinct times of rows, rising, in seconds since 1970 UTC, fractions
  rounded up; row_rank u32[R]: the place of each row's time in it, counted from 1, 0 for rows
  without a time;
  parent_row u32: for each row of a table its `num_parents` places, one a foreign key, with the
  parent's row or `rustler.NO_ROW`;
  child_ptr u32: for each table that is referenced `num_children` times, not 0, rows + 1 pointers
  from 0 to that number into its part of child_row u32[E] and child_rank u32[E]: the children of
  each row and their ranks, sorted by (rank, row), so those without a time come first;
  records u8, record_ptr u64, dictionary u32: the cells, row after row (see `rt.records`): for each
  table `record_bytes` bytes of records and, if it is packed, rows + 1 pointers from 0 to that
  number; for each column with a dictionary its distinct values; 4 zeros end the records;
  row_source u32[R]: position of the row in its parquet file (rows of a table stand in order of
  time in the store, rows without a time last; equal times keep the file's order).
  A value has 32 bits: a float32 (normalised number, datetime, boolean) or, for text columns, a text
  number. The header's metadata has {"format_version": "<n>", "crc32": of the data, "meta_crc32" and
  "strings_crc32": of the other two files}, which readers compare. What belongs to a table stands
  behind what belongs to the tables before it.
- `meta.json`: {"format_version", "name", "val_timestamp", "test_timestamp" (seconds),
  "num_rows", "num_cells", "num_edges", "num_texts",
  "tables": [{"name", "kind": "database" | "task", "rows": [start, end], "primary_key",
     "time_column", "foreign_keys": [{"column", "parent": table number, "name_text": text number
     of the string "<column> of <table>"}], "columns": [start, end],
     "splits": {"train": [start, end], "val", "test"}, "num_parents", "num_children",
     "record_bytes", "packed"}],
  "columns": [{"name", "table", "type", "mean", "std", "fitted_on", "name_text": text number of the
     string "<column> of <table>", "train_varies": whether train rows hold different values,
     "width", "optional", "dictionary"}],
  "tasks": [{"name", "kind", "task_type", "table", "column", "entity_table", "entity_column",
     "horizon": seconds or null, "splits": {"train": [start, end], "val", "test"},
     "hidden_columns": [column numbers], "hidden_keys": [[table number, place of a foreign key]],
     "description",
     "num_classes", "classes": for multiclass tasks the number of distinct labels of the train split
     and the most frequent CLASS_LIMIT of them as [label, text number], the most frequent first,
     equally frequent ones in the order of their text; null for other tasks}],
  "z_clip", "report": {...counts of dangling keys, skipped tasks and the like},
  "provenance": {...hash of the input, version and settings}}
- `strings.parquet`: column `text`, T distinct strings in order of their numbers, no nulls; a number
  is a name only: a model sees the embedding;
- `text.<embedder>.safetensors`: `embedding` f16[T, d_text], one file an embedder; its metadata
  names the embedder and its `fingerprint` (see `rt.embedding_file`). While a run embeds, its
  finished parts stand in `.text.<embedder>.parts/` of its first store (see `rt.embedding_parts`).

The rows of a table are one contiguous range, tables in the order of meta["tables"]; database
tables first, then one table a task with label files: its rows are the label rows of train, val
and test in this order (each split a contiguous range), its columns the label's time and target,
its one parent the entity row. An autocomplete task has no table of its own: its targets are the
cells of a database column; its splits are the ranges of rows with time <= val_timestamp, <=
test_timestamp and later (RelBench's own rule), for a table without a time column the first 80 %,
the next 10 % and the last 10 % of the rows.
Null cells are absent (NaN and infinite numbers are null). Key columns are no cells.

A normalised value is (value - mean) / std, computed in float64 from the distance to a value of the
column (so that 2**62 + 1 and 2**62 + 2 differ), cut at +-z_clip: per column fitted on rows with
time <= val_timestamp and rows without a time, which are visible always (tables without a time
column: all rows), labels and the targets of such tables on the train split; datetimes (in seconds)
by one fit over the datetime cells of all such rows of all tables. A boolean's normalised value is
positive exactly if it is true. A constant column has std 1, a constant boolean mean and std 0.5.
"""

import zlib
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import plurel
import rustler
from plurel.atomic import check_writable, new_folder
from plurel.errors import InputError
from plurel.processes import one_thread_each, worker_pool
from plurel.spill import Spill
from rt.config import require
from rt.embedding import STRINGS, check_embedder, embed_stores, read_texts
from rt.files import array_file
from rt.meta import (
    CLASS_LIMIT,
    FORMAT_VERSION,
    META,
    NO_TIME,
    TEXT_LIMIT,
    Z_CLIP,
    StoreMeta,
    open_meta,
    preprocess_command,
)
from rt.raw import RawDatabase, input_hash, naming, read_database
from rt.text import DEFAULT_EMBEDDER
from rt.tokenise import tokenise
from rt.unpack import ARRAYS_FILE, read_arrays
from rt.work import Progress, Work, default_threads

__all__ = [
    "NO_TIME",
    "TEXT_LIMIT",
    "Z_CLIP",
    "StoreMeta",
    "embed_stores",
    "open_meta",
    "preprocess",
    "preprocess_many",
    "read_arrays",
    "read_texts",
    "tokenise_many",
    "write_store",
]


def preprocess(
    raw_folder: str | Path,
    out_folder: str | Path,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Path:
    """Turn a relbench folder into a store folder with the embeddings of its texts.

    A store of the same input is kept, and only what is missing is added. One of other input, of
    another format version or cut short raises InputError unless `overwrite`.
    """
    check_embedder([out_folder], embedder, overwrite=overwrite)
    out = write_store(
        Path(raw_folder), Path(out_folder), overwrite=overwrite, show_progress=show_progress
    )
    embed_stores([out], embedder, show_progress=show_progress)
    return out


def preprocess_many(
    raw_folders: Sequence[str | Path],
    out_root: str | Path,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    overwrite: bool = False,
    num_proc: int = 1,
    show_progress: bool = True,
) -> list[Path]:
    """`preprocess` for many databases: tokenised in `num_proc` processes, then the union of their
    texts embedded once. Store folders are named like the raw folders."""
    outs = [Path(out_root) / Path(folder).resolve().name for folder in raw_folders]
    check_embedder(outs, embedder, overwrite=overwrite)
    stores = tokenise_many(
        raw_folders, out_root, overwrite=overwrite, num_proc=num_proc, show_progress=show_progress
    )
    embed_stores(stores, embedder, show_progress=show_progress)
    return stores


def tokenise_many(
    raw_folders: Sequence[str | Path],
    out_root: str | Path,
    *,
    overwrite: bool = False,
    num_proc: int = 1,
    show_progress: bool = True,
) -> list[Path]:
    """The stores of many databases without embeddings, in the order of `raw_folders`."""
    require(num_proc >= 1, "num_proc", "at least 1", num_proc)
    check_writable(out_root)
    raw = [Path(folder).resolve() for folder in raw_folders]
    outs = [Path(out_root) / folder.name for folder in raw]
    for i, out in enumerate(outs):
        if out in outs[:i]:
            raise InputError(f"{raw[i]}: another database is named '{out.name}'; rename one")
    hide = not show_progress or len(raw) == 1  # one database has a bar of its own
    bar = partial(tqdm, total=len(raw), desc="tokenise", unit="db", disable=hide)
    if num_proc == 1 or len(raw) <= 1:
        work = partial(write_store, overwrite=overwrite, show_progress=show_progress)
        return list(bar(map(work, raw, outs)))
    work = partial(write_store, overwrite=overwrite, threads=max(1, default_threads() // num_proc))
    with one_thread_each(), worker_pool(min(num_proc, len(raw)), "rt.tokenise") as pool:
        try:
            return list(bar(pool.map(work, raw, outs)))
        except BrokenProcessPool:
            raise InputError(
                "a process died while tokenising: is there enough memory? give a smaller num_proc"
            ) from None


def write_store(
    raw_folder: Path,
    out_folder: Path,
    *,
    overwrite: bool = False,
    threads: int | None = None,
    show_progress: bool = False,
) -> Path:
    """Tokenise one database into `out_folder`, unless the same store is there already.

    Large arrays wait in files beside it, which have no name and are gone when this ends.
    """
    database = read_database(raw_folder)
    provenance = _provenance(raw_folder)
    if out_folder.exists() and _keep(raw_folder, out_folder, provenance, overwrite):
        return out_folder
    work = Work(
        threads or default_threads(),
        Spill(out_folder.absolute().parent),
        Progress(database.name, show_progress),
    )
    with closing(work.progress), naming(raw_folder):
        _write(database, provenance, out_folder, work)
    return out_folder


def _write(database: RawDatabase, provenance: dict[str, Any], out_folder: Path, work: Work) -> None:
    tokens = tokenise(database, provenance, work)
    with new_folder(out_folder, marker=META, overwrite=True) as folder:
        pq.write_table(pa.table({"text": tokens.texts}), folder / STRINGS)
        meta = tokens.meta.to_json() + "\n"
        facts = {
            "format_version": str(FORMAT_VERSION),
            "meta_crc32": f"{zlib.crc32(meta.encode()):08x}",
            "strings_crc32": f"{rustler.checksum(folder / STRINGS, 0):08x}",
        }
        with array_file(folder / ARRAYS_FILE, tokens.shapes, facts) as arrays:
            for name, piece in tokens.pieces:
                arrays.append(name, piece)
        (folder / META).write_text(meta, encoding="utf-8")


def _keep(raw_folder: Path, out_folder: Path, provenance: dict[str, Any], overwrite: bool) -> bool:
    """Whether a store that is there can stay; InputError if it is neither kept nor replaced."""
    empty = out_folder.is_dir() and not any(out_folder.iterdir())
    if empty:
        return False
    if not (out_folder / META).is_file():
        raise InputError(f"{out_folder}: is there and is not a store; choose another folder")
    if overwrite:
        return False
    advice = f"make it again by {preprocess_command(raw_folder, out_folder, overwrite=True)}"
    try:
        meta = open_meta(out_folder)
        rustler.Store(out_folder)  # checks every array
        texts = pq.read_metadata(out_folder / STRINGS).num_rows
    except (InputError, rustler.RustlerError, OSError, pa.ArrowException) as error:
        raise InputError(f"{out_folder}: holds no complete store ({error}); {advice}") from None
    if texts != meta.num_texts:
        raise InputError(f"{out_folder}: holds no complete store; {advice}")
    if meta.provenance != provenance:
        raise InputError(
            f"{out_folder}: was made from other input or by another version; {advice}, or choose "
            "another folder if it is another database's of the same name"
        )
    return True


def _provenance(raw_folder: Path) -> dict[str, Any]:
    """What a store is a function of: the content of every input file, and the program."""
    return {
        "inputs": input_hash(raw_folder),
        "version": plurel.__version__,
        "z_clip": Z_CLIP,
        "text_limit": TEXT_LIMIT,
        "class_limit": CLASS_LIMIT,
    }
