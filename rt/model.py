"""The relational transformer (Relational Transformer, arXiv 2510.06377; PluRel, arXiv 2602.04029).

A cell enters as RMSNorm(Linear(its column's name)) + RMSNorm(Linear(its value)), by semantic type;
a target cell has a learned vector of its type in place of the value. Each block, pre-norm and
residual: attention under the masks `col`, `feat`, `nbr` (see `rt.plan`), then SwiGLU. Attention
has RMS-normalised queries and keys per head and no biases. After a last norm there is one linear
head a type. The names of the parameters are those of the published checkpoints.

Letters: B contexts, S slots, N packed cells (no padding), T of them targets, d = d_model, H heads,
D = d / H.
"""

import math
from itertools import chain
from os import PathLike
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plurel.errors import InputError
from rt.attention import FORMS, choose_form
from rt.blocks import Block, normed, run_blocks, without_autocast
from rt.counts import ChildCounts, child_counts
from rt.data import TEXT, Batch
from rt.label_attention import LabelAttention
from rt.likeness import NUM_ALIKE, row_likeness
from rt.losses import SCALAR_TYPES, TYPE_NAMES, Outputs, target_loss, target_losses
from rt.model_config import SIZES, ModelConfig, Variants
from rt.roles import NUM_ROLES, row_roles
from rt.settings import Settings

__all__ = ["SIZES", "ModelConfig", "Outputs", "RelationalTransformer", "Variants", "target_loss",
           "target_losses"]  # fmt: skip


FIRST_TEMPERATURE = 0.07
"""Of the classes' scores, as in CLIP (arXiv 2103.00020, section 2.5) ..."""
MOST_SCALE = math.log(100.0)
"""... and the log of the largest factor of scores that is learned, from there too."""


