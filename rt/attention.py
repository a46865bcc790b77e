"""Attention under the relational masks: one interface, several forms that agree.

Letters: N packed cells of a batch, H heads, D channels of a head, B contexts, L cells of the
longest context. Queries see the keys of their group (`rt.plan.Groups`); the weights are the softmax
of q.k / sqrt(D) over them, and a query without keys gets 0.
"""

import torch
from torch import Tensor

from plurel.errors import InputError
from rt import cpu
from rt.plan import Groups

FORMS = ("auto", "reference", "cpu", "flex")
"""reference: dense masks, on any device; cpu: native kernels over the groups, in fp32; flex:
compiled block-sparse kernels, for CUDA (on the CPU without gradients); auto: cpu on the CPU, flex
on CUDA, reference on other devices."""

_DEVICES = {"cpu": ("cpu",), "flex": ("cuda", "cpu")}


def choose_form(form: str, device: torch.device) -> str:
    """What `form` means on a device; an unknown or impossible one is an InputError."""
    if form not in FORMS:
        raise InputError(f"attention form {form!r} is unknown: choose one of {', '.join(FORMS)}")
    if form == "auto":
        return {"cpu": "cpu", "cuda": "flex"}.get(device.type, "reference")
    if form in _DEVICES and device.type not in _DEVICES[form]:
        raise InputError(f"attention form {form!r} cannot run on {device}: choose 'auto'")
    return form


def masked_attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups, form: str = "auto") -> Tensor:
    """Attention of packed cells under one mask. q, k, v and the result: [N, H, D]."""
    form = choose_form(form, q.device)
    if form == "cpu":
        return cpu.attention(q, k, v, groups)
    if form == "flex":
        from rt import flex  # here: it takes a second to import

        return flex.attention(q, k, v, groups)
    return _reference(q, k, v, groups)


def _reference(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """The definition, with dense masks: for tests, and where no faster form exists."""
    position, mask = padded_mask(groups)
    num_contexts, length, _ = mask.shape
    q, k, v = (_padded(x, position, num_contexts, length) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    allowed = mask[:, None]
    weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
    # without this product a query without keys would get the mean of everything
    out = (weights * allowed) @ v
    return out.transpose(1, 2).flatten(0, 1).index_select(0, position)


def _padded(x: Tensor, position: Tensor, num_contexts: int, length: int) -> Tensor:
    """[N, H, D] to [B, H, L, D]."""
    full = x.new_zeros(num_contexts * length, *x.shape[1:]).index_copy(0, position, x)
    return full.unflatten(0, (num_contexts, length)).transpose(1, 2)


def padded_mask(groups: Groups) -> tuple[Tensor, Tensor]:
    """The groups written out: position i64[N] of each packed cell among B * L padded ones, and
    bool [B, L, L], True where a cell may see another."""
    cell_ptr = groups.cell_ptr.long()
    size = cell_ptr.diff()
    num_contexts, length = len(size), max(int(size.max()) if len(size) else 0, 1)
    context = torch.repeat_interleave(torch.arange(num_contexts, device=size.device), size)
    within = torch.arange(len(context), device=size.device) - cell_ptr[context]
    query_count, key_count = groups.query_ptr.long().diff(), groups.key_ptr.long().diff()
    key_count_of_query = torch.repeat_interleave(key_count, query_count)
    query = torch.repeat_interleave(groups.query.long(), key_count_of_query)
    first_key = torch.repeat_interleave(groups.key_ptr.long()[:-1], query_count)
    before = key_count_of_query.cumsum(0) - key_count_of_query
    ordinal = torch.arange(len(query), device=size.device)
    step = torch.repeat_interleave(first_key - before, key_count_of_query)
    key = groups.key.long()[ordinal + step]
    mask = torch.zeros(num_contexts, length, length, dtype=torch.bool, device=size.device)
    mask[context[query], within[query], within[key]] = True
    return context * length + within, mask
