"""Go on pretraining from a checkpoint, on real databases, leaving some out.

torchrun --standalone --nproc_per_node=1 scripts/cntd_pretrain.py load_ckpt_path=<checkpoint> \\
    data.root=<databases> data.leave_out=<name>
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from scripts.hydra_entry import start, train


@hydra.main(version_base="1.3", config_path="../conf", config_name="cntd_pretrain")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    start(main)
