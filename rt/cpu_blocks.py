"""Blocks of the model on the CPU as one autograd function: native kernels (`rt.cpu`) between
torch's matrix products.

The residual stream, its gradient and the parameters are fp32; products and what the kernels keep
are in the compute dtype, fp32 or bf16. The weight of a norm is multiplied into the matrix that
follows it, and the weights of the query and key norms, with the scale of the scores, are one
vector.

Letters: N packed cells, T of them targets, d = d_model, H heads, D = d / H, f = d_ff.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

import rustler
from rt import cpu
from rt.plan import MASKS, Groups, Plan

ATTENTION = ("wq", "wk", "wv", "q_norm", "k_norm", "wo")
FEED_FORWARD = ("w1", "w3", "w2")
PARAMETERS = [
    f"{name}.weight"
    for mask in MASKS
    for name in (f"norms.{mask}", *(f"attns.{mask}.{part}" for part in ATTENTION))
] + [f"{name}.weight" for name in ("norms.ffn", *(f"ffn.{part}" for part in FEED_FORWARD))]
"""What `run_blocks` wants of a block, by the names of `rt.model.Block`, in this order."""

PADDING = 32
"""Columns beyond N in transposed copies: rows that start a power of 2 apart share cache sets."""


def compute_dtype() -> torch.dtype:
    """bf16 where autocast asks for it, else fp32."""
    asked = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if asked else torch.float32


def run_blocks(
    x: Tensor,
    plan: Plan,
    parameters: Sequence[Sequence[Tensor]],
    dtype: torch.dtype,
    targets_only: bool = False,
) -> Tensor:
    """x [N, d] after the blocks, in its type, or of plan.target alone [T, d]. parameters: of each
    block, in the order of `PARAMETERS`; of another type than fp32 they are converted. dtype: of
    products and of what is kept for the backward pass."""
    flat = [tensor for block in parameters for tensor in block]
    # inside of an autograd function gradients always look disabled
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *flat))
    return _Blocks.apply(x, plan, dtype, keep, targets_only, *flat)


class _Gradient:
    """The gradient of the stream [N, d], fp32, and copies of it in the compute dtype."""

    def __init__(self, grad: Tensor, dtype: torch.dtype) -> None:
        cells, width = grad.shape
        self.stream = grad.float().clone(memory_format=torch.contiguous_format)
        self.low = self.stream.to(dtype, copy=True)
        self._transposed = [torch.empty(width, cells + PADDING, dtype=dtype) for _ in range(2)]
        self.transposed, self.y_transposed = (t[:, :cells] for t in self._transposed)
        cpu.transpose(self.low, self._transposed[0])

    def through_norm(self, y: Tensor, factor: Tensor, grad_y: Tensor) -> None:
        """Adds what comes back through a norm with the output y; y_transposed becomes y's."""
        copies = (self.low, *self._transposed)
        cpu.norm_backward((y, factor), grad_y, self.stream, copies)


def _transposed(x: Tensor) -> Tensor:
    """A transposed copy [d, R] of x [R, d]."""
    to = torch.empty(x.shape[1], len(x) + PADDING, dtype=x.dtype)
    cpu.transpose(x, to)
    return to[:, : len(x)]


