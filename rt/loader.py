"""The loader: batches, with their attention plan, prepared outside the training process.

Item i of a rank's stream is micro-batch i % micro_batches of step i // micro_batches, and is a
function of (seed, step, rank, world size) alone. With W workers, worker w prepares the items w,
w + W, ..., and the loader hands them out in order: the stream is the same for any number of
workers, and one that starts at step n is the rest of one that started at 0.
"""

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import rustler
from plurel.errors import InputError
from rt.data import Batch
from rt.packing import Packed, pack, unpack


@dataclass(frozen=True)
class Share:
    """The part of each global batch that is one rank's: in order of databases and tasks the
    `rank`-th of `world_size`, handed out as `micro_batches` batches of equal size."""

    rank: int = 0
    world_size: int = 1
    micro_batches: int = 1

    def check(self, batch_size: int) -> None:
        """InputError unless every rank's micro-batches get the same number of contexts."""
        parts = self.world_size * self.micro_batches
        if batch_size % parts:
            raise InputError(
                f"data.batch_size {batch_size} is not a multiple of {parts} "
                f"({self.world_size} ranks x trainer.micro_batches {self.micro_batches})"
            )


@dataclass(frozen=True)
class Failure:
    """Why there is no batch for a step; the end of a stream."""

    step: int
    reason: str


Item = Batch | Packed | Failure


class BatchStream(IterableDataset[Item]):
    """One rank's batches of the steps from `start` to `end` (None: for ever), packed in a worker.
    What makes a batch impossible is an item too: an error would leave a worker with its whole
    traceback."""

    def __init__(
        self,
        sampler: rustler.Sampler,
        share: Share,
        start: int,
        end: int | None = None,
        split: str = "train",
    ) -> None:
        self.sampler, self.share = sampler, share
        self.start, self.end, self.split = start, end, split

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.share.micro_batches
        begin = self.start * parts + first
        end = None if self.end is None else self.end * parts
        for number in itertools.count(begin, stride) if end is None else range(begin, end, stride):
            try:
                batch = self.item(number)
            except (InputError, rustler.RustlerError) as error:
                yield Failure(number // parts, str(error))
                return
            yield pack(batch) if worker else batch

    def item(self, number: int) -> Batch:
        """Item `number` of the stream from step 0 on."""
        share = self.share
        step, micro = divmod(number, share.micro_batches)
        # a micro-batch is the part of one rank among world_size * micro_batches; those of a rank
        # are next to each other
        arrays = self.sampler.batch(
            step,
            rank=share.rank * share.micro_batches + micro,
            world_size=share.world_size * share.micro_batches,
            split=self.split,
        )
        return Batch.from_arrays(arrays)


class Loader:
    """Hands out a stream's batches and measures how long the caller waits for them.

    To be closed: the workers leave signals to the trainer, so that none but this ends them."""

    def __init__(self, stream: BatchStream, num_workers: int = 0, prefetch: int = 4) -> None:
        self.waited = 0.0
        """Seconds that the caller has spent waiting."""
        self._rank = stream.share.rank
        self._batches: Iterator[Item] = iter(
            DataLoader(
                stream,
                batch_size=None,
                num_workers=num_workers,
                prefetch_factor=prefetch if num_workers else None,
                worker_init_fn=_leave_signals_to_the_trainer,
                # the loader draws a seed for its workers, unused: not from the global generator
                generator=torch.Generator(),
            )
        )

    def __next__(self) -> Batch:
        """The next batch; InputError if there can be none."""
        start = time.perf_counter()
        with dead_workers_named(self._rank):
            batch = next(self._batches)
        if isinstance(batch, Failure):
            raise InputError(f"rank {self._rank}, batch of step {batch.step}: {batch.reason}")
        if isinstance(batch, Packed):
            batch = unpack(batch)
        self.waited += time.perf_counter() - start
        return batch

    def close(self) -> None:
        """End the workers."""
        # torch does so where its iterator is garbage, which the traceback of an error keeps it from
        shut_down = getattr(self._batches, "_shutdown_workers", None)
        if shut_down is not None:
            shut_down()


@contextmanager
def dead_workers_named(rank: int) -> Iterator[None]:
    """Turn torch's error for a worker that died into an InputError. It may come from anywhere while
    there are workers: torch raises it where the trainer is when the system tells of the death."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise InputError(
            f"a process that prepares batches for rank {rank} died: is there enough memory? give "
            "fewer data.num_workers"
        ) from None


def _leave_signals_to_the_trainer(worker: int) -> None:
    # a signal to the process group must not end the workers before the trainer has saved
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, signal.SIG_IGN)
