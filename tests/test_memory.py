"""Freed memory is kept for the next step; in a process of its own, as it cannot be undone."""

import ctypes
import subprocess
import sys

import pytest

from rt import memory

STEPS = """
import resource
import torch
from rt.memory import keep_freed_memory
assert keep_freed_memory()
for step in range(8):
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(5_000_000) for _ in range(10)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_steps_after_the_first_touch_no_new_pages() -> None:
    found = subprocess.run(
        [sys.executable, "-c", STEPS], capture_output=True, text=True, check=True
    )
    # 200 MB a step are some 49,000 pages of 4 KiB; handed back, all are touched anew
    assert int(found.stdout) < 500


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
