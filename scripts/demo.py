"""The main job, end to end and small: generate, preprocess, pretrain, predict on a real database.

Each stage is one of the commands of README, run as a user would run it; a stage whose result is
complete is skipped by the command itself, so the demo can be run again at once.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
NUM_DATABASES = 32
EMBEDDER = "all-MiniLM-L6-v2"
SHIPPED = "plurel-small"
TASKS = ("flight-delayed", "plane-idle", "dest-delay")


def run(title: str, *command: str | Path) -> None:
    """Print one stage's command, run it, print how long it took; stop where it fails."""
    words = [str(word) for word in command]
    shown = shlex.join([Path(words[0]).name, *words[1:]])
    print(f"\n=== {title}\n$ {shown}", flush=True)
    start = time.monotonic()
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    status = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
    if status:
        raise InputError(f"the stage '{title}' ended with status {status}; its message is above")
    print(f"--- {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="output folder")
    out = parser.parse_args().out.resolve()
    raw, pre, run_dir = out / "raw", out / "pre", out / "run"
    flights = raw / "flights"
    python, torchrun = sys.executable, Path(sys.executable).with_name("torchrun")
    start = time.monotonic()

    run(
        f"1/6 generate {NUM_DATABASES} synthetic databases",
        *(python, "scripts/synthetic_gen.py", "--seed_offset", "0"),
        *("--num_dbs", str(NUM_DATABASES), "--num_proc", "2", "--config", "demo", "--out", raw),
    )
    run(
        "2/6 the real database: flights from New York in 2013",
        *(python, "scripts/import_flights.py", "--out", flights),
    )
    databases = [raw / f"rel-synthetic-{seed}" for seed in range(NUM_DATABASES)]
    run(
        "3/6 preprocess: embed texts, turn cells into tokens",
        *(python, "scripts/preprocess.py", *databases, flights),
        *("--out", pre, "--embedder", EMBEDDER),
    )
    run(
        "4/6 pretrain on the synthetic databases",
        *(torchrun, "--standalone", "--nproc_per_node=1", "scripts/synthetic_pretrain.py"),
        *("experiment=demo", f"data.root={pre}", f"trainer.run_dir={run_dir}"),
    )
    run(
        f"5/6 evaluate it, and {SHIPPED}, on the flights database, without training on it",
        *(python, "scripts/evaluate.py", f"checkpoint={run_dir / 'best'}", f"raw={flights}"),
        *(f"store={pre / 'flights'}", f"tasks=[{','.join(TASKS)}]", "max_rows=2000"),
        *(f"beside=[{SHIPPED}]", "baselines=means", "resamples=0"),
        f"out={run_dir / 'summary.json'}",
    )
    pictures = run_dir / "pictures"
    run(
        "6/6 pictures: a generated schema, a foreign key's blocks, one context",
        *(python, "scripts/plot_database.py", databases[5], "--out", pictures),
    )
    run(
        "one context of the real database",
        *(python, "scripts/show_context.py", pre / "flights", "--task", "plane-idle"),
        *("--recipe", "alike", "--context_length", "128", "--max_rows", "24"),
        *("--max_cells", "30"),
        *("--out", pictures / "context.png"),
    )
    shutil.copy(run_dir / "loss.png", pictures / "loss.png")
    print(f"\nfinished in {time.monotonic() - start:.0f} s; pictures in {pictures}")
    print(run_dir / "summary.json")


if __name__ == "__main__":
    with clean_exit():
        main()
