"""Many databases, in parallel processes of one thread each, on one machine or, by Ray, on many.

Each database is a function of its seed, so neither the number of processes nor the order decides a
byte. Complete folders are skipped; a seed that fails is reported and the others go on.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from plurel.atomic import check_writable, remove_leftovers
from plurel.config import Config
from plurel.dataset import DEFAULT_PREFIX, SyntheticDataset
from plurel.errors import InputError, reason_of
from plurel.folder import is_complete, read_provenance
from plurel.processes import one_thread_each, worker_pool
from plurel.sql_schema import read_schema_file

Executor = Literal["processes", "ray"]
EXECUTORS: tuple[Executor, ...] = ("processes", "ray")

_MAX_TRIES = 2


@dataclass(frozen=True)
class Job:
    """One database to write."""

    seed: int
    folder: Path
    config: Config
    overwrite: bool = False


@dataclass
class Report:
    """What became of a corpus. failed: per seed why; folders: all that are complete, by seed."""

    folders: dict[int, Path] = field(default_factory=dict)
    generated: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    num_rows: int = 0


def generate_corpus(
    seeds: Sequence[int],
    config: Config,
    out: str | Path,
    *,
    prefix: str = DEFAULT_PREFIX,
    num_proc: int = 1,
    executor: Executor = "processes",
    overwrite: bool = False,
) -> Report:
    """Write the databases `<out>/<prefix>-<seed>` that are not complete yet.

    executor: processes of this machine, or Ray, whose machines all see `out` (see ray_executor).
    Raises InputError, before anything is generated, if a folder was made by another config or
    version and `overwrite` is not set. Prints failures and shows a progress bar on stderr.
    """
    if num_proc < 1:
        raise InputError(f"num_proc must be at least 1, got {num_proc}")
    _check_request(config, out, prefix)
    report = Report()
    jobs: dict[int, Job] = {}
    for seed in seeds:
        job = Job(seed, Path(out).absolute() / f"{prefix}-{seed}", config, overwrite)
        if _is_done(job):
            report.skipped.append(seed)
            report.folders[seed] = job.folder
        else:
            jobs[seed] = job
    with (
        one_thread_each(),
        tqdm(total=len(jobs), desc="generate", unit="db", smoothing=0.05, disable=not jobs) as bar,
    ):
        if report.skipped:
            bar.write(f"complete already: {len(report.skipped)} of {len(seeds)}")
        for job, outcome in _run(jobs, min(num_proc, max(len(jobs), 1)), executor):
            _note(report, job, outcome, bar)
    return report


def _check_request(config: Config, out: str | Path, prefix: str) -> None:
    """InputError for what is wrong whatever the seed: the prefix, the place, the schema file."""
    if not prefix or Path(prefix).name != prefix or prefix.startswith("."):
        raise InputError(f"db_prefix {prefix!r} must be a plain name; give folders by --out")
    check_writable(out)
    if config.schema_file is not None:
        read_schema_file(config)


def shard(seeds: Sequence[int], part: str) -> list[int]:
    """The seeds of one part, "i/n" with i from 0 to n - 1: every n-th, beginning with the i-th.

    The parts of the same n are disjoint and together all seeds. Raises InputError for other texts.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if number >= count:
        raise InputError(f"shard {part!r} must be i/n with i from 0 to n - 1, for example 0/8")
    return list(seeds[number::count])


def _is_done(job: Job) -> bool:
    """True if the job's folder stands there already and was made in the same way."""
    remove_leftovers(job.folder)
    if job.overwrite or not is_complete(job.folder):
        return False
    wanted = SyntheticDataset(job.seed, job.config).provenance()
    if read_provenance(job.folder) != wanted:
        raise InputError(
            f"{job.folder} was made with another config or version; "
            "use --overwrite, another prefix or another folder"
        )
    return True


def _write(job: Job) -> int:
    """Runs in a worker: write one database; the number of its rows."""
    dataset = SyntheticDataset(job.seed, job.config)
    return dataset.save(job.folder, overwrite=job.overwrite)


def _note(report: Report, job: Job, outcome: int | BaseException, bar: "tqdm[Any]") -> None:
    if isinstance(outcome, BaseException):
        report.failed[job.seed] = reason_of(outcome)
        bar.write(f"seed {job.seed} failed: {report.failed[job.seed]}")
    else:
        report.generated.append(job.seed)
        report.folders[job.seed] = job.folder
        report.num_rows += outcome
    bar.update()
    elapsed = bar.format_dict["elapsed"] or 1e-9
    bar.set_postfix({"rows/s": f"{report.num_rows / elapsed:,.0f}"}, refresh=False)


def _run(
    jobs: dict[int, Job], num_proc: int, executor: Executor
) -> Iterator[tuple[Job, int | BaseException]]:
    """Each job with its rows or the error that ended it."""
    if not jobs:
        return iter(())
    if executor == "processes":
        return _run_processes(jobs, num_proc)
    from plurel.ray_executor import run_on_ray  # Ray is an extra

    return run_on_ray(jobs.values(), _write, num_proc)


def _run_processes(
    jobs: dict[int, Job], num_proc: int
) -> Iterator[tuple[Job, int | BaseException]]:
    """Only as many jobs are handed out as there are processes, so that when a process dies (killed
    for memory, say) the suspects are known: they are tried once more, alone, before they count as
    failed.
    """
    tries: dict[int, int] = {}
    while jobs:
        suspects = [jobs[seed] for seed in tries]
        batch = deque(suspects[:1] or jobs.values())
        lost: list[Job] = []
        for job, outcome in _run_pool(batch, num_proc, lost):
            del jobs[job.seed]
            tries.pop(job.seed, None)
            yield job, outcome
        for job in lost:
            tries[job.seed] = tries.get(job.seed, 0) + 1
            if tries[job.seed] >= _MAX_TRIES:
                del jobs[job.seed], tries[job.seed]
                yield job, RuntimeError("its process died, twice; is there enough memory?")
            else:
                # its folder may be complete: a process can go between that and its answer
                jobs[job.seed] = replace(job, overwrite=True)


def _run_pool(
    batch: deque[Job], num_proc: int, lost: list[Job]
) -> Iterator[tuple[Job, int | BaseException]]:
    """Run a batch until it is done or a process dies; `lost` then gets the jobs in flight."""
    running: dict[Future[int], Job] = {}
    with worker_pool(num_proc, "plurel.dataset") as pool:
        while batch or running:
            while batch and len(running) < num_proc and not lost:
                job = batch.popleft()
                try:
                    running[pool.submit(_write, job)] = job
                except BrokenProcessPool:
                    batch.clear()
                    lost.append(job)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    batch.clear()
                    lost.append(job)
                else:
                    yield job, error if error is not None else future.result()
