"""Foreign keys: which parent row does each child row reference?

A hierarchical stochastic block model (PluRel, arXiv 2602.04029), drawn afresh for each foreign key.
Every side's rows are cut into contiguous base clusters; a base cluster's number, read in mixed
radix with the first level most significant, is its cluster on each level. The score of a parent
and a child is the product over levels of the level's matrix at their clusters, and a child draws
its parent with a probability proportional to the score.

All parents of one base cluster have the same score, so the law of a child's parent is piecewise
uniform over parent rows: one uniform number per child, put through the inverse of a piecewise
linear distribution function, draws it exactly. Only cluster matrices are ever held: time and
memory are linear in the children.

Where parents have weights (`plurel.popularity`), a chance is proportional to score times weight:
the same law over the parents' total weight in place of their number.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.params import SCMParams

DIAGONAL = 0.9
OFF_DIAGONAL = (0.001, 0.002)
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Blocks:
    """The block structure of one foreign key with L levels.

    matrices: per level an array [parent clusters, child clusters] of scores. parent_starts i64
    [P + 1], child_starts i64[C + 1]: base cluster k holds the rows [starts[k], starts[k + 1]); with
    many clusters the last ones can be empty. weight_before f64[parents + 1]: the total weight of
    the parents before each row; None where all weigh 1.
    """

    matrices: tuple[NDArray[np.float64], ...]
    parent_starts: NDArray[np.int64]
    child_starts: NDArray[np.int64]
    weight_before: NDArray[np.float64] | None = None

    @property
    def parent_clusters(self) -> tuple[int, ...]:
        """Per level the number of clusters on the parents' side."""
        return tuple(matrix.shape[0] for matrix in self.matrices)

    @property
    def child_clusters(self) -> tuple[int, ...]:
        """Per level the number of clusters on the children's side."""
        return tuple(matrix.shape[1] for matrix in self.matrices)

    def scores(self) -> NDArray[np.float64]:
        """f64[P, C]: the score of a parent of base cluster p and a child of base cluster c."""
        scores = np.ones((1, 1))
        for matrix in self.matrices:
            # a Kronecker product: the later level is the finer digit of a base cluster's number
            scores = (scores[:, None, :, None] * matrix[None, :, None, :]).reshape(
                len(scores) * len(matrix), -1
            )
        return scores

    def bounds(self) -> NDArray[np.float64]:
        """f64[P + 1]: the parents' weight before each base cluster."""
        if self.weight_before is None:
            return self.parent_starts.astype(np.float64)
        return self.weight_before[self.parent_starts]

    def probabilities(self) -> NDArray[np.float64]:
        """f64[C, P]: the chance that a child of base cluster c references base cluster p."""
        weights = self.scores().T * np.diff(self.bounds())
        # cumsum adds in order on every processor, unlike a sum
        return weights / np.cumsum(weights, axis=1)[:, -1:]


@dataclass(frozen=True)
class LinkResult:
    """parent_of i64[num_children]: the parent row of each child row; and its block structure."""

    parent_of: NDArray[np.int64]
    blocks: Blocks


def draw_links(
    num_parents: int,
    num_children: int,
    params: SCMParams,
    rng: np.random.Generator,
    weights: NDArray[np.float64] | None = None,
) -> LinkResult:
    """Draw a block structure and a parent row for every child row. weights f64[num_parents] > 0 of
    the parents; None: all alike.

    Raises InputError if there is no parent to reference.
    """
    if num_parents < 1 or num_children < 0:
        raise InputError(f"can't link {num_children} child rows to {num_parents} parent rows")
    blocks = draw_blocks(num_parents, num_children, params, rng)
    if weights is not None:
        blocks = replace(blocks, weight_before=np.concatenate([[0.0], np.cumsum(weights)]))
    return LinkResult(draw_parents(blocks, rng), blocks)


def draw_blocks(
    num_parents: int, num_children: int, params: SCMParams, rng: np.random.Generator
) -> Blocks:
    """Draw levels, cluster counts and matrices, and cut both sides' rows."""
    levels = params.bi_hsbm_levels_choices.sample(rng)
    matrices = []
    for _ in range(levels):
        parents = params.bi_hsbm_clusters_per_level_choices.sample(rng)
        children = params.bi_hsbm_clusters_per_level_choices.sample(rng)
        matrix = rng.uniform(*OFF_DIAGONAL, size=(parents, children))
        diagonal = np.arange(max(parents, children))
        matrix[diagonal % parents, diagonal % children] = DIAGONAL
        matrices.append(matrix)
    return make_blocks(num_parents, num_children, matrices)


def make_blocks(num_parents: int, num_children: int, matrices: list[NDArray[np.float64]]) -> Blocks:
    """The block structure of given matrices [parent clusters, child clusters], one a level."""
    parents, children = (
        int(np.prod([matrix.shape[side] for matrix in matrices])) for side in (0, 1)
    )
    return Blocks(tuple(matrices), _cut(num_parents, parents), _cut(num_children, children))


def _cut(rows: int, clusters: int) -> NDArray[np.int64]:
    """Starts of contiguous clusters of ceil(rows / clusters) rows; the last takes the rest."""
    size = -(-rows // clusters)
    return np.minimum(np.arange(clusters + 1, dtype=np.int64) * size, rows)


def draw_parents(blocks: Blocks, rng: np.random.Generator) -> NDArray[np.int64]:
    """i64[children]: an independent draw for every child row, in the order of the rows."""
    probabilities = blocks.probabilities()
    starts = blocks.child_starts
    num_parents = blocks.parent_starts[-1]
    parent_of = np.empty(starts[-1], dtype=np.int64)
    filled = np.flatnonzero(np.diff(blocks.parent_starts))
    bounds = blocks.bounds()[np.append(filled, filled[-1] + 1)]
    for cluster in np.flatnonzero(np.diff(starts)):
        cumulative = np.concatenate([[0.0], np.cumsum(probabilities[cluster, filled])])
        cumulative /= cumulative[-1]
        for start in range(starts[cluster], starts[cluster + 1], _CHUNK):
            part = parent_of[start : min(start + _CHUNK, starts[cluster + 1])]
            drawn = np.interp(rng.random(len(part)), cumulative, bounds)
            if blocks.weight_before is not None:
                drawn = np.searchsorted(blocks.weight_before, drawn, side="right") - 1
            part[:] = drawn
    return np.minimum(parent_of, num_parents - 1, out=parent_of)
