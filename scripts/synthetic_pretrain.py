"""Pretrain a relational transformer on synthetic databases.

torchrun --standalone --nproc_per_node=1 scripts/synthetic_pretrain.py data.root=<stores>
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from scripts.hydra_entry import start, train


@hydra.main(version_base="1.3", config_path="../conf", config_name="synthetic_pretrain")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    start(main)
