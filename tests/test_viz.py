"""A context in words, pictures and pages: what they say is what the database holds."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import relbench
from matplotlib.image import imread

import rustler
from plurel.errors import InputError
from rt.evaluate import Selection, label
from rt.meta import open_meta
from rt.tasks import load_tasks, to_sampler
from rt.viz import Asked, read_context, sample_context
from rt.viz_html import to_html, write_html
from rt.viz_layout import lay_out, share_out, short
from rt.viz_png import plot_context
from rt.viz_text import to_text
from tests.libraries import library_store
from tests.shops import EMBEDDER, shop_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_store(tmp_path_factory.mktemp("library"))


def _contexts(folders, name, count=2, length=60):
    raw, store = folders
    (task,) = load_tasks(store, [name])
    labelled = label(relbench.load_dataset(raw), store, task, Selection())
    sampler = rustler.Sampler(
        [store],
        [to_sampler(task, 0)],
        embedder=EMBEDDER,
        context_length=length,
        recipes=[rustler.Recipe("published", width=8)],
    )
    cutoff = open_meta(store).test_timestamp
    return labelled, sampler.contexts(0, labelled.rows[-count:], cutoff=cutoff, seed=0)


def test_a_forecast_in_words(folders):
    labelled, arrays = _contexts(folders, "mean-amount")
    seen = read_context(arrays, folders[1], labelled.task, context=1)
    wanted = labelled.table.df.iloc[-1]
    assert seen.target == 0
    assert (seen.tables[:2], seen.depths[:2].tolist()) == (["mean-amount", "shops"], [0, 1])
    assert seen.times[0] == wanted["timestamp"].strftime("%Y-%m-%d")
    assert seen.times[1] == ""
    assert seen.parents[0].tolist() == [1]
    cells = {(cell.row, cell.column): cell for cell in seen.cells}
    assert cells[0, "mean_amount"].value == "?"
    assert cells[0, "mean_amount"].is_target
    towns = ["Ayr", "Ely", "Rye", "Wem", "Bath", "Bude"]
    assert cells[1, "town"].value == towns[wanted["shop"]]
    assert sum(cell.is_target for cell in seen.cells) == 1


def test_every_shown_cell_is_that_of_the_table(folders):
    labelled, arrays = _contexts(folders, "any-returned", count=1, length=90)
    seen = read_context(arrays, folders[1], labelled.task)
    meta = open_meta(folders[1])
    sales = relbench.load_dataset(folders[0]).get_db(False).table_dict["sales"].df
    first = meta.tables[meta.table("sales")].rows[0]
    checked = 0
    for cell in seen.cells:
        if seen.tables[cell.row] == "sales":
            row = sales.iloc[int(arrays["row_number"][cell.row]) - first]
            value = row[cell.column]
            if cell.column in ("amount", "refund"):
                assert float(cell.value) == pytest.approx(value, rel=1e-4)
            elif cell.column == "returned":
                assert cell.value == str(bool(value)).lower()
            elif cell.column == "day":
                assert cell.value == str(value.date()) == seen.times[cell.row]
            else:
                assert cell.value == value
            checked += 1
    assert checked > 20


def test_the_hidden_column_is_not_shown_beside_the_target(folders):
    labelled, arrays = _contexts(folders, "returned", count=1)
    seen = read_context(arrays, folders[1], labelled.task)
    own = {cell.column: cell.value for cell in seen.cells if cell.row == seen.target}
    assert own["returned"] == "?"
    assert "refund" not in own
    assert "refund" in {cell.column for cell in seen.cells}


@pytest.mark.parametrize("max_rows", [1, 5, 40])
def test_the_picture_is_drawn(folders, tmp_path, max_rows):
    labelled, arrays = _contexts(folders, "returned", length=120)
    path = tmp_path / "context.png"
    seen = read_context(arrays, folders[1], labelled.task, context=1)
    plot_context(seen, path, max_rows=max_rows)
    image = imread(path)[..., :3]
    assert image.shape[0] > 400
    red = (np.abs(image - np.array([0xCC, 0x33, 0x11]) / 255) < 0.02).all(axis=2)
    assert red.sum() > 200  # the frame of the target's row, and its cell
    assert (image < 0.99).any(axis=2).mean() > 0.01


def test_a_context_that_is_not_there(folders):
    labelled, arrays = _contexts(folders, "returned")
    with pytest.raises(InputError, match="context 2 is not among the 2"):
        read_context(arrays, folders[1], labelled.task, context=2)


def _see(store, task="late", **asked):
    return sample_context(store, Asked(task, embedder=EMBEDDER, **asked))


def test_text_and_page_say_what_they_leave_out(library):
    seen = _see(library, recipe="labels", context_length=64)
    cut = to_text(seen, max_rows=3, max_cells=4)
    assert "not printed: 5 rows, 12 cells (--max_rows, --max_cells)" in cut
    assert "OTHER LABEL" not in cut
    assert "row 7" not in to_html(seen, max_rows=3)
    assert "in the context, but not on this page: 5 rows" in to_html(seen, max_rows=3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"recipe": "unlabelled"}, "all labels: the recipe hides them"),
        ({"recipe": "published", "context_length": 3}, "2 of 3 other label rows of the entity: kn"),
        ({"split": "train", "number": 1}, "protocol rolling"),
        ({"split": "val", "number": 1}, "as of 2020-02-20; nothing after 2020-02-15, when the s"),
        ({"task": "loans.weeks", "split": "train"}, "other rows of loans: their label is not kn"),
    ],
)
def test_what_is_absent_is_said(library, asked, said):
    assert said in to_text(_see(library, **asked))


@pytest.mark.parametrize(("split", "hidden"), [("train", 2), ("val", 1), ("test", 0)])
def test_a_target_without_a_time(library, split, hidden):
    seen = _see(library, "branches.rooms", split=split, protocol="rolling", recipe="labels")
    assert seen.about[1] == "predicts branches.rooms of a row without a time"
    said = f"{hidden} of 9 labels of other rows of branches: their split is"
    assert any(line.startswith(said) for line in seen.absent) == (split != "test")
    assert "label of another row, at random" in seen.reasons


def test_what_leaks_and_other_tasks_are_named(folders):
    said = "\n".join(_see(folders[1], "returned").absent)
    assert "sales.refund: they leak the label" in said
    assert "label rows of other tasks (any-returned, mean-amount): never shown" in said
    assert "their label is known only 36 hours after their time" in said


class _Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_escapes_values_and_needs_no_network(library, tmp_path):
    seen = _see(library, recipe="labels", context_length=64)
    page = write_html(seen, tmp_path / "new" / "context.html").read_text(encoding="utf-8")
    read = _Page(page)
    assert "script" not in read.tags
    assert {"svg", "table", "title"} <= set(read.tags)
    told = " ".join(read.text)
    assert "<script>alert(1)</script>" in told
    assert "Emma & \ufffd[31mother $tories" in told
    for reason in seen.reasons:
        assert told.count(reason) >= 2  # under the mouse, and to read
    links = [value for name, value in read.attributes if name in ("href", "src")]
    assert set(links) == {f"#row-{row}" for row in range(8)}
    assert not re.search(r"https?:|url\(|@import|<link", page)
    assert page.count('class="cell masked"') == 1
    assert page.count('class="cell label"') == 3


@pytest.mark.parametrize("recipe", ["published", "labels", "walks", "unlabelled"])
def test_every_recipe_as_picture_and_page(folders, tmp_path, recipe):
    seen = _see(folders[1], "any-returned", recipe=recipe, number=3)
    plot_context(seen, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 10_000
    assert all(f'id="row-{row}"' in to_html(seen) for row in range(len(seen.tables)))


def test_every_part_has_its_share_of_a_picture(folders):
    assert share_out([1, 50, 2, 60], 40) == [1, 27, 2, 10]
    assert share_out([3, 2], 40) == [3, 2]
    assert share_out([5, 5, 5], 2) == [2, 0, 0]
    seen = _see(folders[1], "any-returned", recipe="labels", number=3)
    layout = lay_out(seen, 12)
    assert len(layout.places) == len(set(layout.places.values())) == 12
    assert sum(len(band.rows) for band in layout.bands) == 12
    assert len(layout.bands) == 4
    assert short("a\n b\x07", 9) == "a b\ufffd"
