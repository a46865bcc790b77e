"""The picture of the masks shows what the model does."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from random_contexts import SHAPES, random_arrays
from torch import Tensor

from rt.attention import FORMS, masked_attention
from rt.data import Batch
from rt.plan import MASKS, Groups, dense_masks
from rt.viz import Asked, in_words, sample
from rt.viz_layout import colors_of
from rt.viz_masks import NOTHING, draw_masks, masks_of
from tests.libraries import EMBEDDER, library_store

ASKED = Asked("late", recipe="labels", context_length=64, embedder=EMBEDDER)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_store(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def sampled(library):
    return sample(library, ASKED)


def seen_by_attention(groups: Groups, form: str) -> Tensor:
    """bool [N, N]: where attention takes a value from, found by values that are all different:
    cell j has a 1 in channel j alone."""
    count = int(groups.cell_ptr[-1])
    zeros = torch.zeros(count, 1, -(-count // 16) * 16)
    values = zeros.clone()
    values[range(count), 0, range(count)] = 1
    return masked_attention(zeros, zeros, values, groups, form)[:, 0, :count] > 0


@pytest.mark.parametrize("form", [form for form in FORMS if form != "auto"])
def test_the_masks_are_those_of_attention(sampled, form):
    batch = Batch.from_arrays(sampled.arrays)
    masks = masks_of(batch)
    assert tuple(masks) == MASKS
    for name, mask in masks.items():
        assert np.array_equal(mask, seen_by_attention(getattr(batch.plan, name), form).numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_masks_are_those_of_the_definition(shape):
    batch = Batch.from_arrays(random_arrays(3, **SHAPES[shape]))
    arrays = (batch.row, batch.column, batch.context_row_ptr, batch.parent_ptr, batch.parent)
    expected = dense_masks(*arrays)
    for context in range(len(batch.row)):
        real = ~batch.is_padding[context]
        for name, mask in masks_of(batch, context).items():
            assert np.array_equal(mask, expected[name][context][real][:, real].numpy())


def test_masks_by_hand(library, sampled):
    """Cells of the library's context: 0, 1 target's time and label; 2 its member's name; 3 to 8
    label rows; 9 the other member's name; 10 to 12 and 13 to 15 loans of this and that member."""
    masks = masks_of(Batch.from_arrays(sampled.arrays))
    seen = in_words(library, ASKED, sampled)
    by_row = [cell.row for cell in seen.cells]
    assert by_row == [0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6, 7, 7, 7]
    sees = {name: [np.flatnonzero(line).tolist() for line in mask] for name, mask in masks.items()}
    assert sees["col"][1] == [1, 4, 6, 8]
    assert sees["col"][2] == [2, 9]
    assert sees["feat"][1] == [0, 1, 2]
    assert sees["feat"][13] == [2, 13, 14, 15]
    assert sees["nbr"][1] == []
    assert sees["nbr"][2] == [0, 1, 3, 4, 5, 6, 13, 14, 15]
    assert sees["nbr"][9] == [7, 8, 10, 11, 12]


def test_the_picture_shows_the_masks(library, sampled):
    masks = masks_of(Batch.from_arrays(sampled.arrays))
    seen = in_words(library, ASKED, sampled)
    colors = {table: to_rgb(color) for table, color in colors_of(seen).items()}
    figure = draw_masks(seen, masks, max_cells=12)
    for axes, name in zip(figure.axes, MASKS, strict=True):
        drawn = np.asarray(axes.images[0].get_array())
        assert np.array_equal((drawn != to_rgb(NOTHING)).any(2), masks[name][:12, :12])
        for line, column in np.argwhere(masks[name][:12, :12]):
            table = seen.tables[seen.cells[column].row]
            assert tuple(drawn[line, column]) == colors[table]
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 11.5), (11.5, -0.5))
    told = [text.get_text() for text in figure.texts]
    assert told[0].endswith("8 rows, 16 cells of at most 64; the first 12 of them")
    titles = [axes.get_title(loc="left").splitlines() for axes in figure.axes]
    assert titles[2] == ["nbr: the rows that reference its row",
                         "14 of 256 pairs; 14 cells see nothing and get 0"]  # fmt: skip
