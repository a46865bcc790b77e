"""Texts as targets: any number of classes, scored against their embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from random_contexts import random_arrays
from small_stores import small_config
from small_tasks import D_TEXT, Row, arrays_of, config, trained

import rustler
from plurel.errors import InputError
from rt.config import from_dict
from rt.data import TEXT, Batch
from rt.losses import class_probabilities, target_losses
from rt.meta import open_meta
from rt.model import ModelConfig, RelationalTransformer
from rt.predictions import ContextSettings, predict
from rt.store import read_texts
from rt.tasks import text_tasks, to_sampler
from rt.train import run
from rt.train_config import TrainConfig
from tests.shops import EMBEDDER, shop_folders

CLASSES = 20
"""Classes of a task of `copies`."""


def copies(seed: int, texts: NDArray[np.float16]) -> Batch:
    """Rows with a text, which a second column, the target, repeats; CLASSES of the texts are the
    task's."""
    rng = np.random.default_rng(seed)
    classes = 2 + rng.permutation(len(texts) - 2)[:CLASSES]  # the first two name the columns
    chosen = rng.choice(classes, 64)
    contexts = [[Row([(0, text), (1, text)])] for text in chosen]
    arrays = arrays_of(contexts, 2)
    return Batch.from_arrays(
        arrays
        | {
            "semantic_type": np.full_like(arrays["semantic_type"], TEXT),
            "text": arrays["value"].astype(np.int32),
            "context_classes": np.zeros(64, np.int32),
            "class_ptr": np.array([0, CLASSES]),
            "class_text": classes.astype(np.int32),
            "text_embedding": texts,
        }
    )


def hits(model: RelationalTransformer, batch: Batch) -> float:
    """The share of targets whose class is the most probable one."""
    with torch.no_grad():
        best = class_probabilities(model(batch), batch).argmax(1)
    return float((batch.class_text[best] == batch.target_text).float().mean())


def test_classes_that_were_never_seen_are_found() -> None:
    """Trained on 300 texts, asked for one of 20 others: a head with an output per class can't."""
    texts = np.random.default_rng(0).normal(size=(402, D_TEXT)).astype(np.float16)
    batches = [copies(seed, texts[:302]) for seed in range(12)]
    new = copies(99, np.concatenate((texts[:2], texts[302:])))
    model = trained(config(class_targets=True), batches, 150)
    assert hits(model, new) > 0.9
    plain = RelationalTransformer(config())
    assert plain(new).text is None
    assert plain.loss(new) == 0


def test_the_loss_by_hand() -> None:
    arrays = random_arrays(3, num_contexts=4)
    arrays["semantic_type"][:, 0], arrays["text"][:, 0] = TEXT, [3, 5, 4, 3]
    arrays["context_classes"] = np.array([0, 0, 0, -1], np.int32)
    arrays["class_ptr"], arrays["class_text"] = np.array([0, 3]), np.array([5, 3, 9], np.int32)
    batch = Batch.from_arrays(arrays)
    torch.manual_seed(0)
    model = RelationalTransformer(config(d_text=8, class_targets=True))
    outputs = model(batch)
    assert outputs.text is not None
    losses, scored = target_losses(outputs, batch)
    # the text of context 2 is no class, context 3 has no classes
    assert scored[:, 0].tolist() == [True, True, False, False]
    unit = F.normalize(batch.text_embedding.float(), dim=1)[[5, 3, 9]]
    torch.testing.assert_close(outputs.text.norm(dim=1), torch.full((4,), 1 / 0.07))
    for b, place in ((0, 1), (1, 0)):
        expected = -(unit @ outputs.text[b]).log_softmax(0)[place]
        torch.testing.assert_close(losses[b, 0], expected)
    assert (losses[2:, 0] == 0).all()
    with torch.no_grad():
        model.class_scale.fill_(9.0)
    torch.testing.assert_close(model(batch).text.norm(dim=1), torch.full((4,), 100.0))


