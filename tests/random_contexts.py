"""Random contexts in the sampler's format, for tests: nothing about them is realistic on purpose.

Rows reference rows at random, themselves included, some twice; some rows have no cells; the cells
come in random order with the padding anywhere among them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt.data import NUMBER, TEXT, Batch
from rt.meta import NO_TIME


def random_arrays(
    seed: int, num_contexts: int = 3, num_slots: int = 40, d_text: int = 8, **limits: Any
) -> dict[str, NDArray[Any]]:
    """The arrays of `rustler.Sampler.contexts`. Limits: max_rows, max_columns, max_parents,
    padding (a share)."""
    rng = np.random.default_rng(seed)
    max_rows, max_columns = limits.get("max_rows", 9), limits.get("max_columns", 7)
    shape = (num_contexts, num_slots)
    num_rows = rng.integers(1, max_rows + 1, num_contexts)
    is_padding = rng.random(shape) < limits.get("padding", 0.2)
    is_padding[:, 0] = False
    row = np.where(is_padding, -1, rng.integers(0, num_rows[:, None], shape)).astype(np.int32)
    column = np.where(is_padding, -1, rng.integers(0, max_columns, shape)).astype(np.int32)
    column_type = rng.integers(0, 4, max_columns)
    column_type[0] = NUMBER
    column[:, 0] = 0
    semantic_type = np.where(is_padding, 0, column_type[column]).astype(np.uint8)
    is_text = (semantic_type == TEXT) & ~is_padding
    is_target = (rng.random(shape) < 0.2) & ~is_padding
    is_target[:, 0] = True
    num_texts = max_columns + 11
    value = np.where(is_text | is_padding, 0, rng.normal(size=shape))
    parents = [
        rng.integers(0, n, rng.integers(0, limits.get("max_parents", 3) + 1))
        for n in num_rows
        for _ in range(n)
    ]
    total = int(num_rows.sum())
    text = np.where(is_text, rng.integers(max_columns, num_texts, shape), -1)
    role = np.random.default_rng((seed, 1))
    time = role.integers(-(10**9), 2 * 10**9, total)
    return {
        "row": row,
        "column": column,
        "semantic_type": semantic_type,
        "value": value.astype(np.float32),
        "text": text.astype(np.int32),
        "is_target": is_target,
        "is_padding": is_padding,
        "target_slot": np.zeros(num_contexts, np.int32),
        "target_row": rng.integers(0, 1000, num_contexts).astype(np.uint32),
        "context_task": np.zeros(num_contexts, np.int32),
        "context_store": np.zeros(num_contexts, np.int32),
        "context_recipe": np.zeros(num_contexts, np.int32),
        "context_row_ptr": np.append(0, num_rows.cumsum()).astype(np.int64),
        "row_number": rng.permutation(total).astype(np.uint32),
        "row_table": np.zeros(total, np.int32),
        "row_time": np.where(role.random(total) < 0.2, NO_TIME, time),
        "row_depth": np.zeros(total, np.int32),
        "row_part": role.integers(0, 6, total).astype(np.uint8),
        "row_origin": np.full(total, -1, np.int32),
        "row_alike": np.where(role.random(total) < 0.5, -1, role.random(total)).astype(np.float32),
        "context_told": role.random(num_contexts).astype(np.float32),
        "parent_ptr": np.append(0, np.cumsum([len(p) for p in parents])).astype(np.int64),
        "parent": np.concatenate(parents).astype(np.int32),
        "column_text": np.arange(max_columns, dtype=np.int32),
        "column_number": np.arange(max_columns, dtype=np.int32),
        "column_store": np.zeros(max_columns, np.int32),
        **random_counts(rng, total),
        **random_classes(rng, num_contexts, num_texts),
        "text_embedding": rng.normal(size=(num_texts, d_text)).astype(np.float16),
    }


def random_counts(rng: np.random.Generator, num_rows: int) -> dict[str, NDArray[Any]]:
    """Up to 2 counts a row, of 3 foreign keys."""
    each = rng.integers(0, 3, num_rows)
    total = int(each.sum())
    return {
        "count_ptr": np.append(0, each.cumsum()).astype(np.int64),
        "count_key": rng.integers(0, 3, total).astype(np.int32),
        "count": np.exp(rng.uniform(0, 12, total)).astype(np.uint32),
        "key_text": np.arange(3, dtype=np.int32),
    }


def random_classes(
    rng: np.random.Generator, num_contexts: int, num_texts: int
) -> dict[str, NDArray[Any]]:
    """Two lists of classes, of 6 and 1 texts."""
    return {
        "context_classes": rng.integers(-1, 2, num_contexts).astype(np.int32),
        "class_ptr": np.array([0, 6, 7], np.int64),
        "class_text": np.append(rng.permutation(num_texts)[:6], 3).astype(np.int32),
    }


def no_classes(num_contexts: int) -> dict[str, NDArray[Any]]:
    """The arrays of tasks without classes."""
    return {
        "context_classes": np.full(num_contexts, -1, np.int32),
        "class_ptr": np.zeros(1, np.int64),
        "class_text": np.zeros(0, np.int32),
    }


def no_counts() -> dict[str, NDArray[Any]]:
    """The arrays of a sampler that does not count children."""
    types = {"count_ptr": np.int64, "count_key": np.int32, "count": np.uint32, "key_text": np.int32}
    return {name: np.zeros(0, dtype) for name, dtype in types.items()}


def random_batch(seed: int, **settings: Any) -> Batch:
    """A batch of `random_arrays`."""
    return Batch.from_arrays(random_arrays(seed, **settings))


SHAPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "full": {"padding": 0.0},
    "nearly empty": {"padding": 0.97},
    "one row": {"max_rows": 1},
    "one column": {"max_columns": 1},
    "no parents": {"max_parents": 0},
    "many parents": {"max_parents": 12, "num_slots": 90, "max_rows": 30},
    "long": {"num_slots": 300, "max_rows": 60, "max_columns": 12, "num_contexts": 2},
}
"""Settings under which forms are compared: each is a place where one of them could go wrong."""
