"""The native kernels of the CPU path (`rustler`), over torch's tensors, and attention alone.

Tensors are contiguous and on the CPU, in fp32 or bf16; the kernels compute in fp32 either way, and
write into the tensors that they are given. `rt.cpu_blocks` puts them together.

Letters: N packed cells, M queries, K keys, d = d_model, H heads, D = d / H, f = d_ff.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

import rustler
from plurel.errors import InputError
from rt.plan import Groups


def attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """Attention over groups alone, computed in fp32. q, k, v and the result: [N, H, D]."""
    return _Attention.apply(torch.stack((q, k, v), 1), groups).to(q.dtype)


def checked(groups: Groups) -> rustler.Groups:
    """The groups for the kernels; a ValueError if an offset or index is wrong."""
    lists = (groups.query_ptr, groups.query, groups.key_ptr, groups.key, groups.group_ptr)
    return rustler.Groups(*(x.numpy() for x in (*lists, groups.cell_ptr, groups.cell_ptr)))


@dataclass(frozen=True)
class Used:
    """R of N cells, in order: cell i64[R]; place i64[N]: of each cell among them, R for others."""

    cell: Tensor
    place: Tensor

    @classmethod
    def of(cls, numbers: Tensor, cells: int) -> "Used":
        """The cells that a list of numbers names."""
        named = torch.zeros(cells, dtype=torch.bool)
        named[numbers.long()] = True
        place = torch.where(named, named.cumsum(0) - 1, int(named.sum()))
        return cls(torch.nonzero(named)[:, 0], place)

    def spread(self, x: Tensor) -> Tensor:
        """[R, d] to [N, d], 0 for the other cells."""
        return F.pad(x, (0, 0, 0, 1)).index_select(0, self.place)


@dataclass(frozen=True)
class Apart:
    """Groups over rows of queries and keys alone, and the cells that these are."""

    groups: rustler.Groups
    query: Used
    key: Used


def apart(groups: Groups) -> Apart:
    """The groups with rows for the cells that they name alone."""
    cells = int(groups.cell_ptr[-1])
    query, key = Used.of(groups.query, cells), Used.of(groups.key, cells)
    queries, keys = query.place[groups.query.long()].int(), key.place[groups.key.long()].int()
    lists = (groups.query_ptr, queries, groups.key_ptr, keys, groups.group_ptr)
    ends = groups.cell_ptr.long()
    ptrs = [torch.searchsorted(used.cell, ends).int() for used in (query, key)]
    return Apart(rustler.Groups(*(x.numpy() for x in (*lists, *ptrs))), query, key)


def attend(
    qkv: Sequence[Tensor], weight: Tensor | None, groups: rustler.Groups
) -> tuple[Tensor, Tensor]:
    """Output [M, H, D] and log-sum-exp [M, H] for one tensor [N, 3, H, D], where M = N, or for
    queries [M, H, D] and keys with values [K, 2, H, D]; weight [D]: those of the norms of queries
    and keys and the scale of the scores, multiplied; None: no norms."""
    q = qkv[0][:, 0] if len(qkv) == 1 else qkv[0]
    if q.shape[2] > rustler.MAX_HEAD_DIM:
        raise InputError(
            f"attention form 'cpu' takes heads of at most {rustler.MAX_HEAD_DIM} channels, not of "
            f"{q.shape[2]}: give the model more heads, or choose attention 'reference'"
        )
    out, lse = torch.empty(q.shape, dtype=q.dtype), torch.empty(q.shape[:2])
    arrays, factors = [_array(x) for x in qkv], None if weight is None else _array(weight)
    rustler.attention_forward(arrays, factors, groups, _array(out), _array(lse), _threads())
    return out, lse


def attend_backward(
    qkv: Sequence[Tensor], weight: Tensor | None, groups: rustler.Groups, saved: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Gradients of qkv, as it came, and weight; saved: output, log-sum-exp, gradient of the
    output."""
    grads, grad_weight = [torch.empty_like(x) for x in qkv], torch.empty(qkv[0].shape[-1])
    arrays, factors = [_array(x) for x in qkv], None if weight is None else _array(weight)
    out, lse, grad_out = (_array(x) for x in saved)
    gradients = ([_array(x) for x in grads], _array(grad_weight))
    of_forward = (out, lse, grad_out)
    rustler.attention_backward(arrays, factors, groups, of_forward, gradients, _threads())
    return grads, grad_weight


def norm(x: Tensor, update: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Adds the update to x [N, d] (fp32); its rows, normalised, in dtype, and their factors [N]."""
    y, factor = torch.empty(x.shape, dtype=dtype), torch.empty(x.shape[0])
    added = None if update is None else _array(update)
    rustler.norm_forward(_array(x), added, _array(y), _array(factor), _threads())
    return y, factor


def norm_backward(
    saved: tuple[Tensor, Tensor], grad_y: Tensor, grad_x: Tensor, copies: Sequence[Tensor]
) -> None:
    """Adds the gradient through the norm to grad_x [N, d] (fp32). saved: what `norm` returned.
    copies, written: grad_x as products want it [N, d], then it and y transposed [d, N or more]."""
    y, factor = saved
    grad, grad_transposed, y_transposed = (_array(x) for x in copies)
    transposed = (grad_transposed, y_transposed)
    rustler.norm_backward(
        (_array(y), _array(factor)), _array(grad_y), _array(grad_x), (grad, *transposed), _threads()
    )


def transpose(x: Tensor, to: Tensor) -> None:
    """Writes x [R, d] transposed into to [d, R or more]."""
    rustler.transpose_rows(_array(x), _array(to), _threads())


def gate(gates: Tensor) -> Tensor:
    """silu(g) * u [N, f] of the halves g and u of gates [N, 2f]."""
    a = torch.empty(gates.shape[0], gates.shape[1] // 2, dtype=gates.dtype)
    rustler.swiglu_forward(_array(gates), _array(a), _threads())
    return a


def gate_backward(gates: Tensor, grad_a: Tensor) -> None:
    """In place: gates become their gradients, grad_a becomes what `gate` returned."""
    rustler.swiglu_backward(_array(gates), _array(grad_a), _threads())


def _threads() -> int:
    return torch.get_num_threads()


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    # numpy has no bfloat16: its bits
    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    return bits.numpy()


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, groups: Groups) -> Tensor:
        qkv = qkv.float().contiguous()
        ctx.groups = checked(groups)
        out, lse = attend([qkv], None, ctx.groups)
        ctx.save_for_backward(qkv, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        qkv, out, lse = ctx.saved_tensors
        saved = (out, lse, grad.contiguous())
        return attend_backward([qkv], None, ctx.groups, saved)[0][0], None
