"""Processes that share work, one thread each, and leave nothing behind when they are stopped."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import (
    active_children,
    connection,
    forkserver,
    get_context,
    parent_process,
    resource_tracker,
)
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may use, of all cores where the system doesn't say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def worker_pool(num_proc: int, preload: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, forked from a server that has imported the module `preload` and has no
    threads yet. If the block ends with an error, Ctrl-C or SIGTERM, work in progress is
    given up, its temporary files removed, and what waits is never begun."""
    context = _forkserver(preload)
    others = set(active_children())
    pool = ProcessPoolExecutor(num_proc, context, _prepare_worker)
    try:
        yield pool
    except BaseException:
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker(
    work: Callable[..., None], arguments: tuple[Any, ...], preload: str
) -> BaseProcess:
    """A process like those of `worker_pool` that does one piece of work and ends."""
    process = _forkserver(preload).Process(target=_work, args=(work, arguments), daemon=True)
    process.start()
    return process


def _work(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    _prepare_worker()
    work(*arguments)


def _forkserver(preload: str) -> ForkServerContext:
    """Where processes come from; the server runs."""
    context = get_context("forkserver")
    context.set_forkserver_preload([preload])
    resource_tracker.ensure_running()  # first: starting it lifts the mask
    # The server and all that it forks inherit the mask: these signals are the parent's business.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread for linear algebra."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _prepare_worker() -> None:
    """Ctrl-C and SIGUSR1 are the parent's business; SIGTERM unwinds the stack, so that what is
    half-written is removed; a parent that is killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _unwind)
    parent = parent_process()
    if parent is not None:
        Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    # once is enough: a second signal must not stop the cleaning up
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def _exit_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
