"""The flex form with gradients on the CPU, for tests.

torch compiles no backward kernels there and refuses gradients at its door. Behind the door stands
its own definition of the operator, forward and backward; this opens it, with the same tracing, mask
and shapes as on CUDA.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn.attention import flex_attention

from rt import flex

ON_CPU = ("reference", "cpu", "flex")
"""Every attention form but "auto"."""


@contextmanager
def flex_by_definition() -> Iterator[None]:
    """The flex form traced in full, but run by the operator's definition in place of kernels."""
    traced = torch.compile(flex._fused, backend="aot_eager", dynamic=False, fullgraph=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex, "_compiled", lambda: traced)
        patch.setattr(flex, "_refuse_gradients_on_cpu", lambda *tensors: None)
        patch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
        torch._dynamo.reset()  # shapes of other tests do not count
        yield
        torch._dynamo.reset()


@pytest.fixture(scope="module", params=ON_CPU)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every attention form, with gradients, on the CPU."""
    if request.param != "flex":
        yield request.param
        return
    with flex_by_definition():
        yield request.param
