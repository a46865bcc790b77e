"""What the pictures hold: boxes, arrows, panels, points, for databases of any shape."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sql_databases
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from relbench.base import Database, Table

from plurel import plot_columns as columns_module
from plurel import plot_links as links_module
from plurel import plot_schema as schema_module
from plurel.canvas import open_source
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.links import LinkResult, make_blocks
from plurel.plot import (
    PICTURES,
    NothingToDrawError,
    plot_cohorts,
    plot_columns,
    plot_links,
    plot_schema,
    plot_series,
)
from plurel.plot_arrange import Node, arrange
from plurel.plot_links import find_link
from plurel.schema import draw_schema
from scripts.plot_database import main

CONFIG = Config.preset("demo")
NOWHERE = "nowhere.png"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of this test, kept instead of written."""
    kept: list[Figure] = []
    for module in (columns_module, links_module, schema_module):
        monkeypatch.setattr(module, "save", lambda figure, path: kept.append(figure))
    return kept


@pytest.fixture(scope="module")
def single() -> SyntheticDataset:
    return SyntheticDataset(1, CONFIG.overridden(["database_params.num_tables_choices=1"]))


@pytest.fixture(scope="module")
def sakila() -> SyntheticDataset:
    return SyntheticDataset(0, sql_databases.config(sql_databases.DATA / "sakila.sql"))


def count(figure: Figure, kind: type[Any]) -> int:
    return sum(isinstance(patch, kind) for axes in figure.axes for patch in axes.patches)


@pytest.mark.parametrize("layout", ["BarabasiAlbert", "ReverseRandomTree", "WattsStrogatz"])
def test_a_box_a_table_and_an_arrow_a_key(layout: str, figures: list[Figure]) -> None:
    config = Config().overridden([f"database_params.table_layout_choices={layout}"])
    schema = draw_schema(config, 2)
    plot_schema(schema, NOWHERE)
    assert count(figures[0], FancyBboxPatch) == len(schema.tables)
    assert count(figures[0], FancyArrowPatch) == sum(len(t.foreign_keys) for t in schema.tables)


def overlaps(levels: list[list[Node]], x: dict[Node, float], sizes: tuple[float, float]) -> int:
    found = 0
    for nodes in levels:
        width = [sizes[bool(node[1])] for node in nodes]
        for left, right, a, b in zip(nodes[:-1], nodes[1:], width[:-1], width[1:], strict=True):
            found += x[right] - x[left] < (a + b) / 2 - 1e-9
    return found


def test_parents_stand_above_and_neither_boxes_nor_arrows_meet() -> None:
    for seed in range(20):
        parents = {
            table.name: [key.parent for key in table.foreign_keys]
            for table in draw_schema(Config(), seed).tables
        }
        drawing = arrange(parents, 2.0, 0.1, 0.2)
        level = {node: depth for depth, nodes in enumerate(drawing.levels) for node in nodes}
        assert sum(not node[1] for node in level) == len(parents)
        for (child, parent), path in drawing.paths.items():
            assert path[0] == (child, "", 0)
            assert path[-1] == (parent, "", 0)
            # an arrow has a place of its own on every level that it passes
            assert [level[n] for n in path] == list(range(level[path[0]], level[path[-1]] - 1, -1))
        assert overlaps(drawing.levels, drawing.x, (2.0, 0.1)) == 0


def test_arrows_of_a_ladder_do_not_cross() -> None:
    parents = {"a": [], "b": [], "c": ["b"], "d": ["a"], "e": ["c"], "f": ["d"]}
    drawing = arrange(parents, 2.0, 0.1, 0.2)
    places = [drawing.x[name, "", 0] for name in "adfbce"]
    assert places[0] == places[1] == places[2]
    assert places[3] == places[4] == places[5]


def test_object_and_folder_give_the_same_picture(tmp_path: Path) -> None:
    dataset = SyntheticDataset(0, CONFIG)
    dataset.save(tmp_path / dataset.name)
    for name in ("schema", "cohorts"):
        draw = PICTURES[name]
        one = draw(dataset, tmp_path / f"{name}.png").read_bytes()
        assert draw(tmp_path / dataset.name, tmp_path / f"{name}-2.png").read_bytes() == one
    # a Database alone knows neither its name nor what drew it
    assert find_link(open_source(dataset.make_db()), None, None).blocks is None


