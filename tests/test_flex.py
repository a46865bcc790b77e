"""The flex form's own promises: it is compiled or stops, for one shape once, and its kernels agree
with the reference. What it computes is compared in test_attention.py with the other forms."""

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from flex_on_cpu import flex_by_definition
from random_contexts import SHAPES, random_batch
from torch import Tensor
from torch._dynamo.utils import counters

from plurel.errors import InputError
from rt import flex
from rt.attention import masked_attention
from rt.model import ModelConfig, RelationalTransformer
from rt.plan import MASKS

NEEDS_COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++"))
    or not Path(sysconfig.get_path("include"), "Python.h").is_file(),
    reason="torch compiles for the CPU with a C++ compiler and Python's headers",
)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def random_qkv(cells: int, dim: int = 16, device: str = "cpu", grad: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(cells)
    tensors = [torch.randn(cells, 2, dim, generator=generator).to(device) for _ in range(3)]
    return [x.requires_grad_(grad) for x in tensors]


@NEEDS_COMPILER
def test_compiled_kernels_equal_the_reference() -> None:
    """For the CPU, from the same block lists and mask; several batches and masks, compiled once."""
    before = counters["stats"]["unique_graphs"]
    for seed, shape in enumerate(("usual", "full", "nearly empty", "one row", "no parents")):
        batch = random_batch(seed, **SHAPES[shape])
        q, k, v = random_qkv(batch.num_cells)
        for mask in MASKS:
            groups = getattr(batch.plan, mask)
            found = masked_attention(q, k, v, groups, "flex")
            expected = masked_attention(q, k, v, groups, "reference")
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == before + 1


def test_gradients_on_the_cpu_are_refused() -> None:
    batch = random_batch(0)
    model = RelationalTransformer(ModelConfig.named("tiny", d_text=8), attention="flex")
    with pytest.raises(InputError, match="'flex' has no gradients on the CPU: choose 'auto'"):
        model(batch)


def test_without_compilation_it_stops() -> None:
    """Torch's plain implementation would write out all scores, and say so once at most."""
    batch = random_batch(0)
    inputs = random_qkv(batch.num_cells)
    torch.compiler.set_stance("force_eager")
    try:
        with pytest.raises(InputError, match=r"needs torch.compile, which is switched off"):
            masked_attention(*inputs, batch.plan.col, "flex")
    finally:
        torch.compiler.set_stance("default")


def test_more_shapes_than_the_limit_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "SHAPES", 2)
    with flex_by_definition():
        for slots in (64, 65, 128, 129):  # two shapes: sizes are rounded up
            batch = random_batch(0, num_slots=slots)
            masked_attention(*random_qkv(batch.num_cells), batch.plan.col, "flex")
        batch = random_batch(0, num_slots=700)
        with pytest.raises(
            InputError, match="was compiled for 2 shapes of batches and met another"
        ):
            masked_attention(*random_qkv(batch.num_cells), batch.plan.col, "flex")


def test_under_autocast_it_computes_in_the_narrow_type() -> None:
    batch = random_batch(1)
    found, loss = {}, {}
    for form in ("reference", "flex"):
        torch.manual_seed(0)
        model = RelationalTransformer(ModelConfig.named("tiny", d_text=8), form)
        with flex_by_definition(), torch.autocast("cpu", torch.bfloat16):
            loss[form] = model.loss(batch)
            loss[form].backward()
        found[form] = model.get_parameter("blocks.0.attns.feat.wk.weight").grad
    assert loss["flex"].item() == pytest.approx(loss["reference"].item(), rel=0.02)
    assert (found["flex"] - found["reference"]).norm() < 0.1 * found["reference"].norm()


def test_the_result_has_the_type_of_the_values() -> None:
    batch = random_batch(1)
    q, k, v = random_qkv(batch.num_cells)
    with flex_by_definition():
        found = masked_attention(q, k, v.bfloat16(), batch.plan.feat, "flex")
    expected = masked_attention(q, k, v, batch.plan.feat, "reference")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=3e-2, atol=3e-2)


@pytest.mark.gpu
@NEEDS_CUDA
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [8, 20, 32, 64])
def test_gradients_on_cuda(shape: str, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    batch = random_batch(1, **SHAPES[shape]).to("cuda")
    inputs = random_qkv(batch.num_cells, dim, "cuda", grad=True)
    for mask in MASKS:
        groups = getattr(batch.plan, mask)
        one = masked_attention(*inputs, groups, "reference")
        other = masked_attention(*inputs, groups, "flex")
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        weights = torch.randn_like(one)
        expected = torch.autograd.grad((one * weights).sum(), inputs)
        found = torch.autograd.grad((other * weights).sum(), inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@NEEDS_CUDA
@pytest.mark.parametrize("bf16", [False, True])
def test_a_model_learns_on_cuda_as_by_the_reference(bf16: bool) -> None:
    batch = random_batch(2, **SHAPES["long"]).to("cuda")
    losses = []
    for form in ("reference", "flex"):
        torch.manual_seed(0)
        model = RelationalTransformer(ModelConfig.named("tiny", d_text=8), form).to("cuda")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses.append([])
        for _ in range(5):
            with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
                loss = model.loss(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[-1].append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02 if bf16 else 1e-4)
    assert losses[0][-1] < losses[0][0]
