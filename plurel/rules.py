"""Rules: columns that a few cells decide, but for exceptions.

In real databases many columns say again what others say: an order line repeats its product's
price, a class is a range of a number, an age is the time less a year, a total is a product, a
status follows from two codes. The columns of a published table are smooth functions of many inputs
with noise instead, so that no few cells ever tell one exactly. Here a share of a table's columns,
drawn for the table, follow each a rule over one to four cells of their row, its time among them, or
of the rows that it references: a copy, a sum, a product or a decision tree. (Trees beside networks
as mechanisms: TabICL, arXiv 2502.05564.) A rule has exceptions, a share of the rows, drawn for the
column, that keep the value they had.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel import rng
from plurel.params import SCMParams
from plurel.schema import ColumnSchema, TableSchema
from plurel.spill import IN_MEMORY, Spill
from plurel.values import TableValues

MOST_INPUTS = 4
TREE_LEVELS = (2, 3)
OWN_ROW = 0.5
"""The chance that an input is of the row itself where it references others too."""

Links = NDArray[np.int64]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def follow_rules(
    values: list[NDArray[Any]],
    table: TableSchema,
    links: Sequence[Links],
    parents: Sequence[TableValues],
    params: SCMParams,
    seed: int,
    names: tuple[rng.Name, ...],
    spill: Spill = IN_MEMORY,
) -> list[int]:
    """Give a table's columns that follow a rule their values; the places of these columns, in the
    order in which they were drawn.

    values: all columns by place, of which some are replaced: float32 or codes int64 [N], as they
    were. links, parents: as `plurel.scm.generate_table` takes them. names: the path of the table's
    random streams. spill: where large columns are kept. A rule that would say the same of all rows
    is none.
    """
    draw = rng.stream(seed, *names, "rules")
    share = float(params.rule_share_choices.sample(draw))
    if share == 0 or not len(values[0]):
        return []
    ruled = draw.random(len(values)) < share
    given = np.flatnonzero(~ruled).tolist()
    referenced = _referenced(links, parents)
    followed: list[int] = []
    rows = np.arange(len(values[0]))
    for place in draw.permutation(np.flatnonzero(ruled)).tolist():
        known: list[_Column] = [(table.columns[other], values[other]) for other in given]
        if table.time_column:
            known.append((None, rows))
        # a column may say again what an earlier one says again
        given.append(place)
        if not known and not referenced:
            continue
        stream = rng.stream(seed, *names, "rule", place)
        ruled_column = _finished((table.columns[place], values[place]))
        outcome = _outcome(ruled_column, _draw_inputs(known, referenced, stream), stream)
        if np.ptp(outcome):
            exceptions = float(params.rule_exception_choices.sample(stream))
            own = ruled_column[1]
            found = np.where(stream.random(len(own)) < exceptions, own, outcome)
            values[place] = spill.keep(found.astype(own.dtype))
            followed.append(place)
    return followed


_Column = tuple[ColumnSchema | None, NDArray[Any]]
"""A column and its values; None for the times of rows, which stand in their order."""
_Finished = tuple[int | None, NDArray[Any]]
"""How many classes a column has in the end, None for numbers, and its value for each row."""
_Referenced = list[tuple[Links, TableValues]]


def _finished(one: _Column) -> _Finished:
    """A column as it will stand in the database: categories without names become booleans
    (`plurel.columns`), and a rule over classes that nobody sees would be none."""
    column, values = one
    if column is None or column.num_categories is None:
        return None, values
    if column.categories is not None:
        return column.num_categories, values
    return 2, (values > 0).astype(np.int64)


def _referenced(links: Sequence[Links], parents: Sequence[TableValues]) -> _Referenced:
    """The foreign keys that say something: parents have columns, and some row has a parent."""
    return [
        (link, parent)
        for link, parent in zip(links, parents, strict=True)
        if parent.columns and link.max(initial=-1) >= 0
    ]


def _draw_inputs(
    known: list[_Column], referenced: _Referenced, draw: np.random.Generator
) -> list[_Finished]:
    """One to four cells, one most often; a column may be drawn twice."""
    count = min(int(draw.geometric(0.5)), MOST_INPUTS)
    found = []
    for _ in range(count):
        if known and (not referenced or draw.random() < OWN_ROW):
            found.append(_finished(known[int(draw.integers(len(known)))]))
            continue
        link, parent = referenced[int(draw.integers(len(referenced)))]
        number = int(draw.integers(len(parent.columns)))
        # a row that references nothing has what the parent's first row has
        classes, values = _finished((parent.columns[number], parent.values[number]))
        found.append((classes, values[np.maximum(link, 0)]))
    return found


def _outcome(own: _Finished, inputs: list[_Finished], draw: np.random.Generator) -> NDArray[Any]:
    """What the rule says of each row: a number, or a class; `own`: the column without it."""
    rules: list[Callable[..., NDArray[Any]]] = [_tree, _copy if len(inputs) == 1 else _formula]
    return rules[int(draw.integers(len(rules)))](*own, inputs, draw)


def _copy(
    classes: int | None, own: NDArray[Any], inputs: list[_Finished], draw: np.random.Generator
) -> NDArray[Any]:
    """The input itself; for a category its class, or that of its range."""
    [(of_input, found)] = inputs
    if of_input is None:
        numbers = found.astype(np.float64)
        return numbers if classes is None else _cut(numbers, classes, draw)
    codes = found.astype(np.int64)
    if classes is None:
        return _of(own, of_input, draw)[codes]
    return _spread_codes(of_input, classes, draw)[codes]


def _formula(
    classes: int | None, own: NDArray[Any], inputs: list[_Finished], draw: np.random.Generator
) -> NDArray[Any]:
    """A weighted sum or a product of the inputs, as numbers of the spread that the column had or
    cut into its categories."""
    scores = [_scores(one, draw) for one in inputs]
    if draw.random() < 0.5:
        weights = draw.choice((-1.0, 1.0), len(scores)) * draw.uniform(0.3, 1.0, len(scores))
        total = sum(weight * score for weight, score in zip(weights, scores, strict=True))
    else:
        total = np.prod([1.1 + score for score in scores], axis=0)
    if classes is not None:
        return _cut(np.asarray(total), classes, draw)
    low, high = np.quantile(own, (0.05, 0.95), method="lower").astype(np.float64)
    below, above = np.quantile(total, (0.05, 0.95), method="lower")
    scale = (high - low) / (above - below) if above > below else 1.0
    # no spike further off than the column's own values are apart, three times
    return np.clip(low + scale * (total - below), low - 3 * (high - low), high + 3 * (high - low))


def _tree(
    classes: int | None, own: NDArray[Any], inputs: list[_Finished], draw: np.random.Generator
) -> NDArray[Any]:
    """A decision tree: each node parts its rows at a value of one input; leaves hold values that
    the column had."""
    scores = [_scores(one, draw) for one in inputs]
    leaf = np.zeros(len(own), np.int64)
    for level in range(int(draw.integers(*TREE_LEVELS, endpoint=True))):
        turn = draw.integers(len(scores), size=2**level)
        # at values of random rows, so that common ones part rows more often
        at = draw.integers(len(own), size=2**level)
        threshold = np.array([scores[which][row] for which, row in zip(turn, at, strict=True)])
        mine = np.select([turn[leaf] == which for which in range(len(scores))], scores)
        leaf = 2 * leaf + (mine > threshold[leaf])
    leaves = int(leaf.max()) + 1
    if classes is None:
        return _of(own, leaves, draw)[leaf]
    return _spread_codes(leaves, classes, draw)[leaf]


def _scores(one: _Finished, draw: np.random.Generator) -> Floats:
    """f64[N] in [-1, 1]: the place of each number among the different ones, or a number for each
    category. (Places, so that heavy tails decide no more than others.)"""
    categories, found = one
    if categories is not None:
        return draw.uniform(-1, 1, categories)[found.astype(np.int64)]
    different, places = np.unique(found, return_inverse=True)
    return 2.0 * places / max(1, len(different) - 1) - 1.0


def _cut(numbers: Floats, count: int, draw: np.random.Generator) -> Codes:
    """Ranges of a number as classes in an order of their own, parted at random rows' values."""
    thresholds = np.sort(numbers[draw.integers(len(numbers), size=count - 1)])
    return draw.permutation(count)[np.searchsorted(thresholds, numbers, side="left")]


def _of(own: NDArray[Any], count: int, draw: np.random.Generator) -> Floats:
    """f64[count]: values of random rows."""
    return own[draw.integers(len(own), size=count)].astype(np.float64)


def _spread_codes(count: int, categories: int, draw: np.random.Generator) -> Codes:
    """int64[count]: a category for each of so many things; each one is used as evenly as it
    can be."""
    return draw.permutation(np.arange(max(count, categories)) % categories)[:count]
