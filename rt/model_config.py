"""Sizes of a model and the variants that it has beside the published architecture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from plurel.errors import InputError
from rt.config import from_dict

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"num_blocks": 4, "d_model": 64, "num_heads": 4, "d_ff": 256},
    "small": {"num_blocks": 6, "d_model": 128, "num_heads": 4, "d_ff": 512},
    "paper": {"num_blocks": 12, "d_model": 256, "num_heads": 8, "d_ff": 1024},
    "large": {"num_blocks": 24, "d_model": 512, "num_heads": 8, "d_ff": 2048},
}

MOST_BLOCKS, MOST_WIDE = 1000, 1 << 20
"""Far above any use: a wrong number in a file is an error, not an hour's work or an overflow."""

Gate = Literal["none", "head", "channel"]
GATES: tuple[Gate, ...] = get_args(Gate)

GONE = ("label_means",)
"""Variants of earlier versions."""


def without_gone(values: Any) -> Any:
    """A model's config without variants of earlier versions that are off; what is no group of keys
    as it is."""
    if not isinstance(values, Mapping):
        return values
    return {key: value for key, value in values.items() if key not in GONE or value}


@dataclass(frozen=True, kw_only=True)
class Variants:
    """What a model has beside the published architecture. Each is off by default.

    attention_gate: attention's output times a learned sigmoid of the cell's normed input, one per
    "head" or per "channel" (Gated Attention for Large Language Models, arXiv 2505.06708, section
    3: gate after attention, before the output projection).
    log_keys: queries times a learned factor per head times the log of the number of their keys, so
    that attention stays as sharp over 1,000 keys as over 10 (Scalable-Softmax, arXiv 2501.19399,
    section 2).
    child_counts: cells read how many visible children their row has in the store, by foreign key,
    and attention under `nbr` has a second output that grows with the log of these numbers
    (Principal Neighbourhood Aggregation, arXiv 2004.05718, section 3.2; see `rt.counts`).
    class_targets: text targets are scored against the embeddings of their task's classes, however
    many there are (`rt.losses`). Without it they are left out.
    row_roles: cells read which part of the context their row is in (the target's own row, a label
    of its entity, a label of another, ...) and how long before the target its time lies
    (`rt.roles`).
    row_likeness: cells of label rows read how much the row is like the target in what tells of
    labels, and how much that tells (`rt.likeness`; contexts of a recipe that asks what labels
    tell, such as `nearest`).
    label_attention: a context's own target answers with a share of the mean of the labels that the
    context shows, which attention learns to weigh; what its cell says is a correction in multiples
    of the labels' spread (`rt.label_attention`).
    zero_init: the last matrix of every layer (`wo`, `w2`) and the heads of numbers begin at 0, so
    that each block begins as the identity and the outputs as 0 (Fixup, arXiv 1901.09321, section
    3).
    """

    attention_gate: Gate = "none"
    log_keys: bool = False
    child_counts: bool = False
    class_targets: bool = False
    row_roles: bool = False
    row_likeness: bool = False
    label_attention: bool = False
    zero_init: bool = False

    @property
    def plain_attention(self) -> bool:
        """Whether attention is the published one, for which there are fused layers."""
        return self.attention_gate == "none" and not (self.log_keys or self.child_counts)


@dataclass(frozen=True)
class ModelConfig(Variants):
    """Sizes and variants of a model. d_text: length of the text embeddings that it reads."""

    num_blocks: int
    d_model: int
    num_heads: int
    d_ff: int
    d_text: int

    def __post_init__(self) -> None:
        for name in ("num_blocks", "d_model", "num_heads", "d_ff", "d_text"):
            value, most = getattr(self, name), MOST_BLOCKS if name == "num_blocks" else MOST_WIDE
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"model.{name} must be a positive integer, not {value!r}")
            if value > most:
                raise InputError(f"model.{name} must be at most {most}, not {value}")
        if self.attention_gate not in GATES:
            raise InputError(
                f"model.attention_gate must be one of {', '.join(GATES)}, "
                f"not {self.attention_gate!r}"
            )
        if self.d_model % self.num_heads:
            raise InputError(
                f"model.d_model {self.d_model} is not a multiple of num_heads {self.num_heads}"
            )

    @classmethod
    def named(cls, size: str, d_text: int, **variants: Any) -> "ModelConfig":
        """One of the named sizes (`SIZES`)."""
        if size not in SIZES:
            raise InputError(f"model size {size!r} is unknown: choose one of {', '.join(SIZES)}")
        return cls.from_dict(SIZES[size] | {"d_text": d_text} | variants)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """The reverse of `to_dict`. Keys that are absent keep their defaults, so that configs older
        than a variant load, and those of variants that are gone are read where they are off;
        unknown and missing keys are an InputError."""
        return from_dict(cls, without_gone(values), "model")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for YAML."""
        return asdict(self)
