"""Who attends to whom (REFERENCE section 8, DESIGN section 5).

Three masks: `col` (cells of one column of one table), `feat` (a row's cells see it and the rows
that it references, as far as they are in the context), `nbr` (a row's cells see the rows that
reference it). Each splits the queries into disjoint groups that share one list of keys, so a mask
is held as groups, in compressed form, and never as an S x S matrix. The order of the cells in a
context does not matter. Padding is in no group; a query without keys is in no group and gets 0.
"""

from dataclasses import dataclass


from torch import Tensor

MASKS = ("col", "feat", "nbr")


@dataclass(frozen=True)
class Groups:
    """One mask. Group g: the queries query[query_ptr[g]:query_ptr[g+1]] attend to the keys
    key[key_ptr[g]:key_ptr[g+1]]; int32, numbers of slots b * S + s of the flattened batch."""

    query_ptr: Tensor
    query: Tensor
    key_ptr: Tensor
    key: Tensor


@dataclass(frozen=True)
class Plan:
    """The three masks of a batch."""

    col: Groups
    feat: Groups
    nbr: Groups


def build_plan(
    row: Tensor, column: Tensor, context_row_ptr: Tensor, parent_ptr: Tensor, parent: Tensor
) -> Plan:
    """The plan of a batch; arguments are the sampler's arrays of the same names.

    A parent that is named twice counts once, and a row that references itself sees itself once.
    """
    raise NotImplementedError


