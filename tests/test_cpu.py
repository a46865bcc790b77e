"""The native feed-forward layer against torch's own operations, at sizes around its chunks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import rustler
from rt.cpu import CHUNK, feed_forward_layer


def by_torch(x: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    g, u = F.linear(F.rms_norm(x, (x.shape[1],)), w_in).chunk(2, -1)
    return x + F.linear(F.silu(g) * u, w_out)


@pytest.mark.parametrize("rows", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77])
@pytest.mark.parametrize(("width", "hidden"), [(64, 256), (20, 37)])
def test_feed_forward_layer(rows: int, width: int, hidden: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    shapes = [(rows, width), (2 * hidden, width), (width, hidden)]
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    # of the size that trained weights have, so that outputs are of order one
    inputs[1:] = [w * w.shape[1] ** -0.5 for w in inputs[1:]]
    for tensor in inputs:
        tensor.requires_grad_()
    weights = torch.randn(rows, width, generator=generator)
    expected, found = by_torch(*inputs), feed_forward_layer(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    one = torch.autograd.grad((expected * weights).sum(), inputs)
    other = torch.autograd.grad((found * weights).sum(), inputs)
    for a, b in zip(one, other, strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm().clamp(min=1e-6)


def test_autocast_leaves_the_layer_in_float32() -> None:
    inputs = [torch.randn(shape) for shape in [(30, 16), (48, 16), (16, 24)]]
    with torch.autocast("cpu", torch.bfloat16):
        found = feed_forward_layer(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, feed_forward_layer(*inputs), rtol=0, atol=0)


def test_too_many_threads_are_refused() -> None:
    x, y, factor = (np.ones(shape, np.float32) for shape in [(200, 4), (200, 4), (200,)])
    with pytest.raises(ValueError, match="threads: 9223372036854775808 are too many"):
        rustler.norm_forward(x, y, factor, 2**63)
    rustler.norm_forward(x, y, factor, 0)
