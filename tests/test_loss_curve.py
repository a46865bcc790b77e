"""Twenty steps of a small model in fp32: the losses of training, and the held-out loss at the end.

`python tests/test_loss_curve.py` prints the values again. Measured over the instruction sets of one
processor (AVX-512, AVX2, SSE), 1 and 2 threads, native and reference attention: AdamW differs by up
to 2e-7, Muon, whose orthogonalisation rounds to bfloat16, by up to 1.2e-4. A change of the learning
rate by 1 %, of a beta, of the weight decay or of what decays moves a loss by 8e-4 or more.
"""

import sys
import tempfile
from pathlib import Path

import pytest
from small_stores import small_run, write_stores

from rt.logs import read_metrics
from rt.train import run

LOSSES = {
    "adamw": [
        0.6260769, 0.6110814, 0.2937041, 0.3973928, 0.5314357, 0.3335830, 0.7318943,
        0.3827103, 0.5236654, 0.6242229, 0.5701258, 0.4838009, 0.4104065, 0.4908895,
        0.1957526, 0.4994180, 0.4754957, 0.4234487, 0.5241742, 0.4665863, 0.5858437,
    ],
    "muon": [
        0.6260769, 0.6102166, 0.2932305, 0.4004704, 0.5591084, 0.3669328, 0.6651907,
        0.3987246, 0.5559657, 0.6550882, 0.6555732, 0.4788707, 0.5030448, 0.5101767,
        0.3110118, 0.5687304, 0.4538244, 0.4249805, 0.5131231, 0.4596837, 0.6809417,
    ],
}  # fmt: skip
TOLERANCE = {"adamw": 2e-5, "muon": 1e-3}
"""Relative; the smallest change of the optimizer named above moves Muon's curve by 1.4e-3."""


def curve(optimizer: str, root: Path) -> list[float]:
    pre = root / "pre" if (root / "pre").exists() else write_stores(root, 3)
    every = {"trainer__steps": 20, "trainer__eval_every": 20, "trainer__save_every": 20}
    folder = run(small_run(pre, root / optimizer, optim__name=optimizer, **every))
    records = read_metrics(folder)
    heldout = [record["heldout_loss"] for record in records if "heldout_loss" in record]
    return [record["loss"] for record in records if "loss" in record] + heldout[-1:]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("curve")


@pytest.mark.parametrize("optimizer", sorted(LOSSES))
def test_twenty_steps_have_the_losses_they_had(optimizer: str, root: Path) -> None:
    assert curve(optimizer, root) == pytest.approx(LOSSES[optimizer], rel=TOLERANCE[optimizer])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for name in LOSSES:
            values = curve(name, Path(place))
            sys.stdout.write(f"{name}: {', '.join(f'{value:.7f}' for value in values)}\n")
