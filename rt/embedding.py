"""The texts of stores embedded: every distinct one once, on all devices, resumed after a kill.

Texts of about equal length share a batch, whose size follows from the memory of its device. Memory
holds the texts, in Arrow's form, and a few batches; vectors go to a file as they come.
"""

import bisect
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from plurel.atomic import complete_file
from plurel.errors import InputError
from plurel.spill import Spill, release
from rt.embedding_file import embeddings_path, open_embeddings
from rt.embedding_parts import Parts, parts_folder
from rt.files import array_file
from rt.meta import FORMAT_VERSION, open_meta
from rt.text import (
    Embedding,
    TextEmbedder,
    embedder_folder,
    embedder_name,
    get_embedder,
    is_named,
    visible_devices,
)
from rt.unpack import ARRAYS_FILE
from rt.work import in_threads

STRINGS = "strings.parquet"
PART_TEXTS, PART_SECONDS = 1 << 17, 60.0
"""A part is kept when it has so many texts or is so old: a kill costs no more than that."""
_CHUNK = 1 << 16


def read_texts(folder: str | Path) -> pa.ChunkedArray:
    """The distinct texts of a store in the order of their numbers."""
    try:
        content = (Path(folder) / STRINGS).read_bytes()
        with safe_open(Path(folder) / ARRAYS_FILE, framework="numpy") as arrays:
            noted = (arrays.metadata() or {}).get("strings_crc32")
        if noted is not None and noted != f"{zlib.crc32(content):08x}":
            raise OSError("its checksum is another: bytes have changed")
        return pq.read_table(pa.BufferReader(content)).column("text")
    except (OSError, SafetensorError, pa.ArrowException) as error:
        raise InputError(
            f"{folder}: missing or unreadable {STRINGS} ({error}); preprocess again"
        ) from None


def check_embedder(folders: Iterable[str | Path], spec: str, *, overwrite: bool = False) -> None:
    """InputError, before stores are made, if they will need an embedder that can't be had."""
    name = embedder_name(spec)
    if overwrite or any(open_embeddings(folder, name) is None for folder in folders):
        embedder_folder(spec)


def embed_stores(
    folders: Sequence[str | Path],
    spec: str,
    *,
    devices: Sequence[str] | None = None,
    replicas: Sequence[TextEmbedder] = (),
    show_progress: bool = True,
) -> None:
    """Add text.<embedder>.safetensors to the stores that lack it.

    devices: one thread and one copy of the model each; None: all visible GPUs, or the CPU.
    replicas: the copies, where they are loaded already, in place of devices.
    InputError if a store has embeddings of another model of the same name.
    """
    name = embedder_name(spec)
    stores = [Path(folder) for folder in folders]
    missing = [store for store in stores if not _embedded(store, name)]
    for store in set(stores) - set(missing):
        shutil.rmtree(parts_folder(store, name), ignore_errors=True)  # of a run killed at its end
    if not missing and is_named(spec):
        return
    devices = [] if replicas else devices or visible_devices(spec)
    replicas = replicas or [get_embedder(spec, devices[0])]
    for store in stores:
        found = open_embeddings(store, name)
        if store not in missing and found and found.fingerprint != replicas[0].fingerprint:
            raise InputError(
                f"{found.path}: comes from another model named '{name}' than {spec}; rename the "
                "model's folder, or remove the file"
            )
    if missing:
        others = [get_embedder(spec, device) for device in devices[1:]]
        _embed(missing, [*replicas, *others], show_progress)


def _embedded(store: Path, name: str) -> bool:
    found = open_embeddings(store, name)
    return (
        found is not None
        and found.fingerprint is not None
        and found.rows == open_meta(store).num_texts
    )


def _embed(stores: Sequence[Path], replicas: Sequence[TextEmbedder], show_progress: bool) -> None:
    texts, numbers = _distinct([read_texts(store) for store in stores])
    embedder = replicas[0]
    with Parts(parts_folder(stores[0], embedder.name), embedder) as parts:
        size = len(texts), embedder.dimension
        vectors = Spill(parts.folder).empty(size[0] * size[1], np.float16).reshape(size)
        embed_texts(replicas, texts, vectors, parts, show_progress=show_progress)
        # the store with the parts comes last: killed before, the next run finds them
        for store, index in reversed(list(zip(stores, numbers, strict=True))):
            _write(store, embedder, vectors, index)


