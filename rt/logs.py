"""What a run says: a progress line, metrics.jsonl, wandb, and the facts in the run's folder."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import yaml
from tqdm import tqdm

from plurel.atomic import cannot_write, complete_file
from plurel.errors import InputError

METRICS = "metrics.jsonl"
CONFIG, FACTS = "config.yaml", "run.json"


@dataclass(frozen=True)
class LoggerConfig:
    """every: steps between records. progress: whether to show the progress line.
    wandb: disabled, offline (a folder in the run's folder) or online; project, name: there."""

    every: int = 10
    progress: bool = True
    wandb: Literal["disabled", "offline", "online"] = "disabled"
    project: str = "plurel"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"logger.every must be 1 or more, not {self.every}")


@dataclass
class Window:
    """Sums over the steps since the last record. Seconds are of steps alone, without held-out
    losses and checkpoints."""

    steps: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, loss: float, norm: float, tokens: int, seconds: float, waited: float) -> None:
        """Count one step."""
        self.steps, self.loss, self.grad_norm = self.steps + 1, self.loss + loss, norm
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self.waited += waited

    def record(self) -> dict[str, float]:
        """Means over the window; grad_norm is the last step's."""
        return {
            "loss": self.loss / self.steps,
            "grad_norm": self.grad_norm,
            "tokens_per_s": self.tokens / self.seconds,
            "wait_share": self.waited / self.seconds,
            "seconds": self.seconds,
        }

    def state(self) -> dict[str, float]:
        """The arguments that make this window again."""
        return asdict(self)


class RunLog:
    """Writes records to metrics.jsonl and wandb, and keeps the progress line.

    One object a line: training records {step, tokens, slots, loss, lr, grad_norm, tokens_per_s,
    wait_share, seconds}, with databases, how many were seen, where they are generated; held-out
    records {step, tokens, heldout_loss, ...}, of the weight average under names with ema_ in front,
    with scores on real tasks where there are any; and {step, tokens, stopped_early, best_step} at
    the end of a run that ended early. Records of steps
    after `last_step` are dropped: a run that continues writes them again. folder: None on ranks
    that are silent. progress: size of the budget, what is spent of it, its unit.
    """

    def __init__(
        self,
        folder: Path | None,
        config: LoggerConfig,
        facts: Mapping[str, Any],
        *,
        last_step: int,
        progress: tuple[int, int, str],
    ) -> None:
        self._file: IO[str] | None = None
        self._wandb: Any = None
        if folder is not None:
            kept = [record for record in read_metrics(folder) if record["step"] <= last_step]
            path = folder / METRICS
            with complete_file(path) as file:
                file.write_text("".join(json.dumps(record) + "\n" for record in kept))
            self._file = path.open("a", buffering=1, encoding="utf-8")
            self._wandb = _start_wandb(folder, config, facts)
        total, done, unit = progress
        self._bar = tqdm(
            total=total, initial=done, unit=unit, unit_scale=unit != "step", desc="training",
            disable=folder is None or not config.progress, dynamic_ncols=True,
        )  # fmt: skip
        self._shown: dict[str, str] = {}

    def training(self, values: Mapping[str, float]) -> None:
        """Record a training record and show its main values."""
        self._record(values)
        self._shown["loss"] = f"{values['loss']:.4f}"
        self._shown["cells/s"] = f"{values['tokens_per_s']:,.0f}"
        self._shown["waiting"] = f"{values['wait_share']:.0%}"
        self._bar.set_postfix(self._shown)

    def heldout(self, values: Mapping[str, float | int | None]) -> None:
        """Record a held-out record and print its loss beside the constant's."""
        self._record(values)
        self._shown["held-out"] = f"{values['heldout_loss']:.4f}"
        self._bar.set_postfix(self._shown)
        average, score = values.get("ema_heldout_loss"), values.get("score")
        self.say(
            f"step {values['step']}: held-out loss {values['heldout_loss']:.4f} "
            + (f"of the weights, {average:.4f} of their average " if average is not None else "")
            + f"(a constant: {values['constant_loss']:.4f})"
            + (f", score on real tasks {score:.4f}" if score is not None else "")
        )

    def stopped_early(self, step: int, tokens: int, best_step: int) -> None:
        """Record and say that the run ends before its budget is spent."""
        self._record(
            {"step": step, "tokens": tokens, "stopped_early": True, "best_step": best_step}
        )
        self.say(f"stopped early at step {step}: the best evaluation was that of step {best_step}")

    def advance(self, count: int) -> None:
        """Move the progress line."""
        self._bar.update(count)

    def say(self, line: str) -> None:
        """Print a line above the progress line."""
        if self._file is not None:
            tqdm.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._file is not None:
            # what could not be written fails again here
            with suppress(OSError) if error is not None else nullcontext():
                self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=int(kind is not None))

    def _record(self, values: Mapping[str, float | int | None]) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(dict(values)) + "\n")
            except OSError as error:
                raise cannot_write(Path(self._file.name), error) from None
        if self._wandb is not None:
            self._wandb.log(dict(values))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl; a last line that was cut short is left out."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise InputError(f"{path} holds a line that is not JSON: remove it") from None


def write_facts(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """config.yaml and run.json (versions and what `facts` adds)."""
    with complete_file(folder / CONFIG) as file:
        file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    content = {**facts, "versions": versions()}
    with complete_file(folder / FACTS) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("plurel", "torch", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_revision() -> str | None:
    """The revision of the sources, with "+" if they differ from it; None outside of a clone."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision + ("+" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _start_wandb(folder: Path, config: LoggerConfig, facts: Mapping[str, Any]) -> Any:
    if config.wandb == "disabled":
        return None
    import wandb  # only here: it takes a second to import

    place = folder.resolve()
    content = json.dumps([str(place), dict(facts)], sort_keys=True)
    # the same for a run that continues, another for any other run
    identity = f"{place.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    try:
        return wandb.init(
            project=config.project, name=config.name or place.name, id=identity, resume="allow",
            mode=config.wandb, dir=str(folder), config=dict(facts),
        )  # fmt: skip
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"logger.wandb={config.wandb}: wandb cannot start: {reason}; "
            "give logger.wandb=offline or disabled"
        ) from None
