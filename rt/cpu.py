"""The CPU path: layers with native kernels (`rustler`) between torch's matrix products.

Two autograd functions, attention and feed-forward, each a whole pre-norm residual layer, so that
nothing is computed, kept or moved twice. The weight of a norm is multiplied into the matrix that
follows it, and the weights of the query and key norms, with the scale of the scores, are one
vector; autograd takes both products apart again.

Letters: N packed cells, d = d_model, H heads, D = d / H, f = d_ff.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

import rustler
from rt.plan import Groups

CHUNK = 1024
"""Rows of the feed-forward layer worked on at a time: what is between its products stays cached."""


def attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """Attention over groups alone, computed in fp32. q, k, v and the result: [N, H, D]."""
    return _Attention.apply(torch.stack((q, k, v), 1), groups).to(q.dtype)


def attention_layer(
    x: Tensor, w_qkv: Tensor, weight: Tensor, w_out: Tensor, groups: Groups
) -> Tensor:
    """x + attention(norm(x)). x: [N, d]; w_qkv [3d, d], columns multiplied by the norm's weight;
    weight [D]: those of the query and key norms and the scale, multiplied; w_out [d, d]."""
    return _AttentionLayer.apply(x, w_qkv, weight, w_out, groups)


def feed_forward_layer(x: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    """x + w_out (silu(g) * u), g and u = the halves of w_in norm(x). x: [N, d]; w_in [2f, d],
    columns multiplied by the norm's weight; w_out [d, f]."""
    return _FeedForwardLayer.apply(x, w_in, w_out)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().numpy()


def _indices(groups: Groups) -> tuple[NDArray[np.int32], ...]:
    lists = (groups.query_ptr, groups.query, groups.key_ptr, groups.key)
    return tuple(x.numpy() for x in (*lists, groups.group_ptr, groups.cell_ptr))


def _attend(qkv: Tensor, weight: Tensor | None, groups: Groups) -> tuple[Tensor, Tensor]:
    """Output [N, H, D] and log-sum-exp [N, H] for qkv [N, 3, H, D]."""
    out, lse = torch.empty_like(qkv[:, 0]), qkv.new_empty(qkv.shape[0], qkv.shape[2])
    rustler.attention_forward(
        _array(qkv),
        None if weight is None else _array(weight),
        _indices(groups),
        _array(out),
        _array(lse),
        torch.get_num_threads(),
    )
    return out, lse