def test_cohorts_are_the_references_over_their_dates(figures: list[Figure]) -> None:
    people = pd.DataFrame({"id": [7, 8, 9]})
    days = pd.to_datetime(["2020-01-05", "2020-01-01", None, "2020-01-03"])
    visits = pd.DataFrame({"who": [9, 7, 8, None], "when": days})
    database = Database(
        {
            "people": Table(people, {}, "id", None),
            "visits": Table(visits, {"who": "people"}, None, "when"),
        }
    )
    plot_cohorts(database, NOWHERE)
    dots = np.asarray(figures[0].axes[0].collections[0].get_offsets())
    day = np.array(["2020-01-05", "2020-01-01"], "datetime64[D]").astype(float)
    np.testing.assert_allclose(dots, np.stack([day, [2.5, 0.5]], axis=1))


def test_clusters_and_splits_stand_in_the_cohorts(figures: list[Figure]) -> None:
    dataset = SyntheticDataset(5, CONFIG)
    contents = open_source(dataset)
    timed = {name for name, spec in contents.specs.items() if spec.time_col}
    link = find_link(contents, None, None, timed)
    assert link.blocks is not None
    plot_cohorts(dataset, NOWHERE, table=link.child, column=link.column)
    (axes,) = figures[0].axes
    inner = np.unique(link.blocks.parent_starts[1:-1])
    assert len(axes.lines) == (len(inner) if len(inner) <= 40 else 0) + 2
    assert {text.get_text() for text in axes.texts} == {"validation", "test"}
    assert len(axes.collections[0].get_offsets()) == len(link.parent_of)


def test_series_are_those_that_follow_time(figures: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=400)
    frame = pd.DataFrame({"when": days, "flat": 1.0, "noise": rng.random(400)})
    frame["late"] = np.arange(400) + rng.random(400)
    frame["word"] = "x"
    database = Database({"t": Table(frame.sample(frac=1, random_state=0), {}, None, "when")})
    plot_series(database, NOWHERE, max_columns=2)
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["late", "noise"]
    assert figures[0].get_suptitle() == "database: t over time, 2 of 3 number columns"
    dots, mean = figures[0].axes[0].lines
    np.testing.assert_array_equal(np.asarray(dots.get_ydata()), frame["late"])
    assert abs(float(np.asarray(mean.get_ydata())[200]) - 200) < 2


def test_a_panel_for_each_column(figures: list[Figure]) -> None:
    frame = pd.DataFrame(
        {
            "id": range(4),
            "number": [1.0, 2.0, np.nan, 3.0],
            "flag": [True, False, True, True],
            "word": ["a", "a", None, "b c d e f g h i j k l"],
            "born": pd.to_datetime(["2020-01-01", "2021-01-01", None, "2022-01-01"]),
            "nothing": np.full(4, np.nan),
        }
    )
    plot_columns(Database({"t": Table(frame, {}, "id", None)}), NOWHERE)
    axes = figures[0].axes
    titles = [panel.get_title(loc="left") for panel in axes]
    assert titles == [
        "t\nnumber, 25% missing",
        "t\nflag",
        "t\nword, 25% missing",
        "t\nborn, 25% missing",
        "t\nnothing, 100% missing",
    ]
    assert sum(bar.get_height() for bar in axes[0].patches) == 3
    assert [bar.get_width() for bar in axes[1].patches] == [0.25, 0.75]
    assert [text.get_text() for text in axes[2].texts] == [" a", " b c d e f g h i j…"]
    assert not axes[4].patches


def test_frequent_values_and_the_number_of_the_others(figures: list[Figure]) -> None:
    frame = pd.DataFrame(
        {"word": [f"w{i}" for i in range(20)], "near": 3.8455 + np.arange(20) / 1e6}
    )
    plot_columns(Database({"t": Table(frame, {}, None, None)}), NOWHERE)
    words, near = figures[0].axes
    assert [text.get_text() for text in words.texts][-1] == " and 14 more"
    figures[0].draw_without_rendering()
    assert near.xaxis.get_offset_text().get_text() == ""


def test_references_to_own_rows_and_uniform_ones_have_no_blocks(figures: list[Figure]) -> None:
    frame = pd.DataFrame({"id": range(4), "up": [None, 0.0, 0.0, None], "other": [1, 1, 2, 3]})
    keys = {"up": "t", "other": "u"}
    parents = Table(pd.DataFrame({"id": range(4)}), {}, "id", None)
    database = Database({"t": Table(frame, keys, "id", None), "u": parents})
    plot_links(database, NOWHERE, column="up")
    title = "t.up: 2 of 4 rows reference 4, all of them earlier ones"
    assert figures[0].axes[0].get_title(loc="left") == title
    blocks = make_blocks(4, 4, [np.full((2, 2), 0.5)])
    plot_links(LinkResult(np.arange(4), blocks), NOWHERE)
    assert len(figures[1].axes) == 1  # no bar of colours


