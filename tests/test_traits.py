"""Hidden traits: how alike they make the rows that reference one row, and what stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from plurel.config import Choices, Config, SCMParams
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.rng import stream
from plurel.schema import TableSchema
from plurel.traits import follow_traits

NUM_PARENTS, EACH = 800, 20
N = NUM_PARENTS * EACH
LINK = stream(0, "links").permutation(np.repeat(np.arange(NUM_PARENTS), EACH))


def params(share: float, drift: float = 0.0) -> SCMParams:
    return SCMParams(
        trait_share_choices=Choices("set", (share,)), trait_drift_choices=Choices("set", (drift,))
    )


def table() -> TableSchema:
    """An activity table of the default config."""
    schema = SyntheticDataset(0, Config.preset("demo")).make_schema()
    return next(found for found in schema.tables if found.time_column)


def ranks(values: np.ndarray) -> np.ndarray:
    """Places among all values, equal ones at random."""
    order = np.lexsort((stream(1, "ties").random(len(values)), values))
    found = np.empty(len(values))
    found[order] = np.arange(len(values)) / len(values)
    return found


def likeness(values: np.ndarray, link: np.ndarray = LINK) -> float:
    """The share of the ranks' variance that lies between parents (intra-class correlation)."""
    of_rows = ranks(values)
    sums, counts = np.bincount(link, of_rows), np.bincount(link)
    within = np.square(of_rows - (sums / counts)[link]).sum() / (counts - 1).sum()
    return float(1 - within / of_rows.var())


def heavy(seed: int = 0) -> np.ndarray:
    return np.exp(3 * stream(seed, "heavy").standard_normal(N)).astype(np.float32)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_rows_of_one_parent_are_alike_by_the_share(share: float) -> None:
    values = heavy()
    found = follow_traits(values, 0, table(), [LINK], params(share), 0, ("t",))
    assert np.array_equal(np.sort(found), np.sort(values))
    # ranks of normal numbers correlate by 6 / pi arcsin(r / 2)
    assert likeness(found) == pytest.approx(6 / np.pi * np.arcsin(share / 2), abs=0.04)
    assert abs(likeness(values)) < 0.02


def test_categories_follow_too_and_keep_their_frequencies() -> None:
    codes = np.repeat([0, 1, 2, 3], [N // 2, N // 4, N // 8, N // 8])
    codes = stream(2, "codes").permutation(codes)
    found = follow_traits(codes, 1, table(), [LINK], params(0.8), 0, ("t",))
    assert np.bincount(found).tolist() == np.bincount(codes).tolist()
    assert found.dtype == codes.dtype
    same = [np.bincount(found[parent == LINK], minlength=4).max() for parent in range(NUM_PARENTS)]
    before = [
        np.bincount(codes[parent == LINK], minlength=4).max() for parent in range(NUM_PARENTS)
    ]
    assert np.mean(same) > np.mean(before) + 3


def test_columns_of_a_row_stay_alike_in_part() -> None:
    """Two columns that were one share what they were, and more or less of the trait."""
    values = heavy()
    first, second = (
        follow_traits(values, place, table(), [LINK], params(0.3), 0, ("t",)) for place in (0, 1)
    )
    assert 0.36 < spearmanr(first, second).statistic < 0.999  # 1 - 2 * 0.3, of ranks


def test_traits_turn_with_time() -> None:
    """Half a turn over the time of the table: early and late rows of a parent are opposites."""
    found = follow_traits(heavy(), 0, table(), [LINK], params(0.9, np.pi), 0, ("t",))
    of_rows = ranks(found) - 0.5

    def means(part: slice) -> np.ndarray:
        counts = np.bincount(LINK[part], minlength=NUM_PARENTS)
        return np.bincount(LINK[part], of_rows[part], NUM_PARENTS) / np.maximum(counts, 1)

    early, later, late = (means(slice(i * N // 8, (i + 1) * N // 8)) for i in (0, 1, 7))
    assert spearmanr(early, later).statistic > 0.5
    assert spearmanr(early, late).statistic < -0.5
    still = replace(table(), time_column=None)
    found = follow_traits(heavy(), 0, still, [LINK], params(0.9, np.pi), 0, ("t",))
    assert likeness(found) > 0.85


def test_without_a_share_or_a_key_nothing_is_moved() -> None:
    values = heavy()
    assert follow_traits(values, 0, table(), [LINK], SCMParams(), 0, ("t",)) is values
    assert follow_traits(values, 0, table(), [], params(0.5), 0, ("t",)) is values
    constant = np.zeros(N, np.int64)
    assert not follow_traits(constant, 0, table(), [LINK], params(0.5), 0, ("t",)).any()


def test_rows_that_reference_nothing_are_not_alike() -> None:
    link = np.where(LINK < NUM_PARENTS // 2, LINK, -1)
    found = follow_traits(heavy(), 0, table(), [link], params(0.8), 0, ("t",))
    assert likeness(found[link >= 0], link[link >= 0]) > 0.7
    halves = np.arange((link < 0).sum()) % 40
    assert abs(likeness(found[link < 0], halves)) < 0.05
    nothing = np.full(N, -1)
    assert len(np.unique(follow_traits(heavy(), 0, table(), [nothing], params(0.8), 0, ("t",)))) > 9


def test_they_show_in_a_whole_database_and_can_be_refused() -> None:
    config = Config.preset("demo").overridden(
        [
            "scm_params.trait_share_choices={kind: set, value: [0.9]}",
            "scm_params.trait_drift_choices={kind: set, value: [0.0]}",
        ]
    )
    found = []
    for made in (Config.preset("demo"), config):
        database = SyntheticDataset(1, made).make_db()
        likely = []
        for one in database.table_dict.values():
            for key in one.fkey_col_to_pkey_table:
                for _, column in one.df.items():
                    if column.dtype.kind == "f" and column.nunique() > 9:
                        there = column.notna()
                        link = np.unique(one.df[key][there], return_inverse=True)[1]
                        likely.append(likeness(column[there].to_numpy(), link))
        found.append(float(np.median(likely)))
    assert found[0] + 0.2 < found[1]
    with pytest.raises(InputError, match="trait_share_choices"):
        Config().overridden(["scm_params.trait_share_choices={kind: set, value: [1.5]}"])
