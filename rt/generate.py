"""One generated database as a store: tables, forecasts, cells and texts, in one go.

The work of the processes behind `rt.database_stream`; what it gives is what the commands
synthetic_gen.py, draw_tasks.py and preprocess.py give for the same seed and name.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from plurel.atomic import complete_file
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import reason_of
from rt.defining.drawn import draw_tasks
from rt.embedding import embed_stores
from rt.store import write_store
from rt.text import TextEmbedder, get_embedder

MADE = "generated.json"
"""Written into a store last: of what it was made."""
RAW = ".raw"
"""Beside the stores: the databases whose store is being made."""


@dataclass(frozen=True)
class Job:
    """The store `folder`/`name` of the database of a seed, with `forecasts` drawn tasks."""

    folder: Path
    name: str
    seed: int
    config: Config
    forecasts: int
    embedder: str

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What decides every byte of the store, as plain values of JSON."""
        made = SyntheticDataset(self.seed, self.config).provenance()
        plain = {"database": made, "forecasts": self.forecasts, "embedder": self.embedder}
        return dict(json.loads(json.dumps(plain)))

    def is_done(self) -> bool:
        """Whether the store is there, and was made as this job would make it."""
        try:
            found = json.loads((self.folder / self.name / MADE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == self.provenance)


@lru_cache(maxsize=1)
def _embedder(spec: str) -> TextEmbedder:
    """The process's embedder: one a database is slow, and its memory comes back late."""
    return get_embedder(spec, "cpu")


def make_store(job: Job) -> None:
    """Do the job, in place of whatever is there."""
    # always the same place, so that the next try removes what a kill has left
    raw = job.folder / RAW / job.name
    SyntheticDataset(job.seed, job.config).save(raw, overwrite=True)
    if job.forecasts:
        draw_tasks(raw, job.forecasts)
    store = write_store(raw, job.folder / job.name, overwrite=True, threads=1)
    embed_stores([store], job.embedder, replicas=[_embedder(job.embedder)], show_progress=False)
    with complete_file(store / MADE) as file:
        file.write_text(json.dumps(job.provenance) + "\n", encoding="utf-8")
    shutil.rmtree(raw)


def make_stores(jobs: Sequence[Job], said: Connection) -> None:
    """Do the jobs that are not done yet, in their order, and say (name, reason) of one that fails,
    at which this ends."""
    for job in jobs:
        try:
            if not job.is_done():
                make_store(job)
        except Exception as error:
            said.send((job.name, reason_of(error)))
            return
