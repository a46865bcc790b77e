"""Who attends to whom: the relational masks as groups (Relational Transformer, arXiv 2510.06377).

Three masks: `col` (cells of one column of one table), `feat` (a row's cells see it and the rows
that it references, as far as they are in the context), `nbr` (a row's cells see the rows that
reference it). Each splits the queries into disjoint groups that share one list of keys, so a mask
is held as groups, in compressed form, and never as an S x S matrix. The order of the cells in a
context does not matter. Padding is in no group; a query without keys is in no group and gets 0.

The model works on packed cells: the N slots of a batch that are not padding, in order of their
slot. Groups number packed cells, and the cells of a context are one contiguous range of them.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rt.tiles import Tiles, build_tiles

MASKS = ("col", "feat", "nbr")

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """One mask. Group g: the queries query[query_ptr[g]:query_ptr[g+1]] attend to the keys
    key[key_ptr[g]:key_ptr[g+1]]; int32, numbers of packed cells. A query is in at most one group;
    a group's keys are distinct.

    group_ptr [B + 1]: the groups of context b are group_ptr[b]:group_ptr[b+1].
    cell_ptr [B + 1]: its packed cells are cell_ptr[b]:cell_ptr[b+1]; its groups name no others.
    num_slots: S, which no context's cells exceed; most_keys: the longest list of keys that the
    groups of one context make together. Known here, so that no device has to be asked for them.
    """

    query_ptr: Tensor
    query: Tensor
    key_ptr: Tensor
    key: Tensor
    group_ptr: Tensor
    cell_ptr: Tensor
    num_slots: int
    most_keys: int

    @cached_property
    def tiles(self) -> Tiles:
        """The mask in the layout of block-sparse kernels, made once for all layers."""
        ptrs = (self.group_ptr, self.query_ptr, self.key_ptr)
        return build_tiles(ptrs, self.query, self.key, self.num_slots, self.most_keys)

    @cached_property
    def log_keys(self) -> Tensor:
        """f32 for each entry of `query`: the log of the number of its keys."""
        counts, queries = self.key_ptr.diff(), self.query_ptr.diff().long()
        log = counts.clamp(min=1).float().log()
        return torch.repeat_interleave(log, queries, output_size=len(self.query))

    def to(self, device: torch.device | str) -> "Groups":
        """The same groups on another device."""
        return Groups(*_moved(self, device))


@dataclass(frozen=True)
class Plan:
    """The three masks of a batch. cell i64[N]: slots b * S + s of the packed cells. target i64[T]:
    the packed cells that are targets, and `nbr` with these as the only queries."""

    cell: Tensor
    col: Groups
    feat: Groups
    nbr: Groups
    target: Tensor
    nbr_of_targets: Groups

    def to(self, device: torch.device | str) -> "Plan":
        """The same plan on another device."""
        return Plan(*_moved(self, device))


def _moved(item: Groups | Plan, device: torch.device | str) -> list[Any]:
    values = (getattr(item, field.name) for field in fields(item))
    return [value if isinstance(value, int) else value.to(device) for value in values]


@dataclass(frozen=True)
class _Cells:
    """The packed cells of a batch: context and row (number in the batch) of each, and the cells
    of every row as a compressed list."""

    context: Ints
    row: Ints
    row_ptr: Ints
    row_cell: Ints
    cell_ptr: Ints
    num_slots: int


def build_plan(
    row: Tensor,
    column: Tensor,
    context_row_ptr: Tensor,
    parent_ptr: Tensor,
    parent: Tensor,
    is_target: Tensor,
) -> Plan:
    """The plan of a batch; arguments are the sampler's arrays of the same names.

    row, column: [B, S], -1 for padding; context_row_ptr [B + 1]; parent_ptr [rows + 1]; parent:
    positions within the context; is_target [B, S]. Cells may come in any order. A parent that is
    named twice counts once, and a row that references itself sees itself once.
    """
    rows, starts = row.numpy().astype(np.int64), context_row_ptr.numpy().astype(np.int64)
    slot = np.flatnonzero(rows >= 0)
    context = slot // max(rows.shape[1], 1)
    row_of = rows.reshape(-1)[slot] + starts[context]
    num_rows = int(starts[-1])
    cells = _Cells(
        context=context,
        row=row_of,
        row_ptr=_pointers(np.bincount(row_of, minlength=num_rows)),
        row_cell=np.argsort(row_of, kind="stable"),
        cell_ptr=_pointers(np.bincount(context, minlength=rows.shape[0])),
        num_slots=rows.shape[1],
    )
    row_context = np.repeat(np.arange(rows.shape[0]), np.diff(starts))
    child, parents = _references(parent_ptr.numpy(), parent.numpy(), starts[row_context])
    every = np.arange(num_rows)
    targets = is_target.numpy().reshape(-1)[slot]
    nbr = _row_groups(cells, parents, child)
    return Plan(
        cell=torch.from_numpy(slot),
        col=_column_groups(cells, column.numpy().reshape(-1)[slot].astype(np.int64)),
        feat=_row_groups(cells, np.append(every, child), np.append(every, parents)),
        nbr=nbr,
        target=torch.from_numpy(np.flatnonzero(targets)),
        nbr_of_targets=_of_queries(cells, nbr, targets),
    )


def _pointers(counts: NDArray) -> Ints:
    """[0, counts[0], counts[0] + counts[1], ...]."""
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def _references(parent_ptr: NDArray, parent: NDArray, first_row: Ints) -> tuple[Ints, Ints]:
    """Child and parent of every reference, as numbers of rows in the batch."""
    child = np.repeat(np.arange(len(first_row)), np.diff(parent_ptr))
    inside = parent >= 0
    child = child[inside]
    return child, parent[inside].astype(np.int64) + first_row[child]


def _column_groups(cells: _Cells, column: Ints) -> Groups:
    """Cells of one column of one context: queries and keys alike."""
    code = cells.context * (int(column.max(initial=0)) + 1) + column
    order = np.argsort(code, kind="stable")
    first = np.flatnonzero(np.diff(code[order], prepend=-1))
    return _groups(cells, order, np.append(first, len(order)), order, np.append(first, len(order)))


def _row_groups(cells: _Cells, seeing: Ints, seen: Ints) -> Groups:
    """One group for each row: its cells see the cells of the rows paired with it."""
    size = np.diff(cells.row_ptr)
    pair = np.unique(seeing * len(size) + seen)
    seeing, seen = np.divmod(pair, max(len(size), 1))
    alive = (size[seeing] > 0) & (size[seen] > 0)
    seeing, seen = seeing[alive], seen[alive]
    first = np.flatnonzero(np.diff(seeing, prepend=-1))
    key_ends = _pointers(size[seen])
    query, query_ptr = _cells_of(cells, seeing[first])
    key, _ = _cells_of(cells, seen)
    return _groups(cells, query, query_ptr, key, np.append(key_ends[first], key_ends[-1]))


def _of_queries(cells: _Cells, groups: Groups, wanted: NDArray[np.bool_]) -> Groups:
    """The groups with the wanted of their queries alone; bool [N]. A group without any is left
    out, and with it its keys."""
    query, key = groups.query.numpy(), groups.key.numpy()
    number, num_keys = np.arange(len(groups.query_ptr) - 1), np.diff(groups.key_ptr.numpy())
    kept = wanted[query]
    count = np.bincount(
        np.repeat(number, np.diff(groups.query_ptr.numpy()))[kept], minlength=len(number)
    )
    alive = count > 0
    key = key[np.repeat(alive, num_keys)]
    return _groups(cells, query[kept], _pointers(count[alive]), key, _pointers(num_keys[alive]))


def _cells_of(cells: _Cells, rows: Ints) -> tuple[Ints, Ints]:
    """The cells of the given rows one after another, and where each row's begin."""
    size = np.diff(cells.row_ptr)[rows]
    ptr = _pointers(size)
    within = np.arange(ptr[-1]) - np.repeat(ptr[:-1], size)
    return cells.row_cell[np.repeat(cells.row_ptr[rows], size) + within], ptr


