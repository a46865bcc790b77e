"""Foreign keys: the worked example, block frequencies against exact chances, speed and memory."""

import numpy as np
import pytest

from plurel.config import Choices, SCMParams
from plurel.errors import InputError
from plurel.links import Blocks, draw_blocks, draw_links, draw_parents, make_blocks
from plurel.rng import stream

PARAMS = SCMParams()
TWO_BY_TWO = SCMParams(
    bi_hsbm_levels_choices=Choices("set", (2,)),
    bi_hsbm_clusters_per_level_choices=Choices("set", (2,)),
)


def labels(starts: np.ndarray, clusters: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Per row its cluster on each level, from the definition: digits in mixed radix."""
    result = []
    for base, size in enumerate(np.diff(starts)):
        digits, rest = [], base
        for count in reversed(clusters):
            digits.append(rest % count)
            rest //= count
        result += [tuple(reversed(digits))] * int(size)
    return result


def brute_force(blocks: Blocks) -> np.ndarray:
    """f64[children, parents]: every pair's probability, by the definition, rows x rows."""
    parents = labels(blocks.parent_starts, blocks.parent_clusters)
    children = labels(blocks.child_starts, blocks.child_clusters)
    scores = np.array(
        [
            [
                np.prod([m[a, b] for m, a, b in zip(blocks.matrices, pa, ch, strict=True)])
                for pa in parents
            ]
            for ch in children
        ]
    )
    return scores / scores.sum(axis=1, keepdims=True)


def test_worked_example() -> None:
    """8 parents, 12 children, 2 levels of 2 clusters on each side."""
    blocks = draw_blocks(8, 12, TWO_BY_TWO, stream(0, "example"))
    expected = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert labels(blocks.parent_starts, (2, 2)) == [pair for pair in expected for _ in range(2)]
    assert labels(blocks.child_starts, (2, 2)) == [pair for pair in expected for _ in range(3)]
    scores = blocks.scores()
    for parent, first in enumerate(expected):
        for child, second in enumerate(expected):
            agree = sum(a == b for a, b in zip(first, second, strict=True))
            low, high = {2: (0.81, 0.81), 1: (9e-4, 1.8e-3), 0: (1e-6, 4e-6)}[agree]
            assert low * (1 - 1e-12) <= scores[parent, child] <= high * (1 + 1e-12)
    for matrix in blocks.matrices:
        assert np.all(np.diag(matrix) == 0.9)
        off = matrix[~np.eye(2, dtype=bool)]
        assert np.all((off >= 0.001) & (off <= 0.002))


def test_diagonal_wraps_round_the_shorter_side() -> None:
    params = SCMParams(
        bi_hsbm_levels_choices=Choices("set", (1,)),
        bi_hsbm_clusters_per_level_choices=Choices("range", (1, 3)),
    )
    seen = set()
    for seed in range(60):
        (matrix,) = draw_blocks(30, 30, params, stream(seed)).matrices
        rows, columns = matrix.shape
        seen.add((rows, columns))
        diagonal = {(i % rows, i % columns) for i in range(max(rows, columns))}
        for place, value in np.ndenumerate(matrix):
            assert value == 0.9 if place in diagonal else 0.001 <= value <= 0.002
    assert len(seen) == 9  # the two sides are drawn apart


def test_probabilities_equal_the_definition() -> None:
    for seed in range(20):
        rng = stream(seed, "sizes")
        parents, children = rng.integers(1, 60, size=2).tolist()
        blocks = draw_blocks(parents, children, PARAMS, rng)
        exact = brute_force(blocks)
        ours = np.repeat(blocks.probabilities(), np.diff(blocks.child_starts), axis=0)
        sizes = np.diff(blocks.parent_starts)
        per_row = np.repeat(ours / np.maximum(sizes, 1), sizes, axis=1)
        np.testing.assert_allclose(per_row, exact, rtol=1e-12)


def test_last_cluster_takes_the_rest_and_late_ones_can_be_empty() -> None:
    blocks = make_blocks(10, 7, [np.ones((4, 5))])
    assert np.diff(blocks.parent_starts).tolist() == [3, 3, 3, 1]
    assert np.diff(blocks.child_starts).tolist() == [2, 2, 2, 1, 0]


def chi_square(observed: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """The statistic over cells that expect at least 5, the others pooled; and its freedom."""
    big = expected >= 5
    observed = np.append(observed[big], observed[~big].sum())
    expected = np.append(expected[big], expected[~big].sum())
    keep = expected > 0
    return float((((observed - expected) ** 2)[keep] / expected[keep]).sum()), int(keep.sum()) - 1


def test_block_frequencies_follow_the_exact_chances() -> None:
    """Flat matrices make every block frequent, so that a 5 % error of one block would show."""
    rng = stream(3, "chi")
    matrices = [rng.uniform(0.2, 0.9, size=(3, 2)), rng.uniform(0.2, 0.9, size=(2, 2))]
    blocks = make_blocks(55, 800_000, matrices)
    parent_of = draw_parents(blocks, rng)
    base = np.searchsorted(blocks.parent_starts, parent_of, side="right") - 1
    exact = blocks.probabilities()
    for cluster in range(4):
        start, end = blocks.child_starts[cluster : cluster + 2]
        observed = np.bincount(base[start:end], minlength=6)
        value, freedom = chi_square(observed, exact[cluster] * (end - start))
        assert freedom == 5
        assert value < 20.5  # 99.9 %
        # the check bites: one block 5 % off is refused
        wrong = exact[cluster] * np.array([1.05, 1, 1, 1, 1, 1])
        assert chi_square(observed, wrong / wrong.sum() * (end - start))[0] > 20.5


def test_block_frequencies_with_published_matrices() -> None:
    blocks = draw_blocks(900, 400_000, TWO_BY_TWO, stream(5))
    base = np.searchsorted(blocks.parent_starts, draw_parents(blocks, stream(6)), "right") - 1
    exact, total, freedom = blocks.probabilities(), 0.0, 0
    for cluster in range(4):
        start, end = blocks.child_starts[cluster : cluster + 2]
        observed = np.bincount(base[start:end], minlength=4)
        value, free = chi_square(observed, exact[cluster] * (end - start))
        total, freedom = total + value, freedom + free
    assert freedom >= 8
    assert total < 36.1  # 99.9 % point of chi2(14)


def test_parents_are_uniform_within_a_cluster_and_children_independent() -> None:
    blocks = make_blocks(40, 100_000, [np.array([[0.9, 0.002], [0.002, 0.9]])])
    parent_of = draw_parents(blocks, stream(1, "uniform"))
    counts = np.bincount(parent_of[:50_000], minlength=40)[:20]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 43.8  # 99.9 %, 19 df
    steps = parent_of[1:50_000] == parent_of[: 50_000 - 1]
    assert abs(steps.mean() - 1 / 20) < 0.004  # neighbours agree no more than by chance


def test_values_depend_on_the_stream_alone_and_keep_their_range() -> None:
    for parents, children in ((1, 1), (1, 50), (50, 1), (3, 1000), (1000, 3), (7, 0)):
        for seed in range(10):
            links = draw_links(parents, children, PARAMS, stream(seed, "links"))
            again = draw_links(parents, children, PARAMS, stream(seed, "links"))
            assert links.parent_of.dtype == np.int64
            assert links.parent_of.shape == (children,)
            assert np.array_equal(links.parent_of, again.parent_of)
            assert np.all((links.parent_of >= 0) & (links.parent_of < parents))
    with pytest.raises(InputError, match="0 parent rows"):
        draw_links(0, 5, PARAMS, stream(0))


def test_drawn_keys_are_pinned() -> None:
    links = draw_links(500, 2000, PARAMS, stream(13, "pinned"))
    assert links.blocks.parent_clusters == PINNED_CLUSTERS
    assert links.parent_of[::250].tolist() == PINNED_ROWS


PINNED_CLUSTERS = (3, 1, 3, 2, 3)
PINNED_ROWS = [2, 21, 96, 182, 183, 253, 405, 442]


def test_memory_stays_linear() -> None:
    """A rows x rows matrix of this size would need 80 GB."""
    links = draw_links(100_000, 100_000, PARAMS, stream(2, "large"))
    assert len(np.unique(links.parent_of)) > 50_000
