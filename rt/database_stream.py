"""Synthetic databases that are generated while a run trains on them.

The databases of a run are numbered by seed. The first `heldout_dbs` are held out. At step s it
trains on a window of `num_dbs` of the others, which moves on by `replaced` databases every `every`
steps: window w = s // every holds the databases [w * replaced, w * replaced + num_dbs). So the
databases of a step are a function of the config and the step, a run that continues has the same,
and the disk holds no more than two windows, however long the run is.

The main rank's processes make the stores (`rt.generate`), those of the next window while this one
is trained on; the other ranks see them come, in a folder that all ranks share.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from plurel.atomic import check_writable
from plurel.config import Config
from plurel.errors import InputError
from plurel.processes import available_cores, one_thread_each, worker_pool
from rt.config import require
from rt.text import embedder_folder

if TYPE_CHECKING:
    from rt.generate import Job

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class GenerateConfig:
    """config: the generator's preset or YAML file; prefix: databases are called <prefix>-<seed>;
    first_seed: of the first held-out one. forecasts: tasks drawn for each. every, replaced: after
    so many steps so many databases give way to new ones. processes: that make databases beside the
    training. folder: where their stores are, null for the run's folder; keep: those that gave way
    stay there, else they are deleted."""

    config: str = "default"
    prefix: str = "rel-synthetic"
    first_seed: int = 0
    forecasts: int = 0
    every: int = 1000
    replaced: int = 32
    processes: int = 1
    folder: str | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "replaced", "processes"):
            value = getattr(self, name)
            require(value > 0, f"data.generate.{name}", "1 or more", value)
        for name in ("first_seed", "forecasts"):
            value = getattr(self, name)
            require(value >= 0, f"data.generate.{name}", "0 or more", value)
        plain = Path(self.prefix).name == self.prefix and not self.prefix.startswith(".")
        require(plain, "data.generate.prefix", "a plain name", self.prefix)


class DatabaseStream:
    """The stores of a run's databases, step by step. To be used in a `with`, which ends the
    processes.

    folder: of the stores, where the config names none. main: whether this rank makes them. stop:
    names of signals that came, which end the waiting.
    """

    def __init__(
        self,
        generate: GenerateConfig,
        *,
        num_dbs: int,
        heldout_dbs: int,
        embedder: str,
        folder: Path,
        main: bool = True,
        stop: Sequence[str] = (),
    ) -> None:
        self.generate, self.num_dbs, self.heldout_dbs = generate, num_dbs, heldout_dbs
        self.folder = Path(generate.folder) if generate.folder is not None else folder
        self.embedder, self.main, self.stop = embedder, main, stop
        self._config = Config.load(generate.config)
        self._context = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self._pending: dict[int, Future[None]] = {}
        self._jobs: dict[int, Job] = {}
        self._processes = 0

    def __enter__(self) -> Self:
        if self.main:
            embedder_folder(self.embedder)  # refused before the work, not after it
            check_writable(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def names(self) -> dict[str, list[str]]:
        """The databases that the run begins with, and those that it holds out."""
        return {
            "train": [self._name(seed) for seed in self._window(0)],
            "heldout": [self._name(seed) for seed in self._heldout],
        }

    def num_seen(self, step: int) -> int:
        """Databases trained on in the steps before `step`, one at least."""
        return self.num_dbs + (max(step - 1, 0) // self.generate.every) * self.generate.replaced

    def window_end(self, step: int) -> int:
        """The first step that is trained on other databases than `step` is."""
        return (step // self.generate.every + 1) * self.generate.every

    def open(self, step: int) -> bool:
        """Make the databases of `step` and the held-out ones, or wait until they are there; then
        begin with those that come next, and delete those that gave way. False if a signal ended the
        waiting.

        InputError, on the main rank, for a database that can't be made.
        """
        number = step // self.generate.every
        window, coming = self._window(number), self._window(number + 1)
        if not self._wait([*self._heldout, *window]):
            return False
        if self.main:
            self._submit(coming, self.generate.processes)
            self._delete_before(window.start)
        return True

    def heldout(self) -> list[Path]:
        """The stores of the held-out databases, once `open` has returned."""
        return [self.folder / self._name(seed) for seed in self._heldout]

    def window(self, step: int) -> list[Path]:
        """The stores of the databases that `step` is trained on, once `open` has returned."""
        seeds = self._window(step // self.generate.every)
        return [self.folder / self._name(seed) for seed in seeds]

    @property
    def _heldout(self) -> range:
        first = self.generate.first_seed
        return range(first, first + self.heldout_dbs)

    def _window(self, number: int) -> range:
        first = self._heldout.stop + number * self.generate.replaced
        return range(first, first + self.num_dbs)

    def _name(self, seed: int) -> str:
        return f"{self.generate.prefix}-{seed}"

    def _job(self, seed: int) -> "Job":
        from rt.generate import Job  # only here: RelBench takes seconds to import

        if seed not in self._jobs:
            name, forecasts = self._name(seed), self.generate.forecasts
            self._jobs[seed] = Job(self.folder, name, seed, self._config, forecasts, self.embedder)
        return self._jobs[seed]

    def _wait(self, seeds: Sequence[int]) -> bool:
        """Until the stores of the seeds are there; False if a signal came first."""
        missing = {seed for seed in seeds if not self._job(seed).is_done()}
        if self.main:
            # where nothing was begun, nothing trains beside it
            processes = self.generate.processes if self._pending else available_cores()
            self._submit(sorted(missing), processes)
        hide = not self.main or not missing
        with tqdm(total=len(missing), desc="databases", unit="db", disable=hide) as bar:
            while missing:
                if self.stop:
                    return False
                there = {seed for seed in missing if self._is_there(seed)}
                missing -= there
                bar.update(len(there))
                if missing and not there:
                    time.sleep(POLL_SECONDS)
        return True

    def _is_there(self, seed: int) -> bool:
        if not self.main:
            return self._job(seed).is_done()
        if not self._pending[seed].done():
            return False
        try:
            self._pending.pop(seed).result()
        except BrokenProcessPool:
            raise InputError(
                "a process that makes databases died: is there enough memory? give fewer "
                "data.generate.processes, or start again"
            ) from None
        except Exception as error:
            raise InputError(f"{self._name(seed)} can't be generated: {error}") from error
        return True

    def _submit(self, seeds: Iterable[int], processes: int) -> None:
        """Let so many processes make the databases that are neither there nor under way."""
        from rt.generate import make_store

        jobs = [
            self._job(seed)
            for seed in seeds
            if seed not in self._pending and not self._job(seed).is_done()
        ]
        if not jobs:
            return
        if self._pool is None or (processes != self._processes and not self._pending):
            self._context.close()
            self._processes = processes
            with one_thread_each():
                self._pool = self._context.enter_context(worker_pool(processes, "rt.generate"))
        for job in jobs:
            self._pending[job.seed] = self._pool.submit(make_store, job)

    def _delete_before(self, first: int) -> None:
        """Delete the databases that gave way to those from the seed `first` on."""
        from rt.generate import MADE

        for seed in [seed for seed in self._jobs if seed < first and seed not in self._heldout]:
            del self._jobs[seed]
        if self.generate.keep:
            return
        for marker in self.folder.glob(f"{self.generate.prefix}-*/{MADE}"):
            number = marker.parent.name.rpartition("-")[2]
            if number.isdecimal() and self._heldout.stop <= int(number) < first:
                shutil.rmtree(marker.parent)
