"""The texts of stores embedded once, on several devices, through interruptions."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Barrier, current_thread

import numpy as np
import pyarrow as pa
import pytest
from opened_store import shop
from raw_folders import write_folder
from relbench.manifest import TableSpec
from safetensors.numpy import load_file, save_file

from plurel.errors import InputError
from rt import embedding
from rt.embedding import check_embedder, embed_stores, make_batches, read_texts
from rt.embedding_file import check_fingerprint, one_fingerprint, open_embeddings
from rt.embedding_parts import Parts, parts_folder
from rt.store import tokenise_many
from rt.text import Embedding, HashEmbedder

WORDS = [f"{'long ' * (i % 7)}text {i}" for i in range(200)]


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Two stores with texts in common."""
    raw = [
        write_folder(tmp_path / name, {"t": ({"word": words}, TableSpec())})
        for name, words in (("a", WORDS[:150]), ("b", WORDS[50:]))
    ]
    return tokenise_many(raw, tmp_path / "pre", show_progress=False)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that pass through the hash embedder, whose batches are small."""
    texts: list[str] = []
    plain = HashEmbedder.embed

    def embed(self: HashEmbedder, batch: Sequence[str]) -> Embedding:
        texts.extend(batch)
        return plain(self, batch)

    monkeypatch.setattr(HashEmbedder, "embed", embed)
    monkeypatch.setattr(HashEmbedder, "batch_tokens", 400)
    monkeypatch.setattr(embedding, "PART_TEXTS", 30)
    return texts


def vectors(store: Path) -> np.ndarray:
    return load_file(store / "text.hash.safetensors")["embedding"]


def check(stores: Sequence[Path]) -> None:
    """Every text has its own vector, and nothing is left of the run."""
    for store in stores:
        assert (vectors(store) == HashEmbedder().embed(read_texts(store).to_pylist())).all()
        names = {"meta.json", "store.safetensors", "strings.parquet", "text.hash.safetensors"}
        assert {path.name for path in store.iterdir()} == names


def every_text(stores: Sequence[Path]) -> set[str]:
    return {text for store in stores for text in read_texts(store).to_pylist()}


def test_each_text_is_embedded_once_for_all_stores(stores: list[Path], embedded: list[str]) -> None:
    embed_stores(stores, "hash", show_progress=False)
    assert sorted(embedded) == sorted(every_text(stores))
    embed_stores(stores, "hash", show_progress=False)
    assert len(embedded) == len(every_text(stores))
    check(stores)


def test_batches_hold_texts_of_like_length_up_to_their_tokens() -> None:
    lengths = np.random.default_rng(1).integers(0, 600, 1000)
    texts = pa.array(["x" * n for n in lengths], pa.large_string())
    rows = np.flatnonzero(lengths != 17)
    batches = make_batches(texts, rows, HashEmbedder())
    assert sorted(np.concatenate(batches)) == rows.tolist()
    spans = sorted((lengths[batch].min(), lengths[batch].max()) for batch in batches)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    sizes = [len(batch) * min(256, lengths[batch].max() + 2) for batch in batches]
    assert max(sizes) <= HashEmbedder.batch_tokens
    assert np.median(sizes) > 0.9 * HashEmbedder.batch_tokens
    # neighbours differ in length, so that the rate stays about the same
    assert {lengths[batch].max() > 256 for batch in batches[:3]} == {True, False}


def test_a_text_that_is_longer_than_a_batch_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HashEmbedder, "batch_tokens", 10)
    batches = make_batches(pa.array(["x" * 90, "", "y" * 90]), np.arange(3), HashEmbedder())
    assert sorted(batch.tolist() for batch in batches) == [[0], [1], [2]]


def test_two_devices_share_the_work(stores: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    together, workers = Barrier(2, timeout=20), set()
    plain = HashEmbedder.embed

    def embed(self: HashEmbedder, batch: Sequence[str]) -> Embedding:
        if current_thread() not in workers:
            workers.add(current_thread())
            replicas.add(id(self))
            together.wait()  # passes only if the other device works at the same time
        return plain(self, batch)

    replicas: set[int] = set()
    monkeypatch.setattr(HashEmbedder, "embed", embed)
    monkeypatch.setattr(HashEmbedder, "batch_tokens", 400)
    embed_stores(stores, "hash", devices=["cpu", "cpu"], show_progress=False)
    assert len(workers) == len(replicas) == 2
    monkeypatch.undo()
    check(stores)


def stop_after(
    count: int, error: BaseException
) -> Callable[[HashEmbedder, Sequence[str]], Embedding]:
    """An `embed` that fails at batch `count`."""
    plain, calls = HashEmbedder.embed, []

    def embed(self: HashEmbedder, batch: Sequence[str]) -> Embedding:
        calls.append(batch)
        if len(calls) > count:
            raise error
        return plain(self, batch)

    return embed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the GPU fell off")])
def test_an_interrupted_run_continues(
    stores: list[Path], embedded: list[str], error: BaseException
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HashEmbedder, "embed", stop_after(7, error))
        with pytest.raises(type(error)):
            embed_stores(stores, "hash", show_progress=False)
    before = list(embedded)
    assert 0 < len(before) < len(every_text(stores))
    assert not any((store / "text.hash.safetensors").exists() for store in stores)
    embed_stores(stores, "hash", show_progress=False)
    assert sorted(embedded) == sorted(every_text(stores))  # none of them twice
    check(stores)


def test_what_was_done_serves_another_choice_of_stores(
    stores: list[Path], embedded: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HashEmbedder, "embed", stop_after(7, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            embed_stores(stores, "hash", show_progress=False)
    embed_stores(stores[:1], "hash", show_progress=False)
    here = every_text(stores[:1])
    assert sorted(text for text in embedded if text in here) == sorted(here)
    check(stores[:1])


KILLED = """
import os, signal, sys
from rt import embedding
from rt.text import HashEmbedder
plain, calls = HashEmbedder.embed, []
def embed(self, batch):
    calls.append(batch)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, batch)
