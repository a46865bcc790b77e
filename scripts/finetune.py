"""Train a checkpoint on one task of one database.

torchrun --standalone --nproc_per_node=1 scripts/finetune.py load_ckpt_path=<checkpoint> \\
    data.root=<databases> task=<database>/<task>
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from scripts.hydra_entry import start, train


@hydra.main(version_base="1.3", config_path="../conf", config_name="finetune")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    start(main)