@pytest.mark.parametrize("with_texts", [True, False])
def test_every_parameter_has_a_gradient(with_texts: bool) -> None:
    arrays = random_arrays(3)
    kind = TEXT if with_texts else 0
    arrays["semantic_type"][:], arrays["text"][:] = kind, 3 if with_texts else -1
    arrays["context_classes"][:] = 1 if with_texts else -1
    model = RelationalTransformer(config(d_text=8, class_targets=True, zero_init=True))
    model.loss(Batch.from_arrays(arrays)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_folders(tmp_path_factory.mktemp("classes"))[1]


def notes(store: Path) -> Any:
    return next(t for t in text_tasks(store, open_meta(store)) if t.name == "sales.note")


def test_text_columns_are_tasks(store: Path) -> None:
    """How each sale was paid."""
    task, texts = notes(store), read_texts(store).to_pylist()
    assert sorted(texts[number] for _, number in task.classes) == ["card", "cash", "cheque"]
    sampler = rustler.Sampler(
        [store], [to_sampler(task, 0)], embedder=EMBEDDER, context_length=16, batch_size=8
    )
    batch = Batch.from_arrays(sampler.batch(0))
    assert (batch.context_classes == 0).all()
    assert set(batch.target_text.tolist()) <= set(batch.class_text.tolist())
    assert len(batch.class_text) == 3


def test_training_and_predicting_classes(store: Path, tmp_path: Path) -> None:
    values = small_config(store.parent, tmp_path / "run")
    values["model"] |= {"class_targets": True}
    values["data"] |= {"root": [str(store)], "heldout": "rows"}
    model = RelationalTransformer.from_pretrained(run(from_dict(TrainConfig, values)))
    assert model.dec_dict["text"].weight.requires_grad
    task = notes(store)
    rows = np.arange(*task.splits["test"])
    settings = ContextSettings(EMBEDDER, 24)
    found = predict(model, store, task, rows, settings=settings, progress=None)
    assert found.shape == (len(rows), 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    plain = RelationalTransformer(ModelConfig(1, 16, 2, 32, model.config.d_text))
    with pytest.raises(InputError, match=r"text columns are not .*--fit_head.* class_targets"):
        predict(plain, store, task, rows, settings=settings, progress=None)


def test_distinct_texts(store: Path) -> None:
    opened, meta, column = rustler.Store(store), open_meta(store), notes(store).column
    first, end = meta.tables[meta.columns[column].table].rows
    every = [next(text for c, _, text in opened.row(row)["cells"] if c == column)
             for row in range(first, end)]  # fmt: skip
    assert opened.distinct_texts(column, (first, end), 9) == list(dict.fromkeys(every))
    assert opened.distinct_texts(column, (first, end), 2) == list(dict.fromkeys(every))[:2]
    assert opened.distinct_texts(column, (first + 1, first + 2), 9) == every[1:2]
    assert opened.distinct_texts(column, (end, end), 9) == []
    for wrong, rows, message in (
        (column, (first, end + 1), "is no range of the rows"),
        (column, (first - 1, end), "is no range of the rows"),
        (10_000, (first, end), "column 10000 is no column of texts"),
        (-1, (first, end), "column must be a whole number"),
    ):
        with pytest.raises(rustler.RustlerError, match=message):
            opened.distinct_texts(wrong, rows, 9)


def test_bad_classes_are_refused(store: Path) -> None:
    meta = open_meta(store)
    column = notes(store).column
    number = meta.column(meta.table("sales"), "amount")
    table = meta.table("sales")
    rows = [(meta.tables[table].rows[0],) * 2] * 3
    for wrong, classes, message in (
        (column, [99_999], "class 99999 is not one of"),
        (number, [0], "only texts have classes"),
    ):
        task = rustler.Task(0, table, wrong, rows, classes=classes)
        with pytest.raises(rustler.RustlerError, match=message):
            rustler.Sampler([store], [task], embedder=EMBEDDER)