class RelationalTransformer(nn.Module):
    """The published architecture; `attention` names a form of `rt.attention`.

    Initialisation: torch's defaults for linear layers (uniform within 1 / sqrt(fan in)), ones for
    norms, standard normal for the vectors of masked cells, as large as a normalised value. The
    text head (`dec_dict.text`) is part of every checkpoint, but without the variant `class_targets`
    no loss reaches it: it is frozen, so that optimizers and data-parallel wrappers leave it alone.
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
        self.norm_dict = nn.ModuleDict({name: nn.RMSNorm(d) for name in (*TYPE_NAMES, "col_name")})
        self.mask_embs = nn.ParameterDict({n: nn.Parameter(torch.randn(d)) for n in TYPE_NAMES})
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.norm_out = nn.RMSNorm(d)
        temperature = torch.tensor(math.log(1 / FIRST_TEMPERATURE))
        self.class_scale = nn.Parameter(temperature) if config.class_targets else None
        self.w_count = nn.Linear(d, d, bias=False) if config.child_counts else None
        self.w_role = nn.Linear(NUM_ROLES, d, bias=False) if config.row_roles else None
        if self.w_role is not None:
            nn.init.zeros_(self.w_role.weight)  # at first the model is the published one
        self.w_alike = nn.Linear(NUM_ALIKE, d, bias=False) if config.row_likeness else None
        if self.w_alike is not None:
            nn.init.zeros_(self.w_alike.weight)
        wanted = config.label_attention
        self.label_attention = LabelAttention(d, config.num_heads) if wanted else None
        if config.zero_init:
            self._zero_outputs()
        self.freeze_unused()

    def freeze_unused(self) -> None:
        """No loss reaches the head of texts unless texts are targets."""
        self.dec_dict["text"].requires_grad_(self.config.class_targets)

    def _zero_outputs(self) -> None:
        """0 for the matrices through which layers add to a cell, and for the heads of numbers: of
        the text head only the direction counts, and 0 has none."""
        lasts = [m for block in self.blocks for m in cast(Block, block).last_matrices()]
        heads = [self.dec_dict[TYPE_NAMES[t]].parameters() for t in SCALAR_TYPES]
        for parameter in (*lasts, *chain(*heads)):
            nn.init.zeros_(parameter)

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

    def forward(self, batch: Batch, targets_only: bool = False) -> Outputs:
        """The outputs of the three scalar heads at every slot, and of texts' at the targets.

        targets_only: of the scalar heads too, and 0 at other slots. What only others would read is
        not computed: the queries of the last attention, and the last feed-forward layer."""
        hidden, before = self._read(batch, targets_only)
        return self.outputs(hidden, batch, targets_only, before)

    def outputs(
        self,
        hidden: Tensor,
        batch: Batch,
        targets_only: bool = False,
        before: Tensor | None = None,
    ) -> Outputs:
        """The outputs from what `hidden` returned. before: the cells before the last block, without
        which a model with `label_attention` has no outputs: InputError."""
        plan = batch.plan
        at = plan.cell.index_select(0, plan.target) if targets_only else plan.cell
        with without_autocast(hidden.device):
            heads, text = self._heads(hidden), None
            if self.class_scale is not None or self.label_attention is not None:
                places = _own_places(at, batch)
                own = _rows_at(hidden, places)
            if self.class_scale is not None:
                text = self._text_head(own)
            if self.label_attention is not None:
                if before is None:
                    raise InputError(
                        "a model with label_attention reads more than `hidden`: call it"
                    )
                answers = self.label_attention(own, before, batch)
                heads = _with_answers(heads, answers, places, batch)
        slots = heads.new_zeros(batch.row.numel(), heads.shape[1])
        slots = slots.index_copy(0, at, heads).unflatten(0, batch.row.shape)
        number, datetime, boolean = slots.unbind(-1)
        return Outputs(number, datetime, boolean, text)

    def vectors(self, batch: Batch) -> Tensor:
        """[B, `vector_width`]: what the model has of each context's own target, for heads that are
        fitted on it: its cell after the last norm; with `label_attention` also what the labels say
        and their spread."""
        hidden, before = self._read(batch, targets_only=True)
        at = batch.plan.cell.index_select(0, batch.plan.target)
        own = _rows_at(hidden, _own_places(at, batch))
        if self.label_attention is None:
            return own
        assert before is not None
        with without_autocast(hidden.device):
            answer, spread = self.label_attention(own, before, batch)
        return torch.cat((own.float(), answer[:, None], spread[:, None]), 1)

    @property
    def vector_width(self) -> int:
        """Of `vectors`."""
        return self.config.d_model + 2 * self.config.label_attention

    def _text_head(self, own: Tensor) -> Tensor:
        """[B, d_text], see `Outputs`, of each context's own target [B, d]."""
        assert self.class_scale is not None
        unit = F.normalize(self.dec_dict["text"](own).float(), dim=-1)
        return unit * self.class_scale.clamp(max=MOST_SCALE).exp()

    def hidden(self, batch: Batch, targets_only: bool = False) -> Tensor:
        """The cells after the last norm, [N, d]; cell n stands in slot batch.plan.cell[n]. With
        targets_only those of batch.plan.target alone, [T, d]."""
        return self._read(batch, targets_only)[0]

    def _read(self, batch: Batch, targets_only: bool) -> tuple[Tensor, Tensor | None]:
        """What `hidden` returns, and the cells before the last block [N, d], where
        something else than this block reads them."""
        counts = None
        with without_autocast(batch.value.device):
            x = self.embed(batch)
            if self.w_count is not None:
                counts = self._counts(batch)
                x = x + counts.per_cell(self.w_count(counts.names))
            if self.w_role is not None:
                x = x + self.w_role(row_roles(batch).to(x.dtype))
            if self.w_alike is not None:
                x = x + self.w_alike(row_likeness(batch).to(x.dtype))
        form, plan = choose_form(self.attention, x.device), batch.plan
        blocks = list(self.blocks)
        before = None
        if self.label_attention is not None:
            x = before = run_blocks(x, blocks[:-1], plan, form, counts)
            blocks = blocks[-1:]
        return self.norm_out(run_blocks(x, blocks, plan, form, counts, targets_only)), before

    def loss(self, batch: Batch) -> Tensor:
        """`target_loss` of the outputs on a batch."""
        return target_loss(self(batch, targets_only=True), batch)

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

    def _counts(self, batch: Batch) -> ChildCounts:
        texts = batch.text_embedding.to(self.norm_out.weight.dtype)
        return child_counts(batch, self._encoded("col_name", texts.index_select(0, batch.key_text)))

    def _encoded(self, name: str, x: Tensor) -> Tensor:
        return normed(self.norm_dict[name], self.enc_dict[name](x))

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


def _with_answers(
    heads: Tensor, answers: tuple[Tensor, Tensor], places: Tensor, batch: Batch
) -> Tensor:
    """The heads [N, 3], of which that of each context's own target, at `places`, is a correction of
    an answer, in multiples of its spread (`LabelAttention`)."""
    answer, spread = (part[:, None] for part in answers)
    is_type = batch.target_type[:, None] == torch.tensor(SCALAR_TYPES, device=heads.device)
    more = (answer + (spread - 1) * _rows_at(heads, places)) * is_type
    return F.pad(heads, (0, 0, 0, 1)).index_add(0, places, more.to(heads.dtype))[:-1]


def _rows_at(x: Tensor, places: Tensor) -> Tensor:
    """x [N, ...] at these places, of which N is nowhere: 0."""
    return F.pad(x, (0, 0, 0, 1)).index_select(0, places)


def _own_places(at: Tensor, batch: Batch) -> Tensor:
    """i64[B]: where in `at`, slots in order, each context's own target stands; len(at) for contexts
    without cells."""
    slot = torch.arange(batch.num_contexts, device=at.device) * batch.num_slots
    slot = slot + batch.target_slot
    place = torch.searchsorted(at, slot)
    found = F.pad(at, (0, 1), value=-1).index_select(0, place)
    return torch.where(found == slot, place, len(at))
