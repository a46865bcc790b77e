"""A library by hand, small enough to say in full what a context of it holds."""

from pathlib import Path

import pandas as pd
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from plurel.folder import write_folder
from rt.databases import FrameDataset
from rt.store import preprocess

EMBEDDER = "hash"


def library_tables() -> dict[str, pd.DataFrame]:
    """Two members; loans of books, one of them in the test period; branches that nothing
    references, without a time. A name and a title hold what a terminal or a page could obey."""
    members = pd.DataFrame({"member": [0, 1], "name": ["Ada", "<script>alert(1)</script>"]})
    loans = pd.DataFrame(
        {
            "loan": [0, 1, 2],
            "day": pd.to_datetime(["2020-01-05", "2020-01-06", "2020-03-20"]),
            "member": [0, 1, 0],
            "title": ["Emma & \x1b[31mother $tories", "Walden " * 20, "Dracula"],
            "weeks": [2.0, 3.0, 1.0],
        }
    )
    branches = pd.DataFrame({"branch": range(10), "rooms": [float(n) for n in range(10)]})
    return {"members": members, "loans": loans, "branches": branches}


def library_labels() -> dict[str, pd.DataFrame]:
    """Will the member be late in the next 30 days?"""

    def rows(*found: tuple[str, int, int]) -> pd.DataFrame:
        days, members, late = zip(*found, strict=True)
        return pd.DataFrame(
            {"timestamp": pd.to_datetime(list(days)), "member": members, "late": late}
        )

    return {
        "train": rows(("2020-01-10", 0, 1), ("2020-01-10", 1, 0), ("2020-01-20", 0, 0)),
        "val": rows(("2020-02-20", 0, 1), ("2020-02-20", 1, 1)),
        "test": rows(("2020-03-10", 0, 0), ("2020-03-10", 1, 1)),
    }


def library_store(root: Path) -> Path:
    """The store folder, below `root`."""
    manifest = DatasetManifest(
        "library",
        "2020-02-15",
        "2020-03-10",
        tables={
            "members": TableSpec("member"),
            "loans": TableSpec("loan", "day", {"member": "members"}),
            "branches": TableSpec("branch"),
        },
    )
    late = TaskManifest(
        name="late",
        kind="forecast",
        task_type="binary_classification",
        entity_table="members",
        entity_col="member",
        time_col="timestamp",
        timedelta="30 days",
        target_col="late",
        sql="SELECT t.timestamp FROM timestamps t",
        num_eval_timestamps=1,
    )
    tables = library_tables()
    raw = write_folder(
        root / "raw" / "library",
        database=FrameDataset(tables, manifest).wrap(tables),
        name=manifest.name,
        val_timestamp=manifest.val_timestamp,
        test_timestamp=manifest.test_timestamp,
        tasks=[late],
        labels={"late": library_labels()},
    )
    return preprocess(raw, root / "pre" / "library", embedder=EMBEDDER, show_progress=False)
