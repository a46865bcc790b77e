"""Kernels and samplers in a process that was forked after they were used."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sampler_fixtures import make, shop
from store_fixtures import write_store

import rustler

# Python 3.12 warns of forks beside threads, which is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SECONDS = 20


def norm(num_threads: int) -> np.ndarray:
    """The RMS norm of more rows than one thread takes at a time."""
    x = np.random.default_rng(0).normal(size=(4096, 16)).astype(np.float32)
    y, factor = np.empty_like(x), np.empty(len(x), np.float32)
    rustler.norm_forward(x, None, y, factor, num_threads)
    return y


def succeeds_in_a_child(work: Callable[[], bool]) -> bool:
    """Whether a forked child gets True; False too if it takes longer than SECONDS."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.parametrize("num_threads", [2, 3])
def test_kernels_work_in_a_child_after_they_ran_in_the_parent(num_threads: int) -> None:
    expected = norm(1)
    assert np.array_equal(norm(num_threads), expected)

    def again() -> bool:
        # and in a child of the child
        same = all(np.array_equal(norm(num_threads), expected) for _ in range(3))
        return same and succeeds_in_a_child(lambda: np.array_equal(norm(num_threads), expected))

    assert succeeds_in_a_child(again)
    assert np.array_equal(norm(num_threads), expected)


def test_samplers_work_in_a_child_after_they_ran_in_the_parent(tmp_path: Path) -> None:
    sampler = make([write_store(tmp_path / "shop", shop())] * 2, num_threads=3)
    expected = sampler.batch(1)["row_number"]
    assert succeeds_in_a_child(lambda: np.array_equal(sampler.batch(1)["row_number"], expected))


def test_a_child_that_calls_nothing_ends_as_usual() -> None:
    """The threads that it lacks are not waited for when the interpreter shuts down."""
    program = """if True:
        import os, sys
        from test_fork import norm
        norm(3)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", program], cwd=here, timeout=60, check=False)
    assert done.returncode == 0
