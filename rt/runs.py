"""A run's folder: is it new, continued or finished; its facts, checkpoints and results."""

import json
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from plurel.atomic import complete_file
from plurel.errors import InputError
from rt import checkpoint
from rt.logs import read_metrics, write_facts

FREE_KEYS = re.compile(
    r"logger\..*|data\.(num_workers|prefetch|sampler_threads)"
    r"|trainer\.(run_dir|device|threads|save_every|keep)"
)
"""Keys that may change when a run continues: they decide no value that is computed."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """A list that receives the names of the signals to stop by; a second SIGINT interrupts."""
    received: list[str] = []

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
        self, folder: Path, config: Mapping[str, Any], databases: Mapping[str, list[str]]
    ) -> None:
        self.folder, self.config, self.databases = folder, config, dict(databases)

    def last_state(self) -> dict[str, Any] | None:
        """The training state of the latest checkpoint, None for a new run.

        InputError if the folder holds a run of another config or on other databases.
        """
        if not (self.folder / "latest").is_file():
            return None
        state = checkpoint.load_trainer(self.folder)
        self._check_same(flatten(state["config"]), flatten(self.config))
        if state["databases"] != self.databases:
            raise InputError(
                f"{self.folder} holds a run on other databases than data.* finds now: restore "
                "them, or give another trainer.run_dir"
            )
        return state

    def begin(self, world_size: int) -> None:
        """Write config.yaml and run.json."""
        facts = {"seed": self.config["seed"], "ranks": world_size, "databases": self.databases}
        write_facts(self.folder, self.config, facts)

    def prune(self, keep: int) -> None:
        """Delete all checkpoints but the latest `keep` and the best one."""
        best = self.folder / "best"
        kept = {best.read_text().strip()} if best.is_file() else set()
        folders = sorted(self.folder.glob("step_*"), key=lambda path: int(path.name[5:]))
        for path in folders[:-keep]:
            if path.name not in kept:
                shutil.rmtree(path)

    def finish(self, again: bool = True) -> None:
        """Draw loss.png, write training.json and print the summary; unless `again`, only if a kill
        came between the last checkpoint and this."""
        if not again and (self.folder / "training.json").is_file():
            return
        from rt.plots import plot_losses  # only here: matplotlib takes a second to import

        records = read_metrics(self.folder)
        result = summary(records)
        plot_losses(records, self.folder / "loss.png", title=self.folder.resolve().name)
        with complete_file(self.folder / "training.json") as file:
            file.write_text(json.dumps(result, indent=1) + "\n")
        print(table(result))
        print(f"checkpoints, metrics.jsonl and loss.png are in {self.folder}")

    def _check_same(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key) and not FREE_KEYS.fullmatch(key):
                raise InputError(
                    f"{self.folder} holds a run with {key} = {before.get(key)!r}, not "
                    f"{now.get(key)!r}: give the same value to continue it, or another "
                    "trainer.run_dir"
                )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """First, last and best held-out losses beside the constant's, and what training took. The best
    step is by the weight average where there is one, as the checkpoint `best` is."""
    steps = [record for record in records if "loss" in record]
    heldout = [record for record in records if "heldout_loss" in record]
    best = min(heldout[1:] or heldout, key=lambda r: r.get("ema_heldout_loss", r["heldout_loss"]))
    seconds = sum(record["seconds"] for record in steps)
    return {
        "steps": steps[-1]["step"],
        "tokens": steps[-1]["tokens"],
        "slots": steps[-1]["slots"],
        "seconds": round(seconds, 1),
        "tokens_per_s": round(steps[-1]["tokens"] / seconds),
        "wait_share": round(sum(r["wait_share"] * r["seconds"] for r in steps) / seconds, 4),
        "best_step": best["step"],
        "stopped_early": any("stopped_early" in record for record in records),
        "heldout": _heldout_losses(heldout[0], best, heldout[-1]),
    }


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
            0, f"stopped early; the held-out loss was lowest at step {result['best_step']}"
        )
    for name, values in result["heldout"].items():
        lines.append(f"{names[name]:<18}" + "".join(f"{values[c]:>10.4f}" for c in columns))
    return "\n".join(lines)
