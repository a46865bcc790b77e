"""The picture of a context: what it says is what the database holds."""

import numpy as np
import pytest
import relbench
from matplotlib.image import imread

import rustler
from plurel.errors import InputError
from rt.evaluate import Selection, label
from rt.meta import open_meta
from rt.tasks import load_tasks, to_sampler
from rt.viz import plot_context, read_context
from tests.shops import EMBEDDER, shop_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return shop_folders(tmp_path_factory.mktemp("shops"))


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
    seen = read_context(arrays, folders[1], context=1)
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
    _, arrays = _contexts(folders, "any-returned", count=1, length=90)
    seen = read_context(arrays, folders[1])
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
    _, arrays = _contexts(folders, "returned", count=1)
    seen = read_context(arrays, folders[1])
    own = {cell.column: cell.value for cell in seen.cells if cell.row == seen.target}
    assert own["returned"] == "?"
    assert "refund" not in own
    assert "refund" in {cell.column for cell in seen.cells}


@pytest.mark.parametrize("max_rows", [1, 5, 40])
def test_the_picture_is_drawn(folders, tmp_path, max_rows):
    _, arrays = _contexts(folders, "returned", length=120)
    path = tmp_path / "context.png"
    plot_context(arrays, folders[1], path, context=1, max_rows=max_rows)
    image = imread(path)[..., :3]
    assert image.shape[0] > 400
    red = (np.abs(image - np.array([0xCC, 0x33, 0x11]) / 255) < 0.02).all(axis=2)
    assert red.sum() > 200  # the frame of the target's row, and its cell
    assert (image < 0.99).any(axis=2).mean() > 0.01


def test_a_context_that_is_not_there(folders):
    _, arrays = _contexts(folders, "returned")
    with pytest.raises(InputError, match="context 2 is not among the 2"):
        read_context(arrays, folders[1], context=2)
