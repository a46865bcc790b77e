"""Synthetic databases that are generated while a run trains on them.

The databases of a run are numbered by seed. The first `heldout_dbs` are held out. At step s it
trains on a window of `num_dbs` of the others, which moves on by `replaced` databases every `every`
steps: window w = s // every holds the databases [w * replaced, w * replaced + num_dbs). So the
databases of a step are a function of the config and the step, a run that continues has the same,
and beside the held-out ones the disk holds no more than two windows, however long the run is.

The main rank's processes make the stores (`rt.makers`), those of the next window while this one is
trained on; the other ranks see them come, in a folder that all ranks share and no other run uses.
"""

import fcntl
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from tqdm import tqdm

from plurel.atomic import check_writable
from plurel.config import Config
from plurel.errors import InputError
from rt.config import require
from rt.ranks import Ranks, usable_cores
from rt.text import embedder_folder

if TYPE_CHECKING:
    from rt.generate import Job
    from rt.makers import Makers

POLL_SECONDS = 0.5
GRACE_SECONDS = 60.0
"""In which what the main rank has written must be seen by all."""


@dataclass(frozen=True)
class GenerateConfig:
    """config: the generator's preset or YAML file; prefix: databases are called <prefix>-<seed>;
    first_seed: of the first held-out one; skip: seeds that are left out of their windows.
    forecasts: tasks drawn for each. every, replaced: after so many steps so many databases give way
    to new ones. processes: that make databases beside the training. folder: where their stores are,
    null for the run's folder; keep: those that gave way stay there, else they are deleted."""

    config: str = "default"
    prefix: str = "rel-synthetic"
    first_seed: int = 0
    skip: tuple[int, ...] = ()
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
        plain = Path(self.prefix).name == self.prefix and self.prefix[:1] not in ("", ".")
        require(plain, "data.generate.prefix", "a plain name", self.prefix)