def _distinct(columns: Sequence[pa.ChunkedArray]) -> tuple[pa.Array, list[NDArray[np.int32]]]:
    """The distinct texts of all columns, and for each column their numbers. The texts of one store
    are distinct."""
    if len(columns) == 1:
        whole = pa.concat_arrays(columns[0].chunks or [pa.array([], pa.large_string())])
        return whole, [np.arange(len(whole), dtype=np.int32)]
    every = pa.chunked_array([chunk for column in columns for chunk in column.chunks])
    encoded = every.dictionary_encode().unify_dictionaries().combine_chunks()
    ends = np.cumsum([len(column) for column in columns])
    return encoded.dictionary, np.split(encoded.indices.to_numpy(), ends[:-1])


def _write(
    store: Path, embedder: TextEmbedder, vectors: Embedding, index: NDArray[np.int32]
) -> None:
    facts = {
        "format_version": str(FORMAT_VERSION),
        "embedder": embedder.name,
        "fingerprint": embedder.fingerprint,
    }
    shapes = {"embedding": ("float16", (len(index), embedder.dimension))}
    with (
        complete_file(embeddings_path(store, embedder.name)) as path,
        array_file(path, shapes, facts) as file,
    ):
        for chunk in _chosen(vectors, index):
            file.append("embedding", chunk)


def _chosen(vectors: Embedding, index: NDArray[np.int32]) -> Iterator[Embedding]:
    """vectors[index], a chunk at a time."""
    for start in range(0, len(index), _CHUNK):
        yield vectors[index[start : start + _CHUNK]]
        release()


def embed_texts(
    replicas: Sequence[TextEmbedder],
    texts: pa.Array,
    vectors: Embedding,
    parts: Parts,
    *,
    show_progress: bool = True,
) -> None:
    """Fill `vectors` [n, dimension] for n distinct texts; `parts` has what was done before, and
    gets what is done now."""
    done = parts.load(texts, vectors)
    batches = make_batches(texts, np.flatnonzero(~done), replicas[0])
    pending: list[NDArray[np.int64]] = []
    saved = time.monotonic()
    bar = tqdm(
        total=len(texts),
        initial=int(done.sum()),
        desc=f"embed ({replicas[0].name})",
        unit="text",
        disable=not show_progress,
    )
    with bar:
        try:
            for batch, result in _in_parallel(replicas, texts, batches):
                vectors[batch] = result
                pending.append(batch)
                bar.update(len(batch))
                full = sum(map(len, pending)) >= PART_TEXTS
                if full or time.monotonic() - saved > PART_SECONDS:
                    _save(parts, texts, vectors, pending)
                    saved = time.monotonic()
        except BaseException:
            _save(parts, texts, vectors, pending)
            raise


def _save(
    parts: Parts, texts: pa.Array, vectors: Embedding, pending: list[NDArray[np.int64]]
) -> None:
    """Make a part of the batches that are pending."""
    if pending:
        rows = np.concatenate(pending)
        parts.save(texts.take(pa.array(rows)), vectors[rows])
        pending.clear()
        release()


def make_batches(
    texts: pa.Array, rows: NDArray[np.int64], embedder: TextEmbedder
) -> list[NDArray[np.int64]]:
    """The given texts in batches of about equal length and of `batch_tokens` tokens, padding
    counted; a token is one byte at least. Short and long batches take turns, so that the time that
    is left can be told."""
    lengths = pc.binary_length(texts).to_numpy()[rows]
    order = np.argsort(lengths, kind="stable")
    tokens = np.minimum(lengths[order] + 2, embedder.max_tokens)  # two mark start and end
    batches, start = [], 0
    while start < len(order):
        # the longest text of the first n is the n-th
        fits = bisect.bisect_right(
            range(1, len(order) - start + 1),
            embedder.batch_tokens,
            key=lambda count: count * int(tokens[start + count - 1]),
        )
        end = start + max(1, fits)
        batches.append(rows[order[start:end]])
        start = end
    golden = (np.arange(len(batches)) * 0.6180339887498949) % 1
    return [batches[number] for number in np.argsort(golden, kind="stable")]


def _in_parallel(
    replicas: Sequence[TextEmbedder], texts: pa.Array, batches: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], Embedding]]:
    """Batches with their vectors as they become ready, two under way for each replica."""
    idle: SimpleQueue[TextEmbedder] = SimpleQueue()
    for replica in replicas:
        idle.put(replica)

    def work(batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embedding]:
        replica = idle.get()
        try:
            return batch, replica.embed(texts.take(pa.array(batch)).to_pylist())
        finally:
            idle.put(replica)

    threads = len(replicas)
    return in_threads(work, batches, threads, under_way=2 * threads, in_order=False)
