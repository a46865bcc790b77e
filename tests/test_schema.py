"""Schemas and dates: tables, keys, sizes and columns as drawn; windows and evenly spaced rows."""

import numpy as np
import pandas as pd
import pytest

from plurel.config import Config
from plurel.dates import draw_window, even_dates
from plurel.schema import Schema, draw_schema

CONFIG = Config()
MANY = [draw_schema(CONFIG, seed) for seed in range(600)]


def test_keys_and_kinds() -> None:
    for schema in MANY[:200]:
        referenced = {key.parent for table in schema.tables for key in table.foreign_keys}
        seen: set[str] = set()
        for table in schema.tables:
            assert all(key.parent in seen for key in table.foreign_keys), "parents come first"
            seen.add(table.name)
            assert table.primary_key == "row_idx"
            assert table.kind == ("entity" if table.name in referenced else "activity")
            assert table.time_column == ("date" if table.kind == "activity" else None)
            keys = [key.column for key in table.foreign_keys]
            assert keys == [f"foreign_row_{number}" for number in range(len(keys))]
            names = [column.name for column in table.columns]
            assert names == [f"feature_{number}" for number in range(len(names))]
        assert seen == {f"table_{number}" for number in range(len(schema.tables))}


def test_sizes_stay_in_their_ranges_and_reach_the_ends() -> None:
    tables = [table for schema in MANY for table in schema.tables]
    entity = [table.num_rows for table in tables if table.kind == "entity"]
    activity = [table.num_rows for table in tables if table.kind == "activity"]
    assert min(entity) >= 500
    assert max(entity) <= 1000
    assert min(activity) >= 2000
    assert max(activity) <= 5000
    assert abs(np.mean(entity) - 750) < 12
    assert abs(np.mean(activity) - 3500) < 80
    counts = np.bincount([len(schema.tables) for schema in MANY], minlength=21)
    assert counts[:3].sum() == 0
    assert ((counts[3:] - 600 / 18) ** 2 / (600 / 18)).sum() < 40.8  # 99.9 %, 17 df


def test_columns_follow_the_power_law() -> None:
    widths = np.bincount(
        [len(table.columns) for schema in MANY for table in schema.tables], minlength=41
    )[3:]
    weight = 1 / np.arange(3, 41)
    expected = widths.sum() * weight / weight.sum()
    assert widths.sum() > 6000
    assert ((widths - expected) ** 2 / expected).sum() < 69.3  # 99.9 %, 37 df
    columns = [c for schema in MANY[:200] for table in schema.tables for c in table.columns]
    categorical = [c for c in columns if c.kind == "categorical"]
    assert abs(len(categorical) / len(columns) - 0.5) < 0.015
    assert all((c.num_categories is None) == (c.kind == "numerical") for c in columns)
    counts = np.bincount([c.num_categories or 0 for c in categorical], minlength=11)[2:]
    assert len(counts) == 9
    assert abs(counts / counts.sum() - 1 / 9).max() < 0.011


def test_layouts_are_drawn_alike_and_show_their_signatures() -> None:
    by_layout: dict[str, list[Schema]] = {}
    for schema in MANY:
        by_layout.setdefault(schema.layout, []).append(schema)
    assert set(by_layout) == {"BarabasiAlbert", "ReverseRandomTree", "WattsStrogatz"}
    assert all(abs(len(schemas) - 200) < 46 for schemas in by_layout.values())
    for schema in by_layout["ReverseRandomTree"]:
        assert sum(len(table.foreign_keys) for table in schema.tables) == len(schema.tables) - 1
        assert sum(table.kind == "activity" for table in schema.tables) == 1
    large = [schema for schema in by_layout["BarabasiAlbert"] if len(schema.tables) > 10]
    assert np.mean([sum(t.kind == "activity" for t in s.tables) for s in large]) > 3
    for schema in by_layout["WattsStrogatz"]:
        edges = sum(len(table.foreign_keys) for table in schema.tables)
        assert edges <= 2 * len(schema.tables) + 1


def test_a_seed_keeps_its_schema() -> None:
    assert draw_schema(CONFIG, 5) == MANY[5]
    assert MANY[5] != MANY[6]
    # what one table draws does not move the others
    more = CONFIG.overridden(["database_params.num_rows_entity_table_choices=700"])
    changed = draw_schema(more, 5)
    assert [t.columns for t in changed.tables] == [t.columns for t in MANY[5].tables]


def test_a_single_table() -> None:
    config = CONFIG.overridden(["database_params.num_tables_choices=1"])
    for seed in range(6):
        (table,) = draw_schema(config, seed).tables
        assert (table.kind, table.time_column, table.foreign_keys) == ("activity", "date", ())


def test_windows() -> None:
    low, high = (pd.Timestamp(year).timestamp() for year in ("1990-01-01", "2025-01-01"))
    windows = [draw_window(CONFIG, seed) for seed in range(2000)]
    for window in windows:
        assert low <= window.start < window.val < window.test < window.end < high
        length = window.end - window.start
        assert abs(window.val - window.start - 0.8 * length) <= 86_400
        assert abs(window.test - window.start - 0.9 * length) <= 86_400
    # whole days, the splits too unless the window is a few days long
    assert all(window.start % 86_400 == window.end % 86_400 == 0 for window in windows)
    assert np.mean([(w.val % 86_400, w.test % 86_400) == (0, 0) for w in windows]) > 0.99
    # two sorted uniforms: the window's length has mean 1/3 of the range
    lengths = np.array([window.end - window.start for window in windows]) / (high - low)
    assert abs(lengths.mean() - 1 / 3) < 0.016
    assert windows[0].val_timestamp == pd.Timestamp(windows[0].val, unit="s")


def test_splits_count_the_days_of_both_ends() -> None:
    """Of 21 days the validation timestamp is the 17th, the test timestamp the 19th."""
    limits = [
        "database_params.min_timestamp=2000-01-01",
        "database_params.max_timestamp=2000-04-10",
    ]
    config = CONFIG.overridden(limits)
    for seed in range(200):
        window = draw_window(config, seed)
        days = (window.end - window.start) // 86_400 + 1
        if days > 10:
            assert (window.val - window.start) // 86_400 == int(days * 0.8)
            assert (window.test - window.start) // 86_400 == int(days * 0.9)


def test_every_pair_of_days_is_as_likely() -> None:
    limits = [
        "database_params.min_timestamp=2000-01-01",
        "database_params.max_timestamp=2000-01-05",
    ]
    config = CONFIG.overridden(limits)
    pairs = [(w.start, w.end) for w in (draw_window(config, seed) for seed in range(3000))]
    counts = np.unique(pairs, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 20.5  # 99.9 %, 5 df


def test_short_ranges_still_give_a_window() -> None:
    limits = [
        "database_params.min_timestamp=2000-01-01",
        "database_params.max_timestamp=2000-01-03",
    ]
    for seed in range(9):
        window = draw_window(CONFIG.overridden(limits), seed)
        assert window.start < window.val < window.test < window.end == window.start + 86_400


@pytest.mark.parametrize("rows", [1, 2, 3, 4999, 1_000_003])
def test_dates_are_evenly_spaced_and_in_row_order(rows: int) -> None:
    window = draw_window(CONFIG, 1)
    dates = even_dates(window, rows)
    micros = dates.astype(np.int64)
    assert dates.dtype == np.dtype("datetime64[us]")
    assert len(dates) == rows
    assert micros[0] == window.start * 1_000_000
    if rows > 1:
        assert micros[-1] == window.end * 1_000_000
        gaps = np.diff(micros)
        assert gaps.max() - gaps.min() <= 1
        assert gaps.min() > 0