HashEmbedder.embed, HashEmbedder.batch_tokens, embedding.PART_TEXTS = embed, 400, 30
embedding.embed_stores(sys.argv[1:], "hash", show_progress=False)
"""


def test_a_killed_run_continues(stores: list[Path], embedded: list[str]) -> None:
    command = [sys.executable, "-c", KILLED, *map(str, stores)]
    assert subprocess.run(command, timeout=300, check=False).returncode == -signal.SIGKILL
    assert not any((store / "text.hash.safetensors").exists() for store in stores)
    embed_stores(stores, "hash", show_progress=False)
    total = len(every_text(stores))
    assert len(embedded) == len(set(embedded)) < total
    check(stores)


def test_a_run_killed_while_it_writes_has_its_parts_still(
    stores: list[Path], embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = embedding._write

    def stop(store: Path, *rest: object) -> None:
        if store == stores[0]:
            raise KeyboardInterrupt
        write(store, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_stores(stores, "hash", show_progress=False)
    monkeypatch.setattr(embedding, "_write", write)
    done = len(embedded)
    embed_stores(stores, "hash", show_progress=False)
    assert len(embedded) - done <= 30  # what the last part lacked
    check(stores)


def test_parts_of_another_model_and_broken_ones_are_left_out(stores: list[Path]) -> None:
    folder = parts_folder(stores[0], "hash")
    texts = pa.array(["a", "b"], pa.large_string())
    ones = np.ones((2, 64), np.float16)
    other = HashEmbedder()
    other.fingerprint = "other"
    folder.mkdir()
    Parts(folder, other).save(texts, ones)
    (folder / "broken.safetensors").write_bytes(b"\0" * 20)
    with Parts(folder, HashEmbedder()) as parts:
        assert parts.load(texts, ones * 0).tolist() == [False, False]
    assert not folder.exists()


def test_two_processes_do_not_embed_one_store(stores: list[Path]) -> None:
    with (
        Parts(parts_folder(stores[0], "hash"), HashEmbedder()),
        pytest.raises(InputError, match="another process"),
    ):
        embed_stores(stores, "hash", show_progress=False)


def test_no_texts(tmp_path: Path) -> None:
    with Parts(tmp_path / "parts", HashEmbedder()) as parts:
        empty = np.empty((0, 64), np.float16)
        embedding.embed_texts(
            [HashEmbedder()], pa.array([], pa.large_string()), empty, parts, show_progress=False
        )


# Whose embeddings they are


def test_files_of_older_versions_are_made_again(stores: list[Path]) -> None:
    embed_stores(stores, "hash", show_progress=False)
    save_file({"embedding": vectors(stores[0]) * 0}, stores[0] / "text.hash.safetensors")
    embed_stores(stores, "hash", show_progress=False)
    check(stores)


def test_embeddings_of_another_model_of_the_name_are_refused(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "config.json").write_text("{}")
    embed_stores(stores, "hash", show_progress=False)
    other = HashEmbedder()
    other.fingerprint = "other"
    monkeypatch.setattr(embedding, "get_embedder", lambda *arguments: other)
    monkeypatch.setattr(embedding, "visible_devices", lambda spec: ["cpu"])
    with pytest.raises(InputError, match=r"text\.hash.*another model named 'hash'.*rename"):
        embed_stores(stores, str(tmp_path / "hash"), show_progress=False)
    check(stores)


def test_an_embedder_is_looked_for_only_where_stores_need_it(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(spec: str) -> str:
        raise InputError(spec)

    embed_stores(stores, "hash", show_progress=False)
    monkeypatch.setattr(embedding, "embedder_folder", nowhere)
    check_embedder(stores, "hash")
    for folders, overwrite in ((stores, True), ([*stores, tmp_path / "new"], False)):
        with pytest.raises(InputError, match="hash"):
            check_embedder(folders, "hash", overwrite=overwrite)


def test_a_model_knows_its_embedder(stores: list[Path]) -> None:
    assert one_fingerprint(stores, "hash") is None
    check_fingerprint(stores[0], "hash", "other")  # the sampler says that the file is missing
    embed_stores(stores, "hash", show_progress=False)
    fingerprint = one_fingerprint(stores, "hash")
    assert fingerprint == HashEmbedder.fingerprint
    check_fingerprint(stores[0], "hash", fingerprint)
    check_fingerprint(stores[0], "hash", None)
    with pytest.raises(InputError, match="another text embedder"):
        check_fingerprint(stores[0], "hash", "other")
    save_file({"embedding": vectors(stores[1])}, stores[1] / "text.hash.safetensors")
    with pytest.raises(InputError, match="two models named 'hash'"):
        one_fingerprint(stores, "hash")
    with pytest.raises(InputError, match="unknown"):
        check_fingerprint(stores[1], "hash", fingerprint)


def test_a_file_that_is_cut_short_is_not_there(tmp_path: Path) -> None:
    (store,) = tokenise_many([shop(tmp_path / "shop")], tmp_path / "pre", show_progress=False)
    embed_stores([store], "hash", show_progress=False)
    path = store / "text.hash.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert open_embeddings(store, "hash") is None