def test_keys_between_two_tables_are_counted_and_lone_tables_stand_near(
    sakila: SyntheticDataset, figures: list[Figure]
) -> None:
    plot_schema(sakila, NOWHERE)
    assert "\N{MULTIPLICATION SIGN}2" in [text.get_text() for text in figures[0].axes[0].texts]
    x = arrange({"a": [], "b": [], "c": ["d"], "d": []}, 2.0, 0.1, 0.2).x
    assert max(x.values()) - min(x.values()) <= 4.4


def test_too_many_columns_are_counted(figures: list[Figure]) -> None:
    dataset = SyntheticDataset(0, CONFIG)
    there = sum(len(open_source(dataset).features(name)) for name in dataset.make_db().table_dict)
    plot_columns(dataset, NOWHERE, max_columns=7)
    assert sum(panel.axison for panel in figures[0].axes) == 7
    assert figures[0].get_suptitle() == f"rel-synthetic-0: 7 of {there} columns"


def test_a_single_table_has_what_it_has(single: SyntheticDataset, figures: list[Figure]) -> None:
    plot_schema(single, NOWHERE)
    plot_series(single, NOWHERE)
    plot_columns(single, NOWHERE)
    assert count(figures[0], FancyBboxPatch) == 1
    assert count(figures[0], FancyArrowPatch) == 0
    for draw in (plot_links, plot_cohorts):
        with pytest.raises(NothingToDrawError, match="rel-synthetic-1 has no foreign key"):
            draw(single, NOWHERE)


def test_databases_of_sql(sakila: SyntheticDataset, tmp_path: Path, figures: list[Figure]) -> None:
    """With circles, texts and dates, composite keys and keys that reference nothing."""
    for draw in PICTURES.values():
        draw(sakila, NOWHERE)
    keys = {
        (table.name, key.parent)
        for table in sakila.make_schema().tables
        for key in table.foreign_keys
    }
    assert len(figures) == len(PICTURES)
    assert count(figures[2], FancyArrowPatch) == len(keys)


def test_a_folder_whose_schema_file_is_gone_shows_its_references(tmp_path: Path) -> None:
    text = "CREATE TABLE a (id integer PRIMARY KEY, x real); "
    text += "CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a, y real);"
    schema = tmp_path / "ab.sql"
    schema.write_text(text)
    SyntheticDataset(0, sql_databases.config(schema)).save(tmp_path / "ab")
    assert find_link(open_source(tmp_path / "ab"), None, None).blocks is not None
    schema.unlink()
    assert find_link(open_source(tmp_path / "ab"), None, None).blocks is None


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["plot_database.py", *map(str, arguments)])
    main()


def test_the_script_draws_what_there_is(
    single: SyntheticDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    single.save(tmp_path / "db")
    out = tmp_path / "out"
    run(monkeypatch, tmp_path / "db", "--out", out, "--prefix", "one-")
    assert {item.name for item in out.iterdir()} == {
        f"one-{name}.png" for name in ("schema", "series", "columns")
    }
    assert capsys.readouterr().err.count("no picture") == 2
    run(monkeypatch, tmp_path / "db", "all", "--out", tmp_path / "all")
    assert len(list((tmp_path / "all").iterdir())) == 3
    with pytest.raises(NothingToDrawError, match="db has no foreign key in a table with a time"):
        run(monkeypatch, tmp_path / "db", "cohorts", "--out", out)


def test_names_that_are_not_there(
    single: SyntheticDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="has no table 'x'; it has table_0"):
        plot_columns(single, NOWHERE, table="x")
    with pytest.raises(InputError, match="picture 'blocks' is not one of links, cohorts, schema"):
        run(monkeypatch, tmp_path, "blocks", "--out", tmp_path)
    for picture, option, takers in (
        ("series", "--column", "links, cohorts"),
        ("columns", "--column", "links, cohorts"),
        ("schema", "--table", "links, cohorts, series, columns"),
    ):
        with pytest.raises(InputError, match=f"{option} is for {takers}: leave it out, or name"):
            run(monkeypatch, tmp_path, picture, "--out", tmp_path, option, "x")
    with pytest.raises(InputError, match="required: folder, --out; --help"):
        run(monkeypatch)
    with pytest.raises(InputError, match="--prefix 'a/b' must be a plain name"):
        run(monkeypatch, tmp_path, "--out", tmp_path, "--prefix", "a/b")
