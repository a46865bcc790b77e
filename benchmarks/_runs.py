"""Generated stores and runs on them, for benchmarks of training."""

from pathlib import Path

from plurel import Config, SyntheticDataset
from rt.corpus import DataConfig
from rt.model import SIZES
from rt.recipes import named
from rt.store import preprocess_many
from rt.train_config import ModelSize

HELDOUT_DBS = 4


def write_stores(folder: Path, count: int) -> Path:
    """Stores of `count` generated databases of the default config, in folder/pre."""
    raw = [folder / "raw" / f"rel-synthetic-{seed}" for seed in range(count)]
    for seed, path in enumerate(raw):
        SyntheticDataset(seed, Config.load("default")).save(path)
    preprocess_many(raw, folder / "pre", embedder="hash", show_progress=False)
    return folder / "pre"


def data_config(pre: Path, length: int, contexts: int, workers: int = 0) -> DataConfig:
    """All stores but the last few; contexts of the recipe `labels`, `contexts` a step."""
    return DataConfig(
        (str(pre),), heldout_dbs=HELDOUT_DBS, heldout_tasks=4, embedder="hash",
        context_length=(length,), recipes={"labels": named("labels")}, batch_size=contexts,
        num_workers=workers,
    )  # fmt: skip


def model_size(size: str) -> ModelSize:
    """A size of conf/model."""
    return ModelSize(**SIZES[size])
