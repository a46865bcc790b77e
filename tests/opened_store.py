"""A hand-made database for tests, and stores with their cells looked up by names."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec, TaskManifest

from rt import store
from rt.store import StoreMeta, open_meta, read_arrays, read_texts

DAY = 86400


class Opened:
    """A store with its cells looked up by names."""

    def __init__(self, folder: Path) -> None:
        self.meta: StoreMeta = open_meta(folder)
        self.arrays = read_arrays(folder)
        self.texts = read_texts(folder).to_pylist()

    def column(self, table: str, name: str, kind: str = "database") -> Any:
        return self.meta.columns[self.meta.column(self.meta.table(table, kind), name)]

    def cells(self, table: str, name: str, kind: str = "database") -> list[Any]:
        """Values of one column in the store's order of rows, None where there is no cell."""
        number = self.meta.table(table, kind)
        column = self.meta.column(number, name)
        found = []
        for row in range(*self.meta.tables[number].rows):
            start, end = self.arrays["cell_ptr"][row : row + 2]
            here = np.flatnonzero(self.arrays["cell_column"][start:end] == column)
            value = self.arrays["cell_value"][start:end][here]
            if len(here) == 0:
                found.append(None)
            elif self.meta.columns[column].type == "text":
                found.append(self.texts[value[0]])
            else:
                found.append(float(value.view(np.float32)[0]))
        return found

    def values(self, table: str, name: str, kind: str = "database") -> list[Any]:
        """Like cells, but numbers as they were before they were normalised."""
        entry = self.column(table, name, kind)
        return [
            None if z is None else z * entry.std + entry.mean for z in self.cells(table, name, kind)
        ]

    def edges(self, direction: str, table: str, kind: str = "database") -> list[list[int]]:
        pointer, rows = self.arrays[f"{direction}_ptr"], self.arrays[f"{direction}_row"]
        span = range(*self.meta.tables[self.meta.table(table, kind)].rows)
        return [rows[pointer[row] : pointer[row + 1]].tolist() for row in span]


def make(
    folder: Path, columns: dict[str, Any], spec: TableSpec | None = None, **more: Any
) -> Opened:
    """The store of a database of one table `t`."""
    write_folder(folder / "raw", {"t": (columns, spec or TableSpec())}, **more)
    return Opened(store.write_store(folder / "raw", folder / "pre"))


def shop(folder: Path) -> Path:
    """Users, and orders that stand out of order in their file, one of them without a date."""
    users = {"uid": [10, 20, 30], "age": [20.0, 40.0, None], "vip": [True, False, True]}
    orders = {
        "oid": ["c", "a", "d", "b"],
        "user": pa.array([20, 10, 99, None], pa.int32()),
        "friend": pa.array([10.0, float("nan"), 10.0, 30.0]),
        "date": dates("2020-06-01", "2019-01-01", None, "2019-06-01"),
        "amount": [5.0, 1.0, 100.0, 3.0],
    }
    task = TaskManifest(
        "churn",
        "forecast",
        "binary_classification",
        entity_table="users",
        entity_col="uid",
        target_col="churn",
        time_col="day",
        timedelta="30 days",
        sql="SELECT 1",
        remove_columns=[["orders", "amount"], ["users", "nothing"]],
    )
    labels = {
        "train": {"day": dates("2019-12-01", "2019-11-01"), "uid": [30, 10], "churn": [1, 0]},
        "val": {"day": dates("2020-01-01"), "uid": [10], "churn": [1]},
        "test": {"day": dates("2021-01-01"), "uid": [20], "churn": [0]},
    }
    return write_folder(
        folder,
        {
            "users": (users, TableSpec("uid")),
            "orders": (orders, TableSpec("oid", "date", {"user": "users", "friend": "users"})),
        },
        {"churn": (task, labels)},
    )