class DatabaseStream:
    """The stores of a run's databases, step by step. To be used in a `with`, which ends the
    processes. All ranks call `open`, with the same steps.

    folder: of the stores, where the config names none. stop: names of signals that came, which end
    the waiting.
    """

    def __init__(
        self,
        generate: GenerateConfig,
        *,
        num_dbs: int,
        heldout_dbs: int,
        embedder: str,
        folder: Path,
        ranks: Ranks | None = None,
        stop: Sequence[str] = (),
    ) -> None:
        self.generate, self.num_dbs, self.heldout_dbs = generate, num_dbs, heldout_dbs
        self.folder = Path(generate.folder) if generate.folder is not None else folder
        self.embedder, self.ranks, self.stop = embedder, ranks or Ranks(), stop
        self._config = Config.load(generate.config)
        self._jobs: dict[int, Job] = {}
        self._makers: Makers | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._makers is not None:
            self._makers.close()
        if self._lock is not None:
            self._lock.close()

    def names(self) -> dict[str, Any]:
        """The databases that the run begins with, those that it holds out, and what decides all of
        them; skipped ones among them, so that a run may go on without one."""
        provenance = self._job(self.generate.first_seed).provenance
        return {
            "train": [self._name(seed) for seed in self._window(0)],
            "heldout": [self._name(seed) for seed in self._heldout],
            "generated": provenance,
        }

    def num_seen(self, step: int) -> int:
        """Databases trained on in the steps before `step`, those of the first window at least."""
        windows = max(step - 1, 0) // self.generate.every
        seeds = range(self._window(0).start, self._window(windows).stop)
        return len(self._without_skipped(seeds))

    def window_number(self, step: int) -> int:
        """The number of the window that `step` is in, from 0."""
        return step // self.generate.every

    def window_end(self, step: int) -> int:
        """The first step that is trained on other databases than `step` is."""
        return (self.window_number(step) + 1) * self.generate.every

    def open(self, step: int) -> bool:
        """Make the databases of `step` and the held-out ones, or wait until they are there; then
        begin with those that come next, and delete those that gave way. False, on all ranks, if a
        signal to one of them ended the waiting.

        InputError, on all ranks, for a database that can't be made, for a folder that another run
        uses, and for one that not all ranks see.
        """
        number = self.window_number(step)
        window, coming = self._window(number), self._window(number + 1)
        if not self._wait(self._without_skipped([*self._heldout, *window])):
            return False
        if self._makers is not None:
            self._make(self._without_skipped(coming), self.generate.processes)
            self._delete_before(window.start)
        return True

    def heldout(self) -> list[Path]:
        """The stores of the held-out databases, once `open` has returned."""
        return self._stores(self._heldout)

    def window(self, step: int) -> list[Path]:
        """The stores of the databases that `step` is trained on, once `open` has returned."""
        return self._stores(self._window(self.window_number(step)))

    @property
    def _heldout(self) -> range:
        first = self.generate.first_seed
        return range(first, first + self.heldout_dbs)

    def _window(self, number: int) -> range:
        first = self._heldout.stop + number * self.generate.replaced
        return range(first, first + self.num_dbs)

    def _without_skipped(self, seeds: Iterable[int]) -> list[int]:
        return [seed for seed in seeds if seed not in self.generate.skip]

    def _stores(self, seeds: Iterable[int]) -> list[Path]:
        return [self.folder / self._name(seed) for seed in self._without_skipped(seeds)]

    def _name(self, seed: int) -> str:
        return f"{self.generate.prefix}-{seed}"

    def _job(self, seed: int) -> "Job":
        from rt.generate import Job  # only here: RelBench takes seconds to import

        if seed not in self._jobs:
            name, forecasts = self._name(seed), self.generate.forecasts
            self._jobs[seed] = Job(self.folder, name, seed, self._config, forecasts, self.embedder)
        return self._jobs[seed]

    def _wait(self, seeds: Sequence[int]) -> bool:
        """Until all ranks see the stores of the seeds; False if a signal came first."""
        missing = {seed for seed in seeds if not self._job(seed).is_done()}
        failure: InputError | None = None
        hide = not self.ranks.is_main or not missing
        with tqdm(total=len(missing), desc="databases", unit="db", disable=hide) as bar:
            complete = None  # since when the main rank has all
            while True:
                if self.ranks.is_main:
                    failure = self._progress(missing)
                there = {seed for seed in missing if self._job(seed).is_done()}
                missing -= there
                bar.update(len(there))
                # a rank that is gone ends this too
                table = self.ranks.gather([len(missing), len(self.stop), failure is not None])
                if table[:, 2].any():
                    raise failure or InputError("databases can't be generated: rank 0 says why")
                if table[:, 1].any():
                    return False
                if not table[:, 0].any():
                    return True
                if not table[0, 0]:
                    complete = complete or time.monotonic()
                    self._check_seen(table[:, 0].tolist(), time.monotonic() - complete)
                time.sleep(POLL_SECONDS)

    def _progress(self, missing: set[int]) -> InputError | None:
        """Let what is missing be made, on the main rank; what is wrong with it."""
        try:
            if self._makers is None:
                self._makers = self._begin()
            self._makers.check(self._name(seed) for seed in missing)
            # where nothing was begun, nothing trains beside it
            busy = bool(self._makers.names())
            self._make(sorted(missing), self.generate.processes if busy else usable_cores())
        except InputError as error:
            return error
        return None

    def _begin(self) -> "Makers":
        """What makes databases, once the folder is this run's alone."""
        from rt.makers import Makers

        embedder_folder(self.embedder)  # refused before the work, not after it
        check_writable(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{self.folder}: another run makes its databases there: give another "
                "data.generate.folder, or null"
            ) from None
        return Makers()

    def _make(self, seeds: Iterable[int], processes: int) -> None:
        """Let processes make the databases that are neither there nor given to one."""
        assert self._makers is not None
        given = self._makers.names()
        jobs = [self._job(seed) for seed in seeds if self._name(seed) not in given]
        self._makers.start([job for job in jobs if not job.is_done()], processes)

    def _check_seen(self, missing: Sequence[float], seconds: float) -> None:
        """InputError if ranks do not see what the main one has had for so long."""
        if seconds > GRACE_SECONDS:
            rank = next(rank for rank, count in enumerate(missing) if count)
            raise InputError(
                f"rank {rank} does not see the databases that rank 0 has made in {self.folder}: "
                "give a data.generate.folder, or a trainer.run_dir, that all machines share"
            )

    def _delete_before(self, first: int) -> None:
        """Delete the databases that gave way to those from the seed `first` on."""
        from rt.generate import MADE

        gone = [seed for seed in self._jobs if self._heldout.stop <= seed < first]
        for seed in gone:
            del self._jobs[seed]
        if self.generate.keep:
            return
        for marker in self.folder.glob(f"*/{MADE}"):
            number = marker.parent.name.rpartition("-")[2]
            if not number.isdecimal() or marker.parent.name != self._name(int(number)):
                continue
            if self._heldout.stop <= int(number) < first:
                # on NFS a store that a process still maps keeps its folder for a while
                shutil.rmtree(marker.parent, ignore_errors=True)
