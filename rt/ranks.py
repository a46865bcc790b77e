"""The processes of a run: one, or several under torchrun, with what they tell each other."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from plurel.errors import InputError

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among `world_size` processes, and its device. lockstep: every pass through a
    model needs all processes (`rt.sharding`)."""

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    lockstep: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the process that logs and saves."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on the CPU."""
        if self.world_size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def gather(self, values: list[float]) -> Tensor:
        """f64[world_size, len(values)]: each rank's values, on every rank."""
        table = torch.zeros(self.world_size, len(values), dtype=torch.float64)
        table[self.rank] = torch.tensor(values, dtype=torch.float64)
        return self.total(table)

    def others(self, signals: list[str]) -> list[str]:
        """What to add to this rank's `signals` where it has none and another rank has."""
        elsewhere = bool(self.gather([len(signals)]).any()) and not signals
        return ["a signal to another rank"] if elsewhere else []

    def turns(self, count: int) -> list[tuple[int, bool]]:
        """This rank's of `count` batches, by number, and whether each counts: in lockstep ranks
        that have fewer than others repeat the first one for nothing."""
        own = range(self.rank, count, self.world_size)
        rounds = -(-count // self.world_size) if self.lockstep else len(own)
        return [*((number, True) for number in own), *[(0, False)] * (rounds - len(own))]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            self.total(torch.zeros(1))

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the ranks; itself if there is only one, or if
        shards do so."""
        if self.world_size == 1 or self.lockstep:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


@contextmanager
def join_ranks(device: str = "auto", threads: int | None = None) -> Iterator[Ranks]:
    """This process's place under torchrun or submitit, or alone without; sets device and threads,
    and the threads back at the end.

    device: "auto", "cpu" or "cuda". threads: torch's threads in this process, None for the
    machine's cores divided by the processes on it. Raises InputError for a GPU that is not there.
    """
    if "SUBMITIT_EXECUTOR" in os.environ and "RANK" not in os.environ:
        _from_submitit()
    rank, world_size, local_rank, local_world_size = (
        int(os.environ.get(name, default))
        for name, default in (
            ("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)
        )
    )  # fmt: skip
    place = _device(device, local_rank)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or max(1, usable_cores() // local_world_size))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world_size > 1:
        _join("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world_size, local_world_size, place)
    finally:
        torch.set_num_threads(before)
        if world_size > 1:
            dist.destroy_process_group()


_meeting: list[tuple[Store, int, int]] = []
_joined = itertools.count()


def _join(backend: str) -> None:
    """Join the other processes. A process that has left may join again, for the next run: all meet
    at one store, each time under new keys, or they would find the addresses of last time."""
    if not _meeting:
        _meeting.append(next(rendezvous("env://", timeout=TIMEOUT)))
    store, rank, world_size = _meeting[0]
    own = PrefixStore(f"plurel/{next(_joined)}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=world_size, timeout=TIMEOUT)


def _from_submitit() -> None:
    """Tell torch, in its variables, the place among the tasks of a job that submitit started."""
    import submitit  # comes with the extra `slurm`

    if submitit.JobEnvironment().num_tasks > 1:
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)


def _device(name: str, local_rank: int) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"trainer.device {name}: process {local_rank} of this machine has no GPU "
            f"({torch.cuda.device_count()} found): start fewer processes or use trainer.device=cpu"
        )
    return torch.device("cuda", local_rank)


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: its affinity, and a container's quota of CPU time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(cores or 1, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file on this system, or "max": no quota
        return cores or 1
