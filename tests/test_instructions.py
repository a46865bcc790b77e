"""Kernels are compiled for several sets of instructions; this processor's best one is tested
everywhere else, and here what every processor has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rustler

HERE = Path(__file__).parent


def run_with(instructions: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RUSTLER_INSTRUCTIONS": instructions}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=HERE.parent, capture_output=True, text=True
    )


def test_the_set_in_use_has_a_name() -> None:
    assert rustler.INSTRUCTIONS in ("plain", "avx2", "avx512")


def test_an_unknown_set_is_refused_with_those_at_hand() -> None:
    found = run_with("sse9", "-c", "import rustler")
    assert found.returncode == 1
    assert "RUSTLER_INSTRUCTIONS is 'sse9'; this processor has plain" in found.stderr


@pytest.mark.parametrize("script", ["synthetic_gen", "plot_database", "preprocess", "show_context"])
def test_scripts_say_so_in_one_line(script: str) -> None:
    found = run_with("sse9", f"scripts/{script}.py", "--help")
    assert found.returncode == 1
    assert found.stderr.startswith("error: RUSTLER_INSTRUCTIONS is 'sse9'; this processor has")
    assert found.stderr.count("\n") == 1


def test_golden_databases_and_attention_hold_with_plain_instructions() -> None:
    chosen = run_with("plain", "-c", "import rustler; print(rustler.INSTRUCTIONS)")
    assert chosen.stdout == "plain\n"
    files = [str(HERE / name) for name in ("test_golden.py", "test_attention.py")]
    # the flex form is torch's own code
    words = ["-q", "-p", "no:cacheprovider", "-k", "not flex", *files]
    found = run_with("plain", "-m", "pytest", *words)
    assert found.returncode == 0, found.stdout[-2000:]