def _attend_backward(
    qkv: Tensor, weight: Tensor | None, groups: Groups, saved: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradients of qkv and weight; saved: output, log-sum-exp, gradient of the output."""
    grad_qkv, grad_weight = torch.empty_like(qkv), qkv.new_empty(qkv.shape[3])
    out, lse, grad_out = saved
    rustler.attention_backward(
        _array(qkv),
        None if weight is None else _array(weight),
        _indices(groups),
        (_array(out), _array(lse), _array(grad_out)),
        (_array(grad_qkv), _array(grad_weight)),
        torch.get_num_threads(),
    )
    return grad_qkv, grad_weight


def _norm(x: Tensor) -> tuple[Tensor, Tensor]:
    """The normalised rows of x and the factors that did it."""
    y, factor = torch.empty_like(x), x.new_empty(x.shape[0])
    rustler.norm_forward(_array(x), _array(y), _array(factor), torch.get_num_threads())
    return y, factor


def _norm_backward(y: Tensor, factor: Tensor, grad_y: Tensor, residual: Tensor) -> Tensor:
    grad = torch.empty_like(y)
    rustler.norm_backward(
        (_array(y), _array(factor)),
        _array(grad_y),
        _array(residual),
        _array(grad),
        torch.get_num_threads(),
    )
    return grad


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """In fp32, also where autocast would compute in another type."""
    return custom_fwd(function, device_type="cpu", cast_inputs=torch.float32)


def _backward(function: Callable[..., Any]) -> Callable[..., Any]:
    return once_differentiable(custom_bwd(function, device_type="cpu"))


class _Attention(torch.autograd.Function):
    @staticmethod
    @_forward
    def forward(ctx: Any, qkv: Tensor, groups: Groups) -> Tensor:
        qkv = qkv.float().contiguous()
        out, lse = _attend(qkv, None, groups)
        ctx.save_for_backward(qkv, out, lse)
        ctx.groups = groups
        return out

    @staticmethod
    @_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        qkv, out, lse = ctx.saved_tensors
        saved = (out, lse, grad.contiguous())
        return _attend_backward(qkv, None, ctx.groups, saved)[0], None


class _AttentionLayer(torch.autograd.Function):
    @staticmethod
    @_forward
    def forward(
        ctx: Any, x: Tensor, w_qkv: Tensor, weight: Tensor, w_out: Tensor, groups: Groups
    ) -> Tensor:
        x = x.contiguous()
        y, factor = _norm(x)
        dim = weight.shape[0]
        qkv = (y @ w_qkv.T).view(x.shape[0], 3, -1, dim)
        out, lse = _attend(qkv, weight, groups)
        ctx.save_for_backward(y, factor, qkv, out, lse, w_qkv, weight, w_out)
        ctx.groups = groups
        return torch.addmm(x, out.view_as(x), w_out.T)

    @staticmethod
    @_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        y, factor, qkv, out, lse, w_qkv, weight, w_out = ctx.saved_tensors
        grad = grad.contiguous()
        saved = (out, lse, (grad @ w_out).view_as(out))
        grad_w_out = grad.T @ out.view_as(grad)
        grad_qkv, grad_weight = _attend_backward(qkv, weight, ctx.groups, saved)
        grad_qkv = grad_qkv.flatten(1)
        grad_x = _norm_backward(y, factor, grad_qkv @ w_qkv, grad)
        return grad_x, grad_qkv.T @ y, grad_weight, grad_w_out, None


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Slices of `CHUNK` rows of each tensor. A tensor of one chunk's rows is used again and again:
    a buffer that stays in the cache."""
    rows = max(x.shape[0] for x in tensors)
    for first in range(0, rows, CHUNK):
        end = min(first + CHUNK, rows)
        yield tuple(x[first:end] if x.shape[0] == rows else x[: end - first] for x in tensors)


class _FeedForwardLayer(torch.autograd.Function):
    @staticmethod
    @_forward
    def forward(ctx: Any, x: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
        x = x.contiguous()
        y, factor = _norm(x)
        gates, out = x.new_empty(len(x), len(w_in)), torch.empty_like(x)
        buffer = x.new_empty(min(len(x), CHUNK), w_out.shape[1])
        for x_part, y_part, gates_part, out_part, a in _chunks(x, y, gates, out, buffer):
            torch.mm(y_part, w_in.T, out=gates_part)
            rustler.swiglu_forward(_array(gates_part), _array(a), torch.get_num_threads())
            torch.addmm(x_part, a, w_out.T, out=out_part)
        # a is made again in the backward pass: that is cheaper than keeping it
        ctx.save_for_backward(y, factor, gates, w_in, w_out)
        return out

    @staticmethod
    @_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, factor, gates, w_in, w_out = ctx.saved_tensors
        grad, grad_y = grad.contiguous(), torch.empty_like(y)
        grad_w_in, grad_w_out = torch.zeros_like(w_in), torch.zeros_like(w_out)
        buffer = y.new_empty(min(len(y), CHUNK), w_out.shape[1])
        gates_buffer = y.new_empty(len(buffer), len(w_in))
        tensors = (y, gates, grad, grad_y, buffer, gates_buffer)
        for y_part, gates_part, grad_part, grad_y_part, a, grad_gates in _chunks(*tensors):
            torch.mm(grad_part, w_out, out=a)
            arrays = (_array(gates_part), _array(a), _array(grad_gates))
            rustler.swiglu_backward(*arrays, torch.get_num_threads())
            torch.mm(grad_gates, w_in, out=grad_y_part)
            grad_w_in.addmm_(grad_gates.T, y_part)
            grad_w_out.addmm_(grad_part.T, a)
        return _norm_backward(y, factor, grad_y, grad), grad_w_in, grad_w_out
