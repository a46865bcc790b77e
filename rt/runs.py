"""A run's folder: is it new, continued or finished; its facts, checkpoints and results."""

import json
import math
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from plurel.atomic import complete_file
from plurel.errors import InputError
from rt import checkpoint
from rt.config import from_dict, to_dict
from rt.logs import FACTS, git_revision, read_metrics, write_facts
from rt.model_config import without_gone
from rt.text_table import aligned
from rt.train_config import TrainConfig

FREE_KEYS = re.compile(
    r"logger\..*|data\.(pre_dir|num_workers|prefetch|sampler_threads)"
    r"|evaluation\.(pre_dir|test_rows)|data\.generate\.(config|skip|processes|folder|keep)"
    r"|trainer\.(run_dir|device|sharding|threads|save_every|keep)"
)
"""Keys that may change when a run continues: they decide no step, no checkpoint and no choice."""

RESULT = "training.json"

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stop_signals(received: list[str]) -> Iterator[list[str]]:
    """`received` gets the names of the signals to stop by; a second SIGINT interrupts."""

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and "SIGINT" in received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """The folder of a run with the given config and databases."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], databases: Mapping[str, Any]
    ) -> None:
        self.folder, self.config, self.databases = folder, config, dict(databases)

    def last_state(self) -> dict[str, Any] | None:
        """The training state of the latest checkpoint, None for a new run.

        InputError if the folder holds a run of another config or on other databases.
        """
        if not (self.folder / "latest").is_file():
            return None
        state = checkpoint.load_trainer(self.folder)
        self._check_same(flatten(self._filled(state["config"])), flatten(self.config))
        if state["databases"] != self.databases:
            raise InputError(
                f"{self.folder} holds a run on other databases than data.* finds or generates now: "
                "restore them, or give another trainer.run_dir"
            )
        return state

    @property
    def start(self) -> dict[str, Any] | None:
        """What run.json says of the checkpoint that the run began from."""
        found: dict[str, Any] | None = self._facts().get("start")
        return found

    def begin(
        self, world_size: int, start: Mapping[str, Any] | None = None, *, step: int = 0
    ) -> None:
        """Write config.yaml and run.json. start: about the checkpoint that the run starts from;
        step: from which it goes on."""
        facts = {"seed": self.config["seed"], "ranks": world_size, "databases": self.databases}
        facts["start"] = None if start is None else dict(start)
        facts["revisions"] = self._revisions(step)
        facts["git_revision"] = facts["revisions"][-1]["git_revision"]
        write_facts(self.folder, self.config, facts)

    def _facts(self) -> dict[str, Any]:
        file = self.folder / FACTS
        found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        return found

    def _revisions(self, step: int) -> list[dict[str, Any]]:
        """The sources that the run was made with, each with the step from which on; of one that an
        older version wrote down the step is None."""
        facts = self._facts() if step else {}
        older = [{"from_step": None, "git_revision": facts.get("git_revision")}] if facts else []
        before = facts.get("revisions", older)
        found = [one for one in before if one["from_step"] is None or one["from_step"] < step]
        now = git_revision()
        if not found or found[-1]["git_revision"] != now:
            found.append({"from_step": step, "git_revision": now})
        return found

    def prune(self, keep: int) -> None:
        """Delete all checkpoints but the last `keep` and those that `latest` and `best` name; a
        later one than `latest` is there where a run was killed between the two."""
        pointers = [self.folder / name for name in checkpoint.POINTERS]
        kept = {pointer.read_text().strip() for pointer in pointers if pointer.is_file()}
        steps = [int(path.name[5:]) for path in self.folder.glob("step_*") if _is_step(path)]
        for step in sorted(steps)[:-keep]:
            if f"step_{step}" not in kept:
                shutil.rmtree(self.folder / f"step_{step}")

    @property
    def complete(self) -> bool:
        """Whether `finish` has been called."""
        return (self.folder / RESULT).is_file()

    def finish(self, scores: Mapping[str, Any] | None = None) -> None:
        """Draw the pictures, write training.json and print the summary. scores: of the best
        checkpoint and of the baselines on real tasks (`rt.trainer.Trainer.final_scores`)."""
        from rt.plots import plot_losses, plot_scores  # only here: it takes a second to import

        records = read_metrics(self.folder)
        result = summary(records, self.config["trainer"]["select"])
        title = self.folder.resolve().name
        plot_losses(records, self.folder / "loss.png", title)
        if scores is not None:
            result["scores"] = dict(scores)
            plot_scores(records, scores, self.folder / "scores.png", title)
        with complete_file(self.folder / RESULT) as file:
            file.write_text(json.dumps(result, indent=1) + "\n")
        print(table(result))
        print(f"checkpoints, metrics.jsonl and pictures are in {self.folder}")

    def _filled(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """A run's config, fields that came after it with their defaults: what it did."""
        if "model" in before:
            before = {**before, "model": without_gone(before["model"])}
        try:
            return to_dict(from_dict(TrainConfig, before))
        except InputError as error:
            raise InputError(
                f"{self.folder} holds a run that this version can't continue: {error}"
            ) from None

    def _check_same(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key) and not FREE_KEYS.fullmatch(key):
                raise InputError(
                    f"{self.folder} holds a run with {key} = {before.get(key)!r}, not "
                    f"{now.get(key)!r}: give the same value to continue it, or another "
                    "trainer.run_dir"
                )


