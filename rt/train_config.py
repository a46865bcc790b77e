"""The config of a training run; each component's part is defined beside the component."""

from dataclasses import dataclass, field, fields
from typing import Literal

from plurel.errors import InputError
from rt.config import require
from rt.corpus import DataConfig
from rt.logs import LoggerConfig
from rt.model_config import ModelConfig, Variants
from rt.optim import OptimConfig
from rt.precision import Precision
from rt.real_scores import EvaluationConfig


@dataclass(frozen=True)
class ModelSize(Variants):
    """Sizes and variants of the model and the form of its attention: auto, reference, cpu or flex
    (see `rt.attention`)."""

    num_blocks: int
    d_model: int
    num_heads: int
    d_ff: int
    attention: str = "auto"

    def config(self, d_text: int) -> ModelConfig:
        """The model's config for text embeddings of length d_text."""
        names = [field.name for field in fields(ModelConfig) if field.name != "d_text"]
        return ModelConfig(d_text=d_text, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class TrainerConfig:
    """The loop.

    run_dir: the run's folder. The budget is `steps`, or `token_budget`: cells without padding,
    all ranks together; give one of them. micro_batches: parts of a rank's batch that pass the
    model one after the other. precision: of the passes (`rt.precision`); weights are fp32.
    sharding: none, or full: parameters, gradients and the optimizer's state in shards over the
    ranks (`rt.sharding`). threads: of torch in each process, null for cores / processes.
    eval_every, save_every: steps between held-out losses and between checkpoints. keep: latest
    checkpoints kept beside the best one. select: what the best checkpoint and early stopping go by:
    the held-out loss, or the score on the validation rows of real tasks
    (`rt.real_scores.mean_scores`). patience: evaluations in a row that are not better by more than
    min_delta, after which the run ends early
    (`rt.early_stopping`); null for never.
    """

    run_dir: str
    steps: int | None = None
    token_budget: int | None = None
    micro_batches: int = 1
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sharding: Literal["none", "full"] = "none"
    threads: int | None = None
    eval_every: int = 1000
    save_every: int = 1000
    keep: int = 2
    select: Literal["heldout_loss", "score"] = "heldout_loss"
    patience: int | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        counts = ("steps", "token_budget", "micro_batches", "threads")
        for name in (*counts, "eval_every", "save_every", "keep", "patience"):
            value = getattr(self, name)
            require(value is None or value > 0, f"trainer.{name}", "1 or more", value)
        require(self.min_delta >= 0, "trainer.min_delta", "0 or more", self.min_delta)
        if (self.steps is None) == (self.token_budget is None):
            raise InputError("give either trainer.steps or trainer.token_budget; the other is null")

    def done(self, step: int, tokens: int) -> float:
        """The share of the budget that is spent after `step` steps and `tokens` cells."""
        if self.steps is not None:
            return step / self.steps
        assert self.token_budget is not None
        return min(tokens / self.token_budget, 1.0)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run. regime: what is trained, for people and for the values of
    conf/experiment that differ; load_ckpt_path: the checkpoint whose parameters it starts from
    (any name that `rt.checkpoint.resolve` knows), null for random ones."""

    model: ModelSize
    data: DataConfig
    trainer: TrainerConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    regime: Literal["synthetic", "baseline", "continued", "finetune"] = "synthetic"
    load_ckpt_path: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trainer.sharding == "full" and self.optim.name == "muon":
            raise InputError(
                "trainer.sharding=full: Muon needs whole matrices: give optim=adamw, or "
                "trainer.sharding=none"
            )
        if self.trainer.select == "score" and not self.evaluation.scored:
            raise InputError(
                "trainer.select=score needs real tasks: give evaluation.root, or "
                "trainer.select=heldout_loss"
            )
