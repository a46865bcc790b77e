"""The model against the architecture written a second time, in plain loops over cells, on contexts
of a real sampler and on adversarial ones: outputs, loss, its averaging and all gradients, in every
attention form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flex_on_cpu import form
from naive_model import Proof, assert_agreement, read_contexts, run_naive
from numpy.typing import NDArray
from random_contexts import SHAPES, random_arrays
from sampler_fixtures import make, shop
from store_fixtures import write_store

from rt.data import BOOLEAN, DATETIME, NUMBER, TEXT, Batch
from rt.model import ModelConfig, RelationalTransformer

__all__ = ["form"]  # a fixture

Arrays = dict[str, NDArray[Any]]


def sampled(root: Path) -> Arrays:
    """Contexts of both tasks of two small databases, with more than one target in some."""
    stores = [write_store(root / name, shop(name)) for name in ("one", "two")]
    sampler = make(stores, context_length=40, batch_size=6, extra_target_share=(0.0, 0.3))
    return sampler.batch(0)


def model_for(arrays: Arrays, form: str, **variants: Any) -> RelationalTransformer:
    """A model whose norms and scales are not all one number, which would hide a wrong place."""
    torch.manual_seed(0)
    width = arrays["text_embedding"].shape[1]
    sizes = {"num_blocks": 2, "d_model": 12, "num_heads": 2, "d_ff": 10, "d_text": width}
    model = RelationalTransformer(ModelConfig.from_dict(sizes | variants), attention=form)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "scale" in name or name[:7] in ("w_role.", "w_alike"):
                parameter.uniform_(0.5, 1.5)
            if name in ("label_attention.wq.weight", "label_attention.w_share.weight"):
                parameter.normal_()
    return model


def prove(arrays: Arrays, **variants: Any) -> Proof:
    """Outputs, loss and gradients by plain loops."""
    model = model_for(arrays, "auto", **variants)
    return run_naive(dict(model.named_parameters()), model.config.num_heads, arrays)


@pytest.fixture(scope="module", params=["sampled", *(name for name in SHAPES if name != "long")])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Arrays, Proof]:
    if request.param == "sampled":
        arrays = sampled(tmp_path_factory.mktemp("stores"))
        assert arrays["is_target"].sum(1).max() > 1
        assert arrays["is_padding"].any()
    else:
        arrays = random_arrays(11, **{"num_contexts": 2, "num_slots": 30} | SHAPES[request.param])
    return arrays, prove(arrays)


def test_outputs_loss_and_gradients(case: tuple[Arrays, Proof], form: str) -> None:
    arrays, proof = case
    assert_agreement(model_for(arrays, form), Batch.from_arrays(arrays), proof)


VARIANTS: dict[str, dict[str, Any]] = {
    "gate per head": {"attention_gate": "head"},
    "gate per channel": {"attention_gate": "channel"},
    "log of keys": {"log_keys": True},
    "counts of children": {"child_counts": True},
    "classes as targets": {"class_targets": True},
    "roles of rows": {"row_roles": True},
    "likeness of rows": {"row_likeness": True},
    "attention to labels": {"label_attention": True},
    "all": {"attention_gate": "head", "log_keys": True, "child_counts": True,
            "class_targets": True, "row_roles": True, "row_likeness": True,
            "label_attention": True},
}  # fmt: skip


def with_classes(seed: int) -> Arrays:
    """Random contexts with counts, whose own targets are texts: of classes, of none, no class."""
    arrays = random_arrays(seed, num_contexts=4, num_slots=24)
    arrays["semantic_type"][:3, 0] = TEXT
    arrays["context_classes"] = np.array([0, 0, -1, 1], np.int32)
    classes = arrays["class_text"]
    others = set(range(len(arrays["text_embedding"]))) - set(classes.tolist())
    arrays["text"][:3, 0] = classes[2], min(others), classes[0]
    return arrays


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Arrays, Proof]:
    arrays, settings = with_classes(5), VARIANTS[request.param]
    return settings, arrays, prove(arrays, **settings)


def test_variants(variant: tuple[dict[str, Any], Arrays, Proof], form: str) -> None:
    settings, arrays, proof = variant
    assert_agreement(model_for(arrays, form, **settings), Batch.from_arrays(arrays), proof)


@pytest.mark.parametrize("kind", [NUMBER, DATETIME, BOOLEAN])
def test_label_attention_to_labels_of_each_kind(kind: int, form: str) -> None:
    """In one context there is no label."""
    arrays = random_arrays(7, num_contexts=4, num_slots=24)
    slots = np.arange(4), arrays["target_slot"]
    column = arrays["column_number"][arrays["column"]]
    labels = ~arrays["is_padding"] & (column == column[slots][:, None])
    assert (labels.sum(1) > 1).any()
    arrays["semantic_type"][labels], arrays["text"][labels] = kind, -1
    arrays["value"][labels] = np.random.default_rng(0).normal(size=labels.sum())
    arrays["is_target"][0] |= labels[0]  # further targets: none is shown
    settings = {"label_attention": True}
    assert_agreement(
        model_for(arrays, form, **settings), Batch.from_arrays(arrays), prove(arrays, **settings)
    )


def test_the_loss_is_a_mean_over_contexts_not_over_targets() -> None:
    """Context 0 has one target, context 1 has four; copies of a context change nothing."""
    arrays = random_arrays(12, num_contexts=2, num_slots=12, padding=0.0)
    arrays["semantic_type"][:] = 0
    arrays["text"][:] = -1
    arrays["is_target"][:] = False
    arrays["is_target"][0, :1] = arrays["is_target"][1, :4] = True
    model = model_for(arrays, "auto")
    proof = prove(arrays)
    by_target = [
        [
            torch.nn.functional.huber_loss(out["number"].detach(), torch.tensor(cell.value))
            for cell, out in zip(cells, found, strict=True)
            if cell.is_target
        ]
        for (cells, _), found in zip(read_contexts(arrays), proof.outputs, strict=True)
    ]
    assert [len(losses) for losses in by_target] == [1, 4]
    means = [float(np.mean([x.item() for x in losses])) for losses in by_target]
    assert proof.loss.item() == pytest.approx(np.mean(means), rel=1e-5)
    assert model.loss(Batch.from_arrays(arrays)).item() == pytest.approx(np.mean(means), rel=1e-5)