def _is_step(path: Path) -> bool:
    """Whether it is a run's own checkpoint, and not a copy that somebody keeps beside it."""
    return re.fullmatch(r"step_(0|[1-9][0-9]*)", path.name) is not None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def summary(records: list[dict[str, Any]], select: str = "heldout_loss") -> dict[str, Any]:
    """First, last and best held-out losses beside the constant's, and what training took. The best
    step is that of the checkpoint `best`: by held-out loss (of the weight average where there is
    one) or by score."""
    steps = [record for record in records if "loss" in record]
    heldout = [record for record in records if "heldout_loss" in record]
    best = min(heldout[1:] or heldout, key=partial(_value, select=select))
    seen = {"databases": steps[-1]["databases"]} if "databases" in steps[-1] else {}
    seconds = sum(record["seconds"] for record in steps)
    return {
        "steps": steps[-1]["step"],
        "tokens": steps[-1]["tokens"],
        "slots": steps[-1]["slots"],
        **seen,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(steps[-1]["tokens"] / seconds),
        "wait_share": round(sum(r["wait_share"] * r["seconds"] for r in steps) / seconds, 4),
        "best_step": best["step"],
        "stopped_early": any("stopped_early" in record for record in records),
        "heldout": _heldout_losses(heldout[0], best, heldout[-1]),
    }


def _value(record: Mapping[str, Any], select: str) -> float:
    if select == "score":
        return -float(record["score"])
    return float(record.get("ema_heldout_loss", record["heldout_loss"]))


def _heldout_losses(
    start: Mapping[str, Any], best: Mapping[str, Any], end: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    return {
        f"{prefix}loss{kind}": {
            "start": start[f"{prefix}heldout_loss{kind}"],
            "best": best[f"{prefix}heldout_loss{kind}"],
            "end": end[f"{prefix}heldout_loss{kind}"],
            "constant": end[f"constant_loss{kind}"],
        }
        for prefix in ("", "ema_")
        for kind in ("", "_number", "_boolean")
        if end.get(f"{prefix}heldout_loss{kind}") is not None
    }


def table(result: Mapping[str, Any]) -> str:
    """The summary for people."""
    names = {"loss": "all", "loss_number": "numbers", "loss_boolean": "booleans"}
    names |= {f"ema_{name}": f"{text}, average" for name, text in names.items()}
    columns = ("start", "best", "end", "constant")
    lines = [
        f"{result['steps']} steps, {result['tokens']:,} cells in {result['seconds']:.0f} s: "
        f"{result['tokens_per_s']:,} cells/s, {result['wait_share']:.1%} of it waiting for data",
        f"{'held-out loss':<18}" + "".join(f"{column:>10}" for column in columns),
    ]
    if result["stopped_early"]:
        lines.insert(
            0, f"stopped early; the best evaluation was that of step {result['best_step']}"
        )
    for name, values in result["heldout"].items():
        lines.append(f"{names[name]:<18}" + "".join(f"{values[c]:>10.4f}" for c in columns))
    for split, models in result.get("scores", {}).items():
        lines += ["", *_score_lines(split, models)]
    return "\n".join(lines)


def _score_lines(split: str, models: Mapping[str, Any]) -> list[str]:
    """A table of one split's scores on real tasks: a line for each task and metric."""
    cells = [[f"{split} rows", "metric", *models]]
    for task, metrics in [*models["best"]["tasks"].items(), ("mean", models["best"]["mean"])]:
        for metric in metrics:
            of_models = [m["mean"] if task == "mean" else m["tasks"][task] for m in models.values()]
            cells.append(
                [task, metric, *(f"{found.get(metric, math.nan):.4f}" for found in of_models)]
            )
    return aligned(cells, left=2)
