"""Tasks: what is predicted, as the sampler and the scores need it.

A `Task` is one entry of a store's meta.json, or an autocomplete task made on the spot from a
feature column (`column_tasks`), which is how synthetic databases are trained on: every boolean
and number column of every table (REFERENCE section 9).
"""

from dataclasses import dataclass
from typing import Any, Literal

TaskType = Literal["binary_classification", "regression"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Task:
    """One task of one store. Row ranges are half-open, in the store's global row numbers."""

    name: str
    kind: str
    task_type: str
    table: int
    column: int
    splits: dict[str, tuple[int, int]]
    horizon: int | None = None
    hidden_columns: tuple[int, ...] = ()
    entity_table: str | None = None
    entity_column: str | None = None

    @classmethod
    def from_meta(cls, entry: dict[str, Any]) -> "Task":
        """The task of one entry of meta["tasks"]."""
        raise NotImplementedError
