"""A loss that is not finite on one rank stops all of them before the step."""

import os
import subprocess
import sys
from pathlib import Path

from small_stores import write_stores

PROGRAM = """
import os, sys
from pathlib import Path
from small_stores import small_run
from plurel.errors import InputError
from rt import trainer
from rt.train import run

rank, calls, right = int(os.environ["RANK"]), [], trainer.target_loss

def wrong(outputs, batch):
    calls.append(rank)
    loss = right(outputs, batch)
    return loss * float("nan") if rank == 1 and len(calls) == 4 else loss

trainer.target_loss = wrong
try:
    run(small_run(Path(sys.argv[1]), Path(sys.argv[2])))
except InputError as error:
    Path(sys.argv[2], f"rank_{rank}.txt").write_text(f"{len(calls)} {error}")
"""


def test_a_loss_of_one_rank_stops_all(tmp_path: Path) -> None:
    pre, folder = write_stores(tmp_path, 3), tmp_path / "run"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    command = [torchrun, "--standalone", "--nproc_per_node=2", str(program), str(pre), str(folder)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        told = (folder / f"rank_{rank}.txt").read_text()
        assert told.startswith("4 the loss is nan on rank 1 at step 3")
    # the checkpoint of step 2 is the last one: there was no fourth step, on no rank
    assert (folder / "latest").read_text().strip() == "step_3"
