"""Popularity: how often rows are referenced, and what says so."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from plurel.config import Choices, Config, SCMParams
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.links import draw_links, draw_parents, make_blocks
from plurel.popularity import draw_popularity
from plurel.rng import stream
from plurel.schema import ColumnSchema
from plurel.values import TableValues

N = 4000


def _params(spread: float, share: float) -> SCMParams:
    return SCMParams(
        popularity_choices=Choices("set", (spread,)),
        popularity_share_choices=Choices("set", (share,)),
    )


def _parent(seed: int = 0) -> TableValues:
    """A number with a heavy tail and a category."""
    draws = stream(seed, "values")
    columns = (ColumnSchema("number", "numerical"), ColumnSchema("category", "categorical", 4))
    values = (np.exp(3 * draws.standard_normal(N)).astype(np.float32), draws.integers(4, size=N))
    return TableValues(columns, values, "type_eager")


def test_without_spread_links_are_the_published_ones() -> None:
    assert draw_popularity(_parent(), N, _params(0.0, 1.0), stream(1)) is None
    plain = draw_links(50, 5000, SCMParams(), stream(2))
    equal = draw_links(50, 5000, SCMParams(), stream(2), np.ones(50))
    assert np.array_equal(plain.parent_of, equal.parent_of)


def test_chances_are_score_times_weight() -> None:
    matrix = np.array([[0.7, 0.1], [0.3, 0.9]])
    blocks = make_blocks(6, 60_000, [matrix])
    weights = np.array([1.0, 2.0, 4.0, 0.5, 1.0, 3.0])
    before = np.concatenate([[0.0], np.cumsum(weights)])
    weighted = type(blocks)(blocks.matrices, blocks.parent_starts, blocks.child_starts, before)
    parent_of = draw_parents(weighted, stream(3))
    for child_cluster in range(2):
        scores = matrix[[0, 0, 0, 1, 1, 1], child_cluster] * weights
        expected = 30_000 * scores / scores.sum()
        half = parent_of[child_cluster * 30_000 : (child_cluster + 1) * 30_000]
        observed = np.bincount(half, minlength=6)
        assert ((observed - expected) ** 2 / expected).sum() < 20.5  # 99.9 %, 5 df


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_log_weights_have_the_spread(spread: float) -> None:
    for share in (0.0, 0.5, 1.0):
        logs = np.log(draw_popularity(_parent(), N, _params(spread, share), stream(4)))
        assert abs(logs.mean()) < 0.1 * spread
        assert logs.std() == pytest.approx(spread, rel=0.05)


def test_the_share_is_that_of_the_columns() -> None:
    """Over draws of 1 to 3 columns: what the two columns say explains the share, no more."""
    parent = _parent()
    ranks = np.argsort(np.argsort(parent.values[0])) / N
    design = np.column_stack([ranks, *(parent.values[1] == code for code in range(4))])
    for share in (0.0, 0.5, 1.0):
        explained = []
        for seed in range(8):
            logs = np.log(draw_popularity(parent, N, _params(1.0, share), stream(seed)))
            fitted = design @ np.linalg.lstsq(design, logs, rcond=None)[0]
            explained.append(np.var(fitted) / np.var(logs))
        assert np.mean(explained) == pytest.approx(share, abs=0.04)


def test_constant_columns_say_nothing() -> None:
    columns = (ColumnSchema("number", "numerical"), ColumnSchema("category", "categorical", 3))
    constant = TableValues(columns, (np.ones(N, np.float32), np.zeros(N, np.int64)), "type_lazy")
    logs = np.log(draw_popularity(constant, N, _params(1.0, 1.0), stream(5)))
    assert logs.std() == pytest.approx(1.0, rel=0.05)
    empty = TableValues((), (), "type_lazy")
    assert len(draw_popularity(empty, 7, _params(1.0, 1.0), stream(5))) == 7


def _counts(spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Children of each row in the first and in the second half of the time, without cohorts."""
    config = Config.preset("demo").updated(
        {
            "database_params": {"num_tables_choices": {"kind": "set", "value": [2]}},
            "scm_params": {
                "popularity_choices": {"kind": "set", "value": [spread]},
                "popularity_share_choices": {"kind": "set", "value": [1.0]},
                "bi_hsbm_clusters_per_level_choices": {"kind": "set", "value": [1]},
            },
        }
    )
    dataset = SyntheticDataset(seed, config)
    tables = dataset.make_db().table_dict
    (child,) = [table for table in tables.values() if table.fkey_col_to_pkey_table]
    ((key, parent),) = child.fkey_col_to_pkey_table.items()
    halves = np.array_split(child.df[key].to_numpy(), 2)
    size = len(tables[parent].df)
    return tuple(np.bincount(half, minlength=size) for half in halves)


def test_who_has_many_children_goes_on_to_have_many() -> None:
    """What makes forecasts of counts possible; without popularity they are noise."""
    even = [spearmanr(*_counts(0.0, seed)).statistic for seed in (0, 1, 2)]
    spread = [spearmanr(*_counts(1.5, seed)).statistic for seed in (0, 1, 2)]
    assert abs(np.mean(even)) < 0.15
    assert min(spread) > 0.4


@pytest.mark.parametrize(
    ("name", "value"), [("popularity_choices", -0.1), ("popularity_share_choices", 1.5)]
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"scm_params.{name}"):
        Config.from_dict({"scm_params": {name: {"kind": "set", "value": [value]}}})
