"""Pictures: drawn from what the folder holds, in any shape of schema, without global state."""

import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from relbench.base import Database, Table

from plurel.canvas import open_source
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.folder import write_folder
from plurel.links import LinkResult, draw_parents, make_blocks
from plurel.plot import plot_links, plot_schema, plot_series
from plurel.plot_links import find_link
from plurel.plot_schema import _boxes
from plurel.rng import stream
from plurel.schema import ForeignKey, Schema, TableSchema, draw_schema

CONFIG = Config.preset("demo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plot") / "rel-synthetic-0"
    SyntheticDataset(0, CONFIG).save(path)
    return path


def is_picture(path: Path) -> bool:
    """A picture of some size that is neither empty nor one colour."""
    pixels = matplotlib.image.imread(path)
    return min(pixels.shape[:2]) > 150 and float(pixels[..., :3].std()) > 0.02


def test_pictures_of_a_generated_folder(folder: Path, tmp_path: Path) -> None:
    assert is_picture(plot_schema(folder, tmp_path / "new" / "schema.png"))
    assert is_picture(plot_links(folder, tmp_path / "links.png"))
    assert is_picture(plot_series(folder, tmp_path / "series.png"))
    assert plot_schema(folder, tmp_path / "schema.svg").read_text().startswith("<?xml")


def test_schema_and_folder_tell_the_same(folder: Path) -> None:
    _, drawn = _boxes(draw_schema(CONFIG, 0))
    _, stored = _boxes(folder)
    for one, other in zip(drawn, stored, strict=True):
        assert (one.name, one.activity, one.rows, one.parents) == (
            other.name,
            other.activity,
            other.rows,
            other.parents,
        )


def test_circles_and_self_references_are_drawn(tmp_path: Path) -> None:
    tables = (
        TableSchema(
            "staff", "entity", 5, (), (ForeignKey("boss", "staff"), ForeignKey("s", "shop"))
        ),
        TableSchema("shop", "entity", 5, (), (ForeignKey("owner", "staff"),)),
    )
    assert is_picture(plot_schema(Schema(tables), tmp_path / "circle.png"))


def test_blocks_are_drawn_only_if_they_are_the_folders_own(folder: Path, tmp_path: Path) -> None:
    link = find_link(open_source(folder), None, None)
    assert link.blocks is not None
    assert link.blocks.parent_starts[-1] == link.num_parents
    dataset = SyntheticDataset(0, CONFIG)
    database = dataset.make_db()
    frame = database.table_dict[link.child].df
    frame[link.column] = frame[link.column].to_numpy()[::-1].copy()
    changed = write_folder(
        tmp_path / "changed",
        database=database,
        name="changed",
        val_timestamp=dataset.val_timestamp,
        test_timestamp=dataset.test_timestamp,
        provenance=dataset.provenance(),
    )
    assert find_link(open_source(changed), link.child, link.column).blocks is None
    assert is_picture(plot_links(changed, tmp_path / "links.png", table=link.child))


def test_references_are_resolved_by_value(tmp_path: Path) -> None:
    people = pd.DataFrame({"id": ["x", "y", "z"]})
    visits = pd.DataFrame(
        {
            "who": ["z", None, "x", "q"],
            "when": pd.date_range("2020-01-01", periods=4),
            "cost": [1.0, np.nan, 3.0, 4.0],
        }
    )
    database = Database(
        {
            "people": Table(people, {}, "id", None),
            "visits": Table(visits, {"who": "people"}, None, "when"),
        }
    )
    made = write_folder(
        tmp_path / "real",
        database=database,
        name="real",
        val_timestamp="2020-01-03",
        test_timestamp="2020-01-04",
    )
    link = find_link(open_source(made), None, None)
    assert link.parent_of.tolist() == [2, -1, 0, -1]
    assert is_picture(plot_links(made, tmp_path / "links.png"))
    assert is_picture(plot_series(made, tmp_path / "series.png"))


def test_many_references_are_counted(tmp_path: Path) -> None:
    blocks = make_blocks(400, 50_000, [np.array([[0.9, 0.002], [0.002, 0.9]])])
    links = LinkResult(draw_parents(blocks, stream(0)), blocks)
    assert is_picture(plot_links(links, tmp_path / "many.png"))


def test_bad_requests_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.yaml"):
        plot_schema(tmp_path, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"has no table 'table_9'; it has table_0, "):
        plot_links(folder, tmp_path / "a.png", table="table_9")
    with pytest.raises(InputError, match=r"no foreign key any table\.nope; there are table_\d\."):
        plot_links(folder, tmp_path / "a.png", column="nope")
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "db" / "table_0.parquet").unlink()
    with pytest.raises(InputError, match=r"table_0\.parquet: no such file; the manifest names it"):
        plot_schema(copy, tmp_path / "a.png")
    shutil.rmtree(copy)
    with pytest.raises(InputError, match="table 'table_0' of rel-synthetic-0 has no time column"):
        plot_series(folder, tmp_path / "a.png", table="table_0")
    with pytest.raises(InputError, match=r"such as \.png"):
        plot_schema(folder, tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
