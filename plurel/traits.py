"""Hidden traits of rows: what makes the rows that reference one row alike, and no column says.

In real databases most of what is known of an event is known from the earlier ones of the same
entity: a driver who was slow is slow, a customer who returned things returns things. Published
tables lack this: rows that reference the same row share its columns and nothing else. Here a column
follows, to a share of its variance that is drawn for it, a trait of the row that one of its
table's foreign keys leads to. Traits turn with time, so that late rows say more than early ones.

A trait acts on ranks (a Gaussian copula, as NORTA: Cario and Nelson, 1997): the column's values
change places and stay the same numbers, however they are distributed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from plurel import rng
from plurel.params import SCMParams
from plurel.schema import TableSchema

Links = NDArray[np.int64]
Floats = NDArray[np.float64]


def follow_traits(
    values: NDArray[Any],
    place: int,
    table: TableSchema,
    links: Sequence[Links],
    params: SCMParams,
    seed: int,
    names: tuple[rng.Name, ...],
) -> NDArray[Any]:
    """The values of a table's column, numbers or codes [N], in places that follow a trait of one of
    the rows that each row references; the column itself if it follows none.

    place: of the column in the table. links: as `plurel.scm.generate_table` takes them. names: the
    path of the table's random streams. Rows that reference nothing have a trait of their own.
    """
    draw = rng.stream(seed, *names, "trait", place)
    share = float(params.trait_share_choices.sample(draw))
    if share == 0 or not links:
        return values
    key = int(draw.integers(len(links)))
    turn = draw.uniform(0, 2 * np.pi)
    trait = _trait(table, key, links[key], params, turn, seed, names)
    alone = links[key] < 0
    trait[alone] = draw.standard_normal(int(alone.sum()))
    order = _order(values, draw)
    own = np.empty(len(values))
    own[order] = ndtri((np.arange(len(values)) + 0.5) / len(values))
    mixed = np.sqrt(share) * trait + np.sqrt(1 - share) * own
    found = np.empty_like(values)
    found[np.argsort(mixed, kind="stable")] = values[order]
    return found


def _trait(
    table: TableSchema,
    key: int,
    link: Links,
    params: SCMParams,
    turn: float,
    seed: int,
    names: tuple[rng.Name, ...],
) -> Floats:
    """f64[N] of variance 1: what a column that turns the foreign key's two traits by an angle gets
    from them. The rows of a table stand in order of time."""
    draw = rng.stream(seed, *names, "traits", key)
    drift = float(params.trait_drift_choices.sample(draw)) if table.time_column else 0.0
    # two traits, where they are at first and where a quarter of a turn would take them
    hidden = draw.standard_normal((max(0, int(link.max(initial=-1))) + 1, 2, 2))
    ends = hidden[:, 0] * np.cos(turn) + hidden[:, 1] * np.sin(turn)
    angle = drift * np.arange(len(link)) / len(link)
    return ends[link, 0] * np.cos(angle) + ends[link, 1] * np.sin(angle)


def _order(values: NDArray[Any], draw: np.random.Generator) -> NDArray[np.int64]:
    """The rows in the order of their values, equal ones at random; categories in an order of their
    own."""
    keys = values
    if np.issubdtype(values.dtype, np.integer):
        keys = draw.permutation(int(values.max()) + 1)[values]
    return np.lexsort((draw.random(len(values)), keys))
