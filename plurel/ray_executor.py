"""A corpus on many machines, by Ray (extra `ray`).

RAY_ADDRESS names a running cluster, whose machines need this package and see the output folder at
the same path; without it a cluster on this machine is started and stopped again.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from plurel.errors import InputError

_Job = TypeVar("_Job")
_CANCEL_SECONDS = 10
_CONNECT_SECONDS = 10


def run_on_ray(
    jobs: Iterable[_Job], work: Callable[[_Job], int], num_proc: int
) -> Iterator[tuple[_Job, int | BaseException]]:
    """Each job with what `work` gives or the error that ended it, as they end.

    num_proc: processors of a cluster that is started here. A job whose process dies is tried once
    more, by Ray. Raises InputError if Ray is missing or RAY_ADDRESS leads nowhere.
    """
    with _cluster(num_proc) as ray:
        remote = ray.remote(num_cpus=1, max_retries=1)(work)
        waiting = deque(jobs)
        running: dict[Any, _Job] = {}
        try:
            while waiting or running:
                # a few for each processor; a cluster that grows gets more
                while waiting and len(running) < 4 * ray.cluster_resources().get("CPU", 1):
                    job = waiting.popleft()
                    running[remote.remote(job)] = job
                done, _ = ray.wait(list(running))
                for reference in done:
                    yield running.pop(reference), _outcome(ray, reference)
        except BaseException:
            for reference in running:
                ray.cancel(reference)  # unwinds, so that what is half-written is removed
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_CANCEL_SECONDS)
            raise


def _outcome(ray: Any, reference: Any) -> int | BaseException:
    try:
        return int(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, BaseException) else error
    except ray.exceptions.RayError as error:  # its process or its machine died, twice
        return error


@contextmanager
def _cluster(num_proc: int) -> Iterator[Any]:
    """Ray, connected: to what the caller connected it to, to RAY_ADDRESS, or to a new cluster."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "executor 'ray' needs Ray, which is missing; run: pip install ray"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _knock(address)
    options: dict[str, Any] = (
        {"address": address}
        if address
        else {"address": "local", "num_cpus": num_proc, "include_dashboard": False}
    )
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"RAY_ADDRESS={address}: no Ray cluster there ({reason})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """InputError if nobody answers at host:port; Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return  # "auto" or another word of Ray's
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"RAY_ADDRESS={address}: no Ray cluster there ({error}); start one or unset it"
        ) from None
