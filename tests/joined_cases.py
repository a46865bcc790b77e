"""Random small databases for tests of joined rows, and what may be known of them, row by row.

Regions have vendors, vendors have products, products have orders, which name a seller too, and
orders have notes. Times are whole days, so that many rows share one.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from relbench.manifest import DatasetManifest, TableSpec

from plurel.rng import stream
from rt.databases import FrameDataset
from rt.joined.features import View
from rt.joined.queries import Queries, make_labels, make_queries
from rt.joined.tables import read_tables

DAY = 86_400 * 10**6
DECIDED_BY = 20
"""The validation day: which categories there are is decided by rows up to it."""
NUM_DAYS = 40
SIZES = {"regions": 3, "vendors": 5, "products": 12, "orders": 90, "notes": 80}
KEYS = {
    "vendors": {"region": "regions"},
    "products": {"vendor": "vendors"},
    "orders": {"product": "products", "seller": "vendors"},
    "notes": {"order": "orders"},
}
TIMED = ("products", "orders", "notes")
LABELS = 60


@dataclass
class Case:
    """rows: per table a list of dictionaries, `day` None for no time, keys None for null; labels:
    of products, by day, for the forecast. horizon: days, None for the autocomplete of `amount`."""

    seed: int
    horizon: int | None
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)

    @property
    def autocomplete(self) -> bool:
        return self.horizon is None

    @property
    def entity_table(self) -> str:
        return "orders" if self.autocomplete else "products"

    def known_labels(self) -> list[dict[str, Any]]:
        """{"row", "day", "value"} of every label."""
        if not self.autocomplete:
            return self.labels
        return [
            {"row": number, "day": row["day"], "value": row["amount"]}
            for number, row in enumerate(self.rows["orders"])
        ]

    def view(self) -> View:
        """The case as the code under test sees it."""
        tables = read_tables(
            _dataset(self.rows),
            target=("orders", "amount") if self.autocomplete else None,
            leaking=[("orders", "refund"), ("vendors", "rating")],
        )
        labels = self.known_labels()
        horizon = None if self.horizon is None else self.horizon * 86_400
        made = make_labels(
            np.array([label["row"] for label in labels]),
            np.array([label["day"] * DAY for label in labels]),
            np.array([label["value"] for label in labels], dtype=np.float64),
            horizon=horizon,
        )
        return View(tables, self.entity_table, made, self.autocomplete, horizon, 5000)

    def queries(self, cutoff: int | None) -> Queries:
        """Rows of the entity table at days after DECIDED_BY, cut off at a day or not."""
        if self.autocomplete:
            days = np.array([row["day"] for row in self.rows["orders"]])
            row = np.flatnonzero(days >= DECIDED_BY)
            day = days[row]
        else:
            draws = stream(self.seed, "queries")
            row = draws.integers(SIZES["products"], size=40)
            day = draws.integers(DECIDED_BY, NUM_DAYS, size=40)
        horizon = None if self.horizon is None else self.horizon * 86_400
        cut = None if cutoff is None else cutoff * DAY
        return make_queries(row, day * DAY, horizon=horizon, cutoff=cut)


def random_case(seed: int, horizon: int | None) -> Case:
    """A database, its rows in order of time, and labels."""
    draws = stream(seed, "joined case")
    case = Case(seed, horizon)
    for table, size in SIZES.items():
        days: list[int | None] = [None] * size
        if table in TIMED:
            days = sorted(draws.integers(NUM_DAYS, size=size))
        case.rows[table] = [
            {"day": None if day is None else int(day), **random_cells(table, draws)} for day in days
        ]
    case.labels = [
        {"row": int(row), "day": int(day), "value": float(draws.integers(10))}
        for row, day in zip(
            draws.integers(SIZES["products"], size=LABELS),
            draws.integers(NUM_DAYS, size=LABELS),
            strict=True,
        )
    ]
    return case


def random_cells(table: str, draws: np.random.Generator) -> dict[str, Any]:
    """The keys and cells of a new row."""
    cells: dict[str, Any] = {}
    for key, parent in KEYS.get(table, {}).items():
        null = draws.random() < 0.15
        cells[key] = None if null else int(draws.integers(SIZES[parent]))
    missing = table in TIMED and draws.random() < 0.2
    cells["size"] = float("nan") if missing else float(draws.normal(100, 30))
    cells["colour"] = str(draws.choice(["red", "green", "blue"]))
    if table == "vendors":
        cells["rating"] = float(draws.normal())
    if table == "orders":
        cells |= {"amount": float(draws.normal()), "refund": float(draws.normal())}
        cells["due"] = int(draws.integers(NUM_DAYS))
    return cells


def _dataset(rows: dict[str, list[dict[str, Any]]]) -> FrameDataset:
    frames, specs = {}, {}
    for name, records in rows.items():
        frame = pd.DataFrame(records)
        frame.insert(0, f"{name}_id", np.arange(len(frame)))
        for key in KEYS.get(name, {}):
            frame[key] = frame[key].astype("Int64")
        for column in {"day", "due"} & set(frame.columns):
            frame[column] = pd.Timestamp(0) + pd.to_timedelta(frame[column], unit="D")
        if name not in TIMED:
            del frame["day"]
        frames[name] = frame
        specs[name] = TableSpec(
            f"{name}_id", "day" if name in TIMED else None, dict(KEYS.get(name, {}))
        )
    val = str(pd.Timestamp(0) + pd.Timedelta(days=DECIDED_BY))
    manifest = DatasetManifest("case", val, "1970-02-05", tables=specs)
    return FrameDataset(frames, manifest)
