"""The relational transformer (Relational Transformer, arXiv 2510.06377; PluRel, arXiv 2602.04029).

A cell enters as RMSNorm(Linear(its column's name)) + RMSNorm(Linear(its value)), by semantic type;
a target cell has a learned vector of its type in place of the value. Each block, pre-norm and
residual: attention under the masks `col`, `feat`, `nbr` (see `rt.plan`), then SwiGLU. Attention
has RMS-normalised queries and keys per head and no biases. After a last norm there is one linear
head a type. The names of the parameters are those of the published checkpoints.

Letters: B contexts, S slots, N packed cells (no padding), d = d_model, H heads, D = d / H.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plurel.errors import InputError
from rt import cpu_blocks
from rt.attention import FORMS, choose_form, masked_attention
from rt.config import from_dict
from rt.data import BOOLEAN, DATETIME, NUMBER, TEXT, Batch
from rt.plan import MASKS, Groups, Plan
from rt.settings import Settings

TYPE_NAMES = ("number", "text", "datetime", "boolean")
SCALAR_TYPES = (NUMBER, DATETIME, BOOLEAN)
"""Types whose value is one number, in the order of the columns that `_heads` gives."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model. d_text: length of the text embeddings that it reads."""

    num_blocks: int
    d_model: int
    num_heads: int
    d_ff: int
    d_text: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"model.{field.name} must be a positive integer, not {value!r}")
        if self.d_model % self.num_heads:
            raise InputError(
                f"model.d_model {self.d_model} is not a multiple of num_heads {self.num_heads}"
            )

    @classmethod
    def named(cls, size: str, d_text: int) -> "ModelConfig":
        """One of the named sizes: tiny, small, paper."""
        if size not in SIZES:
            raise InputError(f"model size {size!r} is unknown: choose one of {', '.join(SIZES)}")
        return cls(**SIZES[size], d_text=d_text)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """The reverse of `to_dict`. Keys that are absent keep their defaults, so that configs older
        than a variant load; unknown and missing keys are an InputError."""
        return from_dict(cls, values, "model")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for YAML."""
        return asdict(self)


SIZES: dict[str, dict[str, int]] = {
    "tiny": {"num_blocks": 4, "d_model": 64, "num_heads": 4, "d_ff": 256},
    "small": {"num_blocks": 6, "d_model": 128, "num_heads": 4, "d_ff": 512},
    "paper": {"num_blocks": 12, "d_model": 256, "num_heads": 8, "d_ff": 1024},
}


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    """norm(x) in the type of its weight, also where autocast has narrowed x."""
    return norm(x.to(norm.get_parameter("weight").dtype))


class Attention(nn.Module):
    """Attention of every cell over the keys that one mask gives it."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.wq = nn.Linear(d_model, d_model, bias=False)
        self.wk = nn.Linear(d_model, d_model, bias=False)
        self.wv = nn.Linear(d_model, d_model, bias=False)
        self.wo = nn.Linear(d_model, d_model, bias=False)
        self.q_norm = nn.RMSNorm(d_model // num_heads)
        self.k_norm = nn.RMSNorm(d_model // num_heads)

    def forward(self, x: Tensor, groups: Groups, form: str) -> Tensor:
        """x and the result: [N, d]."""
        q, k, v = (w(x).unflatten(-1, (self.num_heads, -1)) for w in (self.wq, self.wk, self.wv))
        out = masked_attention(_normed(self.q_norm, q), _normed(self.k_norm, k), v, groups, form)
        return self.wo(out.flatten(-2))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(d_model, d_ff, bias=False)
        self.w2 = nn.Linear(d_ff, d_model, bias=False)
        self.w3 = nn.Linear(d_model, d_ff, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: [N, d]."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Attention under the three masks, then the feed-forward layer, each pre-norm and residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norms = nn.ModuleDict({name: nn.RMSNorm(d) for name in (*MASKS, "ffn")})
        self.attns = nn.ModuleDict({name: Attention(d, config.num_heads) for name in MASKS})
        self.ffn = FeedForward(d, config.d_ff)

    def forward(self, x: Tensor, plan: Plan, form: str) -> Tensor:
        """x and the result: [N, d]."""
        for name in MASKS:
            x = x + self.attns[name](self.norms[name](x), getattr(plan, name), form)
        return x + self.ffn(self.norms["ffn"](x))

    def native(self) -> list[Tensor]:
        """The parameters for `rt.cpu_blocks`, none if it does not know all that the block does."""
        named = dict(self.named_parameters())
        known = set(named) == set(cpu_blocks.PARAMETERS)
        return [named[name] for name in cpu_blocks.PARAMETERS] if known else []


def without_autocast(device: torch.device) -> torch.autocast:
    """For the small products at both ends: rounding values to bf16 would save no time."""
    return torch.autocast(device.type, enabled=False)


def run_blocks(x: Tensor, blocks: Iterable[nn.Module], plan: Plan, form: str) -> Tensor:
    """x [N, d] after the blocks."""
    parameters = [block.native() if isinstance(block, Block) else [] for block in blocks]
    if form == "cpu" and all(parameters):
        return cpu_blocks.run_blocks(x, plan, parameters, cpu_blocks.compute_dtype())
    for block in blocks:
        x = block(x, plan, form)
    return x


@dataclass(frozen=True)
class Outputs:
    """The heads' outputs at every slot, [B, S] each, 0 at padding: normalised values for number
    and datetime, a logit of (value > 0) for boolean."""

    number: Tensor
    datetime: Tensor
    boolean: Tensor

    def of_type(self, semantic_type: int) -> Tensor:
        """The head of one semantic type."""
        return getattr(self, TYPE_NAMES[semantic_type])


class RelationalTransformer(nn.Module):
    """The published architecture; `attention` names a form of `rt.attention`.

    Initialisation: torch's defaults for linear layers (uniform within 1 / sqrt(fan in)), ones for
    norms, standard normal for the vectors of masked cells, as large as a normalised value. The
    text head (`dec_dict.text`) is part of every checkpoint, but no loss reaches it: it is frozen,
    so that optimizers and data-parallel wrappers leave it alone.
    """

    def __init__(self, config: ModelConfig, attention: str = "auto") -> None:
        super().__init__()
        if attention not in FORMS:
            raise InputError(f"attention form {attention!r} is unknown: one of {', '.join(FORMS)}")
        self.config, self.attention = config, attention
        self.settings = Settings()  # how it must be fed, as far as it is known
        d, d_text = config.d_model, config.d_text
        widths = {name: d_text if name == "text" else 1 for name in TYPE_NAMES}
        self.enc_dict = nn.ModuleDict({name: nn.Linear(w, d) for name, w in widths.items()})
        self.enc_dict["col_name"] = nn.Linear(d_text, d)
        self.dec_dict = nn.ModuleDict({name: nn.Linear(d, w) for name, w in widths.items()})
        self.dec_dict["text"].requires_grad_(False)
        self.norm_dict = nn.ModuleDict({name: nn.RMSNorm(d) for name in (*TYPE_NAMES, "col_name")})
        self.mask_embs = nn.ParameterDict({n: nn.Parameter(torch.randn(d)) for n in TYPE_NAMES})
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.norm_out = nn.RMSNorm(d)

    # what knows of files (`rt.checkpoint`) knows the model, so the model may not import it up there
    @classmethod
    def from_pretrained(
        cls, name: str | PathLike[str], attention: str = "auto"
    ) -> "RelationalTransformer":
        """The model of a checkpoint: a path, a `.pt` file, or OWNER/NAME of the Hugging Face Hub
        (`rt.checkpoint.load_model`)."""
        from rt.checkpoint import load_model

        return load_model(name, attention)

    def save_pretrained(self, path: str | PathLike[str], settings: Settings | None = None) -> None:
        """Write the model to a folder, with `settings` or its own (`rt.checkpoint`)."""
        from rt.checkpoint import save_pretrained

        save_pretrained(self, path, settings)

    def forward(self, batch: Batch) -> Outputs:
        """The outputs of the three scalar heads at every slot."""
        return self.outputs(self.hidden(batch), batch)

    def outputs(self, hidden: Tensor, batch: Batch) -> Outputs:
        """The outputs from what `hidden` returned."""
        with without_autocast(hidden.device):
            heads = self._heads(hidden)
        slots = heads.new_zeros(batch.row.numel(), heads.shape[1])
        slots = slots.index_copy(0, batch.plan.cell, heads).unflatten(0, batch.row.shape)
        return Outputs(*slots.unbind(-1))

    def hidden(self, batch: Batch) -> Tensor:
        """The cells after the last norm, [N, d]; cell n stands in slot batch.plan.cell[n]."""
        with without_autocast(batch.value.device):
            x = self.embed(batch)
        form = choose_form(self.attention, x.device)
        return self.norm_out(run_blocks(x, self.blocks, batch.plan, form))

    def loss(self, batch: Batch) -> Tensor:
        """`target_loss` of the outputs on a batch."""
        return target_loss(self(batch), batch)

    def embed(self, batch: Batch) -> Tensor:
        """The input of the first block, [N, d]. The value or text of a target is never read."""
        if batch.d_text != self.config.d_text:
            raise InputError(
                f"the text embeddings have length {batch.d_text}, but the model was built for "
                f"d_text {self.config.d_text}: use the embedder that it was trained with"
            )
        cell = batch.plan.cell
        kind = batch.semantic_type.reshape(-1)[cell]
        is_target = batch.is_target.reshape(-1)[cell]
        value = batch.value.reshape(-1)[cell]
        texts = batch.text_embedding.to(self.norm_out.weight.dtype)
        # each name and each text passes its layer once, however many cells share it
        names = self._encoded("col_name", texts.index_select(0, batch.column_text))
        x = names.index_select(0, batch.column.reshape(-1)[cell])
        x = x + self._scalar_values(kind, is_target, value)
        at = torch.nonzero((kind == TEXT) & ~is_target)[:, 0]
        text = batch.text.reshape(-1)[cell[at]]
        return x.index_add(0, at, self._encoded("text", texts).index_select(0, text).to(x.dtype))

    def _encoded(self, name: str, x: Tensor) -> Tensor:
        return _normed(self.norm_dict[name], self.enc_dict[name](x))

    def _scalar_values(self, kind: Tensor, is_target: Tensor, value: Tensor) -> Tensor:
        """Values of number, datetime and boolean cells and the vectors of targets, 0 elsewhere.

        A cell picks its type's parameters by a product with a one-hot row: the backward of a
        product is much faster than that of a gather, and every parameter always has a gradient.
        """
        dtype = self.norm_out.weight.dtype
        names = [TYPE_NAMES[t] for t in SCALAR_TYPES]
        weights = [self.get_parameter(f"enc_dict.{name}.weight")[:, 0] for name in names]
        biases = [self.get_parameter(f"enc_dict.{name}.bias") for name in names]
        encoder = torch.stack([*weights, *biases])
        scale = torch.stack([self.get_parameter(f"norm_dict.{name}.weight") for name in names])
        mask_vectors = torch.stack([self.mask_embs[name] for name in TYPE_NAMES])
        shown = torch.stack([(kind == t) & ~is_target for t in SCALAR_TYPES], 1)
        values = torch.where(shown, value[:, None], 0).to(dtype)
        chosen = shown.to(dtype)
        encoded = F.rms_norm(torch.cat((values, chosen), 1) @ encoder, (self.config.d_model,))
        masked = (F.one_hot(kind, len(TYPE_NAMES)) * is_target[:, None]).to(dtype)
        return encoded * (chosen @ scale) + masked @ mask_vectors

    def _heads(self, hidden: Tensor) -> Tensor:
        """[N, d] to [N, 3]: number, datetime, boolean."""
        heads = [f"dec_dict.{TYPE_NAMES[t]}" for t in SCALAR_TYPES]
        weight = torch.cat([self.get_parameter(f"{head}.weight") for head in heads])
        bias = torch.cat([self.get_parameter(f"{head}.bias") for head in heads])
        return F.linear(hidden, weight, bias)


def target_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """The mean over contexts of the mean over a context's targets, a scalar in fp32.

    Huber loss (delta 1) for number and datetime, binary cross-entropy of (value > 0) for boolean.
    Text targets are not scored; a context without a scored target is left out of the mean.
    """
    losses, scored = target_losses(outputs, batch)
    count = scored.sum(1)
    per_context = losses.sum(1) / count.clamp(min=1)
    return per_context.sum() / (count > 0).sum().clamp(min=1)


def target_losses(outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of each slot, f32[B, S], 0 where it is not scored; and bool [B, S]: scored."""
    scored = batch.is_target & (batch.semantic_type != TEXT) & ~batch.is_padding
    at = torch.nonzero(scored.reshape(-1))[:, 0]
    value, kind = batch.value.reshape(-1)[at].float(), batch.semantic_type.reshape(-1)[at]
    number, datetime, boolean = (outputs.of_type(t).reshape(-1)[at].float() for t in SCALAR_TYPES)
    scalar = torch.where(kind == DATETIME, datetime, number)
    squared = F.huber_loss(scalar, value, reduction="none")
    logistic = F.binary_cross_entropy_with_logits(boolean, (value > 0).float(), reduction="none")
    loss = torch.where(kind == BOOLEAN, logistic, squared)
    return loss.new_zeros(scored.numel()).index_copy(0, at, loss).view(scored.shape), scored
