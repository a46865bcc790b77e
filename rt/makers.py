"""Processes that make the stores of generated databases beside the training.

Each process does its jobs one after the other. What fails is said with the database's name; a
process that died is started again for what it had left, and the job it died in counts a try.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from plurel.errors import InputError
from plurel.processes import one_thread_each, start_worker
from rt.generate import Job, make_stores

MOST_TRIES = 2
SECONDS = 10.0
"""For a process to remove what it has half written."""


@dataclass(frozen=True)
class _Maker:
    process: BaseProcess
    jobs: tuple[Job, ...]
    said: Connection
    """What went wrong: (name of the database, reason)."""


class Makers:
    """The processes that are at work."""

    def __init__(self) -> None:
        self._makers: list[_Maker] = []
        self._tries: Counter[str] = Counter()

    def names(self) -> set[str]:
        """The databases that are given to a process, made or not."""
        return {job.name for maker in self._makers for job in maker.jobs}

    def start(self, jobs: Sequence[Job], processes: int) -> None:
        """Let so many processes share the jobs, which no other has been given."""
        for number in range(min(processes, len(jobs))):
            self._start(jobs[number::processes])

    def check(self, wanted: Iterable[str]) -> None:
        """Forget the processes that have ended, and start others for what they had left;
        InputError for a database among the `wanted` that can't be made."""
        wanted = set(wanted)
        for maker in list(self._makers):
            wrong, ended = _heard(maker)
            if not ended:
                continue
            self._makers.remove(maker)
            left = [job for job in maker.jobs if not job.is_done()]
            if wrong is None and left:
                wrong = self._died_in(left[0].name)
            failed = None if wrong is None else wrong[0]
            self.start([job for job in left if job.name != failed], 1)
            if wrong is not None and failed in wanted:
                (seed,) = (job.seed for job in maker.jobs if job.name == failed)
                raise InputError(
                    f"{failed} can't be generated: {wrong[1]}; start again to try once more, or "
                    f"leave it out: data.generate.skip=[{seed}]"
                )

    def close(self) -> None:
        """End the processes; what they are at is given up."""
        for maker in self._makers:
            maker.process.terminate()
        for maker in self._makers:
            maker.process.join(SECONDS)
            maker.process.kill()
        self._makers.clear()

    def _start(self, jobs: Sequence[Job]) -> None:
        heard, said = Pipe(duplex=False)
        with one_thread_each():
            process = start_worker(make_stores, (tuple(jobs), said), "rt.generate")
        said.close()
        self._makers.append(_Maker(process, tuple(jobs), heard))

    def _died_in(self, name: str) -> tuple[str, str] | None:
        """Count a try; what is wrong if it was the last."""
        self._tries[name] += 1
        if self._tries[name] < MOST_TRIES:
            return None
        return name, "its process died, twice; is there enough memory?"


def _heard(maker: _Maker) -> tuple[tuple[str, str] | None, bool]:
    """What a process says is wrong, and whether it has ended, which it does when it has said so."""
    if not maker.said.poll():
        return None, False  # of a process that has ended there is an end to be read
    try:
        wrong = maker.said.recv()
    except EOFError:
        wrong = None
    maker.process.join(SECONDS)
    return wrong, True
