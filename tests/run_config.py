"""Train by the config in a JSON file, for tests that start processes."""

import json
import sys
from pathlib import Path

from rt.config import from_dict
from rt.train import run
from rt.train_config import TrainConfig

if __name__ == "__main__":
    run(from_dict(TrainConfig, json.loads(Path(sys.argv[1]).read_text())))
