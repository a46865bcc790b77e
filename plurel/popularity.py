"""How popular rows are: weights by which rows of a table are referenced within a cluster.

In real databases a few customers place most orders, and who they are says who will place the next.
Published links (`plurel.links`) weigh all rows of a cluster alike, so that the number of a row's
children says nothing of it, and nothing of the children to come. Here the weight of a row is
log-normal, exp(spread z); z is a standard normal number, of which a share of the variance comes
from one to three of the row's own columns.
"""

import numpy as np
from numpy.typing import NDArray

from plurel.params import SCMParams
from plurel.values import TableValues

MOST_COLUMNS = 3

Floats = NDArray[np.float64]


def draw_popularity(
    parent: TableValues, num_rows: int, params: SCMParams, rng: np.random.Generator
) -> Floats | None:
    """f64[num_rows] > 0: the weights of a referenced table's rows; None where all are alike."""
    spread = params.popularity_choices.sample(rng)
    share = params.popularity_share_choices.sample(rng)
    if spread == 0:
        return None
    own = rng.standard_normal(num_rows)
    said = _by_columns(parent, rng) if share > 0 and parent.columns else None
    if said is None:
        return np.exp(spread * own)
    return np.exp(spread * (np.sqrt(share) * said + np.sqrt(1 - share) * own))


def _by_columns(parent: TableValues, rng: np.random.Generator) -> Floats | None:
    """f64[N] of mean 0 and deviation 1: the sum of what a few columns say; None if that is the same
    of all rows."""
    count = int(rng.integers(1, MOST_COLUMNS + 1))
    chosen = rng.permutation(len(parent.columns))[:count]
    total = np.zeros(len(parent.values[0]))
    for number in np.sort(chosen):
        categories = parent.columns[number].num_categories
        values = np.asarray(parent.values[number], dtype=np.float64)
        if categories is None:
            total += rng.choice((-1.0, 1.0)) * _standard(_ranks(values))
        else:
            total += _standard(rng.standard_normal(categories)[values.astype(np.int64)])
    return _standard(total) if np.ptp(total) > 0 else None


def _ranks(values: Floats) -> Floats:
    """The place of each value among the different ones: heavy tails decide no more than others."""
    return np.unique(values, return_inverse=True)[1].astype(np.float64)


def _standard(values: Floats) -> Floats:
    """Mean 0 and deviation 1; zeros where all are equal. (cumsum adds in order on every processor,
    unlike a sum.)"""
    centred = values - np.cumsum(values)[-1] / len(values)
    deviation = np.sqrt(np.cumsum(centred**2)[-1] / len(values))
    return centred / deviation if np.ptp(values) > 0 else np.zeros_like(values)
