"""The classes of multiclass tasks: what a prediction of a text is compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rt import columns as col
from rt.labels import LABEL_TYPES, RawTask
from rt.layout import Table
from rt.meta import CLASS_LIMIT


def class_entries(
    tables: Sequence[Table], tasks: Sequence[RawTask], texts: pa.Array
) -> list[dict[str, Any]]:
    """For each task the keys of its meta.json entry that say its classes: `num_classes`, the number
    of distinct labels of the train split, and `classes`, at most CLASS_LIMIT of them as [label, its
    text number], the most frequent first and equally frequent ones in the order of their text.

    Labels that occur in val or test only are no classes: nothing could have been learnt of them.
    Both are null for tasks of other types.
    """
    places = {(table.raw.name, table.kind): table for table in tables}
    entries: list[dict[str, Any]] = []
    for task in tasks:
        if LABEL_TYPES[task.task_type] != "text":
            entries.append({"num_classes": None, "classes": None})
            continue
        labelled = (task.name, "task") if task.source else (task.entity_table, "database")
        labels = _by_frequency(places[labelled], task.target)
        chosen = labels[:CLASS_LIMIT]
        numbers = pc.index_in(pa.array(chosen, texts.type), value_set=texts).to_pylist()
        pairs = [[label, number] for label, number in zip(chosen, numbers, strict=True)]
        entries.append({"num_classes": len(labels), "classes": pairs})
    return entries


def _by_frequency(table: Table, target: str) -> list[str]:
    """The distinct labels of the train rows, the most frequent first."""
    where = f"table '{table.raw.name}', column '{target}'"
    cells = col.read_column(table.raw.source.read(target), "text", where)
    assert isinstance(cells, col.Texts)
    counts = np.bincount(cells.codes[cells.valid & table.train], minlength=len(cells.texts))
    counted = zip(cells.texts.to_pylist(), counts.tolist(), strict=True)
    return [text for text, count in sorted(counted, key=lambda p: (-p[1], p[0])) if count]
