"""The native kernels of the CPU path (`rustler`), over torch's tensors, and attention alone.

Tensors are contiguous and on the CPU, in fp32 or bf16; the kernels compute in fp32 either way, and
write into the tensors that they are given. `rt.cpu_blocks` puts them together.

Letters: N packed cells, d = d_model, H heads, D = d / H, f = d_ff.
"""

from collections.abc import Sequence
from typing import Any

import torch
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
    lists = (groups.query_ptr, groups.query, groups.key_ptr, groups.key)
    return rustler.Groups(*(x.numpy() for x in (*lists, groups.group_ptr, groups.cell_ptr)))


def attend(qkv: Tensor, weight: Tensor | None, groups: rustler.Groups) -> tuple[Tensor, Tensor]:
    """Output [N, H, D] and log-sum-exp [N, H] for qkv [N, 3, H, D]; weight [D]: those of the
    norms of queries and keys and the scale of the scores, multiplied; None: no norms."""
    if qkv.shape[3] > rustler.MAX_HEAD_DIM:
        raise InputError(
            f"attention form 'cpu' takes heads of at most {rustler.MAX_HEAD_DIM} channels, not of "
            f"{qkv.shape[3]}: give the model more heads, or choose attention 'reference'"
        )
    out = torch.empty_like(qkv[:, 0])
    lse = torch.empty(qkv.shape[0], qkv.shape[2])
    factors = None if weight is None else _array(weight)
    rustler.attention_forward(_array(qkv), factors, groups, _array(out), _array(lse), _threads())
    return out, lse


def attend_backward(
    qkv: Tensor, weight: Tensor | None, groups: rustler.Groups, saved: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradients of qkv and weight; saved: output, log-sum-exp, gradient of the output."""
    grad_qkv, grad_weight = torch.empty_like(qkv), torch.empty(qkv.shape[3])
    factors = None if weight is None else _array(weight)
    out, lse, grad_out = (_array(x) for x in saved)
    gradients = (_array(grad_qkv), _array(grad_weight))
    of_forward = (out, lse, grad_out)
    rustler.attention_backward(_array(qkv), factors, groups, of_forward, gradients, _threads())
    return grad_qkv, grad_weight


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
        out, lse = attend(qkv, None, ctx.groups)
        ctx.save_for_backward(qkv, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        qkv, out, lse = ctx.saved_tensors
        return attend_backward(qkv, None, ctx.groups, (out, lse, grad.contiguous()))[0], None
