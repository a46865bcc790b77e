"""Pretrain a relational transformer on synthetic databases.

torchrun --standalone --nproc_per_node=1 scripts/synthetic_pretrain.py data.root=<stores>
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.cli import clean_exit
from rt.config import from_dict
from rt.train import run
from rt.train_config import TrainConfig
from scripts.hydra_entry import no_empty_folder, one_line_errors, plain, register, told_to_torchrun


@hydra.main(version_base="1.3", config_path="../conf", config_name="synthetic_pretrain")
def main(config: DictConfig) -> None:
    # here too: an exit passes Hydra in silence, an error would get a line of Hydra's own
    with clean_exit(), told_to_torchrun(), one_line_errors(), no_empty_folder():
        run(from_dict(TrainConfig, plain(config)))


if __name__ == "__main__":
    register()
    with clean_exit(), told_to_torchrun(), one_line_errors():
        main()