def _groups(cells: _Cells, query: Ints, query_ptr: Ints, key: Ints, key_ptr: Ints) -> Groups:
    group_context = cells.context[query[query_ptr[:-1]]]
    group_ptr = _pointers(np.bincount(group_context, minlength=len(cells.cell_ptr) - 1))
    arrays = (query_ptr, query, key_ptr, key, group_ptr, cells.cell_ptr)
    most_keys = int(np.diff(key_ptr[group_ptr]).max(initial=0))
    tensors = [torch.from_numpy(a.astype(np.int32)) for a in arrays]
    values: list[Any] = [*tensors, cells.num_slots, most_keys]
    return Groups(*values)


def dense_masks(
    row: Tensor, column: Tensor, context_row_ptr: Tensor, parent_ptr: Tensor, parent: Tensor
) -> dict[str, Tensor]:
    """The masks written out: bool [B, S, S], True where slot i of context b may see slot j.

    Straight from the definition and independent of `build_plan`: for tests and pictures.
    """
    num_contexts, num_slots = row.shape
    real = row >= 0
    both = real[:, :, None] & real[:, None, :]
    same_row = row[:, :, None] == row[:, None, :]
    same_column = column[:, :, None] == column[:, None, :]
    references = torch.zeros(num_contexts, num_slots, num_slots, dtype=torch.bool)
    for b in range(num_contexts):
        first = int(context_row_ptr[b])
        for child in range(int(context_row_ptr[b + 1]) - first):
            for at in range(int(parent_ptr[first + child]), int(parent_ptr[first + child + 1])):
                of_child, of_parent = row[b] == child, row[b] == parent[at]
                references[b] |= of_child[:, None] & of_parent[None, :]
    return {
        "col": both & same_column,
        "feat": both & (same_row | references),
        "nbr": both & references.transpose(1, 2),
    }
