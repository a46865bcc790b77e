"""Records: cells come back from them bit by bit, and take no more bytes than they need."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened_store import make

import rustler
from plurel.spill import IN_MEMORY
from rt.cells import Column, bytes_for
from rt.meta import ColumnMeta
from rt.records import Shape, record_pieces
from rt.store import open_meta, read_texts
from rt.unpack import unpack_records
from rt.work import Progress, Work


def column(values: list[int | None], width: int, dictionary: list[int] | None) -> Column:
    """values: what stands in the records, None where there is no cell."""
    valid = np.array([value is not None for value in values], bool)
    optional = not valid.all()
    size = None if dictionary is None else len(dictionary)
    meta = ColumnMeta("x", 0, "number", 0.0, 1.0, "", 0, False, width, optional, size)
    return Column(
        meta,
        np.array([value or 0 for value in values], np.uint32),
        valid if optional else None,
        int(valid.sum()),
        dictionary=None if dictionary is None else np.array(dictionary, np.uint32),
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int | None]], list[Column]]:
    """The cells of some columns, and the columns."""
    num_rows = draw(st.integers(0, 12))
    cells, columns = [], []
    for _ in range(draw(st.integers(0, 20))):
        width = draw(st.integers(0, 4))
        value = st.integers(0, 2 ** (8 * width) - 1)
        value = draw(st.sampled_from([value, st.none() | value]))
        cells.append(draw(st.lists(value, min_size=num_rows, max_size=num_rows)))
        dictionary = list(range(5, 5 + 256)) if width <= 1 and draw(st.booleans()) else None
        columns.append(column(cells[-1], width, dictionary))
    return cells, columns


@settings(max_examples=200, deadline=None)
@given(tables(), st.booleans())
def test_cells_come_back(table: tuple[list[list[int | None]], list[Column]], packed: bool) -> None:
    cells, columns = table
    num_rows = len(cells[0]) if cells else 3
    work = Work(1, IN_MEMORY, Progress("", False))
    pieces: dict[str, list[Any]] = {"records": [], "record_ptr": [], "dictionary": []}
    for name, piece in record_pieces(columns, num_rows, packed, work):
        pieces[name].append(piece)
    records = np.concatenate([np.zeros(0, np.uint8), *pieces["records"]])
    ends = np.concatenate([np.zeros(0, np.uint64), *pieces["record_ptr"]])
    shape = Shape([c.meta for c in columns])
    size, _ = shape.sizes([c.count for c in columns], num_rows)
    if packed:
        assert (ends[0], ends[-1], len(ends)) == (0, len(records), num_rows + 1)
    else:
        assert len(records) == num_rows * shape.stride
    assert size <= len(records) + 8 * (num_rows + 1)
    distinct = [
        c.dictionary if c.dictionary is not None else np.zeros(0, np.uint32) for c in columns
    ]
    metas = tuple(c.meta for c in columns)
    values, there = unpack_records((records, ends), metas, distinct, slice(0, num_rows))
    for i, (written, stored) in enumerate(zip(cells, columns, strict=True)):
        assert there[:, i].tolist() == [value is not None for value in written]
        places = [value for value in written if value is not None]
        if stored.dictionary is not None:
            places = stored.dictionary[places].tolist()
        assert values[there[:, i], i].tolist() == places


def test_the_shorter_way_is_taken() -> None:
    dense = Shape([column([1, 2], 4, None).meta] * 3)
    assert dense.sizes([2, 2, 2], 2) == (24, False)
    sparse = Shape([column([1, None], 4, None).meta] * 20)
    # 1,000 rows of 3 bytes of presence and 20 cells of 4, one of 20 there
    assert sparse.sizes([50] * 20, 1000) == (3000 + 4000, True)
    assert sparse.sizes([950] * 20, 1000) == (83_000, False)


@pytest.mark.parametrize(
    ("size", "width"),
    [(0, 0), (1, 0), (2, 1), (256, 1), (257, 2), (65536, 2), (65537, 3), (2**24 + 1, 4)],
)
def test_bytes(size: int, width: int) -> None:
    assert bytes_for(size) == width


@pytest.mark.parametrize(
    ("distinct", "rows", "width", "dictionary"),
    [
        (1, 10, 0, 1),
        (2, 10, 1, 2),
        (256, 1000, 1, 256),
        (257, 1000, 2, 257),
        (500, 1000, 2, 500),
        (501, 1000, 4, None),
        (65536, 140_000, 2, 65536),
        (65537, 140_000, 4, None),
    ],
)
def test_distinct_values_stand_apart_where_that_is_shorter(
    distinct: int, rows: int, width: int, dictionary: int | None, tmp_path: Path
) -> None:
    values = (np.arange(rows) % distinct).astype(np.float64)
    opened = make(tmp_path, {"x": values.tolist()})
    entry = opened.column("t", "x")
    assert (entry.width, entry.dictionary, entry.optional) == (width, dictionary, False)
    store = rustler.Store(tmp_path / "pre")
    for row in (0, distinct - 1, rows - 1):
        ((_, value, _),) = store.row(row)["cells"]
        assert value is not None
        assert value * entry.std + entry.mean == pytest.approx(values[row], rel=1e-4, abs=1e-2)


def test_texts_of_a_column_are_places_among_them_or_numbers(tmp_path: Path) -> None:
    # names of 300 customers, each of them a text of its own; one of two cities each
    opened = make(
        tmp_path,
        {"name": [f"n{i}" for i in range(300)], "city": [f"c{i % 2}" for i in range(300)]},
    )
    name, city = opened.column("t", "name"), opened.column("t", "city")
    assert (name.width, name.dictionary) == (2, None)
    assert (city.width, city.dictionary) == (1, 2)
    store, texts = rustler.Store(tmp_path / "pre"), read_texts(tmp_path / "pre").to_pylist()
    for row in (0, 77, 299):
        cells = store.row(row)["cells"]
        assert [texts[cell[2]] for cell in cells] == [f"n{row}", f"c{row % 2}"]
    assert open_meta(tmp_path / "pre").num_cells == 600


def test_a_wide_table_of_few_cells_is_packed(tmp_path: Path) -> None:
    rows, width = 50, 90
    cells = {
        f"x{i}": [float(row) if row % width == i else None for row in range(rows)]
        for i in range(width)
    }
    opened = make(tmp_path, cells)
    table = opened.meta.tables[0]
    assert table.packed
    # each row: 12 bytes of presence and the only cell of its column, which needs no dictionary
    assert table.record_bytes == rows * (12 + 4)
    store = rustler.Store(tmp_path / "pre")
    assert [[cell[0] for cell in store.row(row)["cells"]] for row in (0, 49)] == [[0], [49]]
