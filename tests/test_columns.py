"""Transforms, missing values and categories: values by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from plurel import params as allowed
from plurel.choices import Choices
from plurel.columns import TRANSFORMS, finish_table
from plurel.config import Config
from plurel.params import DatabaseParams
from plurel.rng import stream
from plurel.schema import ColumnSchema, TableSchema
from plurel.values import TableValues

ROWS = 203


def config(transform: str = "identity", rate: float = 0.0) -> Config:
    params = DatabaseParams(
        col_transform_choices=Choices("set", (transform,)),
        column_nan_perc_choices=Choices("set", (rate,)),
    )
    return Config(database_params=params)


def finish(values: TableValues, settings: Config | None = None, seed: int = 0) -> pd.DataFrame:
    rows = len(values.values[0])
    table = TableSchema("t", "entity", rows, values.columns)
    return pd.DataFrame(finish_table(values, table, settings or config(), seed, ("t",)))


def numeric(*columns: list[float]) -> TableValues:
    schemas = tuple(ColumnSchema(f"feature_{i}", "numerical") for i in range(len(columns)))
    arrays = tuple(np.array(column, np.float32) for column in columns)
    return TableValues(schemas, arrays, "type_eager")


def normals(columns: int) -> TableValues:
    draw = np.random.default_rng(0)
    return numeric(*[draw.normal(3, 5, ROWS).tolist() for _ in range(columns)])


def test_names_are_those_of_the_config() -> None:
    assert tuple(TRANSFORMS) == allowed.TRANSFORMS


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("identity", [4.0, -9.0, 0.0, 4.0]),
        ("rank_uniform", [0.6, 0.2, 0.4, 0.8]),
        ("log", [np.log(5), -np.log(10), 0.0, np.log(5)]),
        ("sqrt", [2.0, -3.0, 0.0, 2.0]),
        ("standardize", [0.8004, -1.7343, 0.0447 * 1.0 + 0.0, 0.8004]),
    ],
)
def test_transforms_by_hand(transform: str, expected: list[float]) -> None:
    last = 5 if transform == "rank_uniform" else 4  # the order of ties is drawn
    found = finish(numeric([4, -9, 0, last]), config(transform))["feature_0"].to_numpy()
    if transform == "standardize":
        # mean -1/4, variance (2 * 4.25^2 + 8.75^2 + 0.25^2) / 4
        deviation = np.sqrt((2 * 4.25**2 + 8.75**2 + 0.25**2) / 4)
        expected = [4.25 / deviation, -8.75 / deviation, 0.25 / deviation, 4.25 / deviation]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_ties_take_different_ranks_and_constants_stay() -> None:
    constant = numeric([2.5] * 4)
    ranks = finish(constant, config("rank_uniform"))["feature_0"]
    assert sorted(ranks) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert list(ranks) == sorted(ranks)
    assert finish(constant, config("standardize"))["feature_0"].tolist() == [0.0] * 4
    assert finish(constant)["feature_0"].tolist() == [2.5] * 4


def test_ties_keep_their_order_in_runs_but_not_over_the_table() -> None:
    """Half of the values are equal: their ranks are those between, smooth, without a trend."""
    draw = np.random.default_rng(1)
    trends = []
    for _ in range(60):
        values = draw.standard_normal(400)
        equal = np.abs(values) < 0.6745
        values[equal] = 0.0
        ranks = TRANSFORMS["rank_uniform"](values, draw) * 401
        assert sorted(ranks) == pytest.approx(range(1, 401))
        assert ranks[values < 0].max() < ranks[equal].min()
        assert ranks[equal].max() < ranks[values > 0].min()
        steps = np.diff(ranks[equal])
        assert (steps < 0).sum() <= 7
        assert (np.abs(steps) > 1.5).sum() <= 7
        trends.append(np.corrcoef(ranks[equal], np.flatnonzero(equal))[0, 1])
    assert abs(np.mean(trends)) < 0.16
    assert np.std(trends) == pytest.approx(1 / np.sqrt(7), rel=0.3)


@pytest.mark.parametrize("rate", [0.0, 0.013, 0.1, 1.0])
def test_missing_cells_are_counted_exactly(rate: float) -> None:
    values = normals(5)
    frame = finish(values, config("identity", rate), seed=3)
    assert frame.isna().sum().tolist() == [int(np.floor(rate * ROWS))] * 5
    if rate == 0.1:
        missing = frame.isna().to_numpy()
        assert len({tuple(column) for column in missing.T}) == 5
        for column, before in zip(frame, values.values, strict=True):
            present = frame[column].notna().to_numpy()
            np.testing.assert_array_equal(frame[column].to_numpy()[present], before[present])


def test_missing_cells_fall_anywhere_and_after_the_transform() -> None:
    frames = [finish(normals(3), config("rank_uniform", 0.1), seed) for seed in range(150)]
    missing = np.mean([frame.isna().to_numpy() for frame in frames], axis=(0, 2))
    np.testing.assert_allclose(missing, 20 / ROWS, atol=0.07)
    ranks = frames[0]["feature_0"].dropna() * (ROWS + 1)
    np.testing.assert_allclose(ranks, ranks.round())
    assert ranks.nunique() == ROWS - 20


def test_rate_is_drawn_once_a_table_and_transforms_once_a_column() -> None:
    settings = Config()
    rates = []
    for seed in range(200):
        counts = finish(normals(4), settings, seed).isna().sum()
        assert counts.nunique() == 1
        rates.append(counts.iloc[0] / ROWS)
    assert 0.01 - 1 / ROWS <= min(rates) <= 0.02
    assert 0.09 <= max(rates) <= 0.1
    column = normals(1).values[0].astype(float)
    made = {name: transform(column, stream(0)) for name, transform in TRANSFORMS.items()}
    counts = dict.fromkeys(TRANSFORMS, 0)
    for seed in range(200):
        values = finish(normals(1), config_of(TRANSFORMS), seed)["feature_0"].to_numpy()
        counts[next(name for name, other in made.items() if np.array_equal(values, other))] += 1
    assert min(counts.values()) > 22


def config_of(transforms: object) -> Config:
    params = DatabaseParams(
        col_transform_choices=Choices("set", tuple(transforms)),  # type: ignore[arg-type]
        column_nan_perc_choices=Choices("set", (0.0,)),
    )
    return Config(database_params=params)


def test_categories_become_booleans_or_names() -> None:
    columns = (
        ColumnSchema("mixed", "categorical", 3),
        ColumnSchema("named", "categorical", 3, ("red", "green", "blue")),
        ColumnSchema("zero", "categorical", 3),
        ColumnSchema("positive", "categorical", 4),
        ColumnSchema("one_name", "categorical", 2, ("yes", "no")),
    )
    codes = ([0, 2, 1, 0], [2, 0, 0, 1], [0, 0, 0, 0], [1, 3, 2, 1], [1, 1, 1, 1])
    values = TableValues(columns, tuple(np.array(code) for code in codes), "type_lazy")
    frame = finish(values, config("log", 0.5))
    assert list(frame) == ["mixed", "named", "one_name"]
    assert frame["mixed"].tolist() == [False, True, True, False]
    assert frame["mixed"].dtype == bool
    assert frame["named"].tolist() == ["blue", "red", "red", "green"]
    assert isinstance(frame["named"].dtype, pd.StringDtype)
    assert frame["one_name"].tolist() == ["no"] * 4


def test_a_column_does_not_depend_on_its_neighbours() -> None:
    values = normals(3)
    whole = finish(values, Config(), seed=5)
    last = TableValues(values.columns[2:], values.values[2:], "type_lazy")
    pd.testing.assert_frame_equal(whole[["feature_2"]], finish(last, Config(), seed=5))
    again = replace(values, columns=values.columns)
    pd.testing.assert_frame_equal(whole, finish(again, Config(), seed=5))
    assert not whole.equals(finish(values, Config(), seed=6))


def test_values_are_left_as_they_were() -> None:
    values = numeric([1, 2, 3, 4])
    finish(values, config("identity", 1.0))
    assert values.values[0].tolist() == [1, 2, 3, 4]