def _fold(norm: Tensor, matrices: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The matrices one below the other, their columns multiplied by the norm's weight."""
    return torch.cat(list(matrices)).mul_(norm).to(dtype)


def _unfold(norm: Tensor, matrices: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """The gradients of norm and matrices from that of what `_fold` made of them."""
    grad = grad.float()
    of_norm = (torch.cat(list(matrices)) * grad).sum(0)
    return [of_norm, *(grad * norm).split([len(matrix) for matrix in matrices])]


class _Attention:
    """What attention(norm(x)) adds to the stream. raw: the norm's weight, then `ATTENTION`."""

    def __init__(self, raw: Sequence[Tensor], groups: rustler.Groups, dtype: torch.dtype) -> None:
        self.norm, *self.inputs, self.q_norm, self.k_norm, w_out = raw
        self.groups, self.saved = groups, list[Tensor]()
        self.scale = len(self.q_norm) ** -0.5
        self.w_qkv, self.w_out = _fold(self.norm, self.inputs, dtype), w_out.to(dtype)
        self.weight = self.q_norm * self.k_norm * self.scale

    def forward(self, y: Tensor, factor: Tensor, keep: bool) -> Tensor:
        """y, factor: the normalised stream, from `cpu.norm`."""
        heads = y.shape[1] // len(self.weight)
        qkv = (y @ self.w_qkv.T).view(len(y), 3, heads, len(self.weight))
        out, lse = cpu.attend([qkv], self.weight, self.groups)
        self.saved = [y, factor, qkv, out, lse] if keep else []
        return out.view_as(y) @ self.w_out.T

    def backward(self, grad: _Gradient) -> list[Tensor]:
        """The gradients of raw; `grad` becomes that of the layer's input."""
        y, factor, qkv, out, lse = self.saved
        saved = (out, lse, (grad.low @ self.w_out).view_as(out))
        of_out = grad.transposed @ out.view_as(y)
        (grad_qkv,), grad_weight = cpu.attend_backward([qkv], self.weight, self.groups, saved)
        grad_qkv = grad_qkv.flatten(1)
        grad.through_norm(y, factor, grad_qkv @ self.w_qkv)
        return self._gradients((grad.y_transposed @ grad_qkv).T, grad_weight, of_out)

    def _gradients(self, of_qkv: Tensor, of_weight: Tensor, of_out: Tensor) -> list[Tensor]:
        of_inputs = _unfold(self.norm, self.inputs, of_qkv)
        of_weight = of_weight * self.scale
        return [*of_inputs, of_weight * self.k_norm, of_weight * self.q_norm, of_out.float()]


class _PartialAttention(_Attention):
    """The same where few cells are queries or keys: only these pass the projections."""

    def __init__(self, raw: Sequence[Tensor], mask: cpu.Apart, dtype: torch.dtype) -> None:
        super().__init__(raw, mask.groups, dtype)
        self.query, self.key = mask.query, mask.key

    def forward(self, y: Tensor, factor: Tensor, keep: bool) -> Tensor:
        """y, factor: the normalised stream, from `cpu.norm`."""
        width, shape = y.shape[1], (-1, y.shape[1] // len(self.weight), len(self.weight))
        w_q, w_kv = self.w_qkv.split([width, 2 * width])
        q = (y.index_select(0, self.query.cell) @ w_q.T).view(shape)
        kv = (y.index_select(0, self.key.cell) @ w_kv.T).view(-1, 2, *shape[1:])
        out, lse = cpu.attend([q, kv], self.weight, self.groups)
        self.saved = [y, factor, q, kv, out, lse] if keep else []
        return self.query.spread(out.flatten(1) @ self.w_out.T)

    def backward(self, grad: _Gradient) -> list[Tensor]:
        """The gradients of raw; `grad` becomes that of the layer's input."""
        y, factor, q, kv, out, lse = self.saved
        w_q, w_kv = self.w_qkv.split([y.shape[1], 2 * y.shape[1]])
        low = grad.low.index_select(0, self.query.cell)
        of_out = _transposed(low) @ out.flatten(1)
        saved = (out, lse, (low @ self.w_out).view_as(out))
        grads, grad_weight = cpu.attend_backward([q, kv], self.weight, self.groups, saved)
        grad_q, grad_kv = (x.flatten(1) for x in grads)
        of_query, of_key = (
            _transposed(y.index_select(0, used.cell)) @ x
            for used, x in ((self.query, grad_q), (self.key, grad_kv))
        )
        grad_y = self.query.spread(grad_q @ w_q).add_(self.key.spread(grad_kv @ w_kv))
        grad.through_norm(y, factor, grad_y)
        return self._gradients(torch.cat((of_query, of_key), 1).T, grad_weight, of_out)


class _FeedForward:
    """What w2(silu(w1 y) * w3 y) of y = norm(x) adds to it. raw: the norm's weight, then
    `FEED_FORWARD`."""

    def __init__(self, raw: Sequence[Tensor], dtype: torch.dtype) -> None:
        self.norm, *self.inputs, w_out = raw
        self.saved = list[Tensor]()
        self.w_in, self.w_out = _fold(self.norm, self.inputs, dtype), w_out.to(dtype)

    def forward(self, y: Tensor, factor: Tensor, keep: bool) -> Tensor:
        """y, factor: the normalised stream, from `cpu.norm`."""
        gates = y @ self.w_in.T
        # what the gate returns is made again in the backward pass: cheaper than keeping it
        self.saved = [y, factor, gates] if keep else []
        return cpu.gate(gates) @ self.w_out.T

    def backward(self, grad: _Gradient) -> list[Tensor]:
        """The gradients of raw; `grad` becomes that of the layer's input."""
        y, factor, gates = self.saved
        a = grad.low @ self.w_out
        cpu.gate_backward(gates, a)
        of_out = grad.transposed @ a
        grad.through_norm(y, factor, gates @ self.w_in)
        of_inputs = _unfold(self.norm, self.inputs, (grad.y_transposed @ gates).T)
        return [*of_inputs, of_out.float()]


def _mask(groups: Groups) -> rustler.Groups | cpu.Apart:
    """A mask for the layers, which leave out cells that see nothing if there are any."""
    all_see = len(groups.query) == int(groups.cell_ptr[-1])
    return cpu.checked(groups) if all_see else cpu.apart(groups)


def _layers(
    flat: Sequence[Tensor], plan: Plan, dtype: torch.dtype, targets_only: bool
) -> list[_Attention | _FeedForward]:
    """The layers of all blocks in their order; their parameters one after another."""
    masks = [_mask(getattr(plan, mask)) for mask in MASKS]
    layers: list[_Attention | _FeedForward] = []
    size = 1 + len(ATTENTION)
    for start in range(0, len(flat), len(PARAMETERS)):
        block = flat[start : start + len(PARAMETERS)]
        if targets_only and start + len(block) == len(flat):
            masks[-1] = _mask(plan.nbr_of_targets)
        for at, mask in enumerate(masks):
            raw = block[at * size : (at + 1) * size]
            if isinstance(mask, cpu.Apart):
                layers.append(_PartialAttention(raw, mask, dtype))
            else:
                layers.append(_Attention(raw, mask, dtype))
        layers.append(_FeedForward(block[len(masks) * size :], dtype))
    return layers


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        plan: Plan,
        dtype: torch.dtype,
        keep: bool,
        targets_only: bool,
        *flat: Tensor,
    ) -> Tensor:
        stream = x.float().clone(memory_format=torch.contiguous_format)
        update: Tensor | None = None
        ctx.save_for_backward(*flat)  # so that torch notices if one is changed before backward
        ctx.dtype, ctx.kept = dtype, cpu.Used.of(plan.target, len(x)) if targets_only else None
        with torch.autocast("cpu", enabled=False):  # types are chosen here
            ctx.layers = _layers([t.float() for t in flat], plan, dtype, targets_only)
            for number, layer in enumerate(ctx.layers, 1):
                y, factor = cpu.norm(stream, update, dtype)
                update = layer.forward(y, factor, keep)
                if ctx.kept is not None and number == len(ctx.layers) - 1:
                    # no cell sees another in the last layer
                    stream, update = (v.index_select(0, plan.target) for v in (stream, update))
        return (stream if update is None else stream.add_(update)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.layers is None:
            raise RuntimeError("the blocks keep what the backward pass needs for one pass only")
        _ = ctx.saved_tensors  # raises if one was changed
        layers, ctx.layers = ctx.layers, None
        of_layers: list[list[Tensor]] = []
        with torch.autocast("cpu", enabled=False):
            grad = _Gradient(grad_out, ctx.dtype)
            while layers:  # so that a layer's memory is free for the next one
                of_layers.append(layers.pop().backward(grad))
                if ctx.kept is not None and len(of_layers) == 1:
                    grad = _Gradient(ctx.kept.spread(grad.stream), ctx.dtype)
        flat = [tensor for layer in reversed(of_layers) for tensor in layer]
        return grad.stream, None, None, None, None, *flat
