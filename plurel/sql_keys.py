"""Keys of a database that SQL declares: who references whom, and what the key columns hold.

References are drawn like those of a random schema (`plurel.links`), and then made to fit: a row of
a table that references itself references an earlier one, keys that share columns agree in them,
unique sets of columns are made distinct. Key columns hold no features: their values follow from
the rows that are referenced, or are counted and spelled in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plurel.config import Config
from plurel.dates import Window, draw_window
from plurel.errors import InputError
from plurel.links import Blocks, draw_links
from plurel.rng import stream
from plurel.schema import Schema, TableSchema
from plurel.sql_own_keys import draw_codes, finish_own_keys, own_column
from plurel.sql_roles import key_order
from plurel.sql_unique import I64, Member, combined, separate
from plurel.values import Cells


@dataclass(frozen=True)
class Link:
    """One foreign key: `rows` i64[num_rows] of the parent (-1: null), `valued` the rows that its
    columns take their values from where they may not be null, and the blocks of the draw."""

    rows: I64
    valued: I64
    blocks: Blocks


class KeyDraw:
    """All keys of one database, drawn when they are asked for."""

    def __init__(self, schema: Schema, config: Config, seed: int) -> None:
        self.schema, self.config, self.seed = schema, config, seed
        self.window: Window = draw_window(config, seed)
        self._links: dict[str, list[Link]] = {}
        self._codes: dict[str, dict[str, Member]] = {}
        self._columns: dict[tuple[str, str], Cells] = {}

    def links(self, name: str) -> list[Link]:
        """The references of a table, in the order of its foreign keys."""
        if name not in self._links:
            self._links[name], self._codes[name] = _TableKeys(self, name).draw()
        return self._links[name]

    def column(self, name: str, column: str) -> Cells:
        """What a key column (or the time column) of a table holds."""
        if (name, column) not in self._columns:
            table = self.schema.by_name[name]
            _, roles = table.declared()
            links = self.links(name)
            for number, owned in enumerate(roles.owned):
                if column in owned:
                    cells = self.foreign_cells(table, column, number, links[number])
                    self._columns[name, column] = cells
                    return cells
            own = finish_own_keys(self, table, self._codes[name])
            self._columns.update({(name, key): cells for key, cells in own.items()})
        return self._columns[name, column]

    def foreign_cells(self, table: TableSchema, column: str, number: int, link: Link) -> Cells:
        """What a column holds that takes its values from the foreign key `number`."""
        declared, _ = table.declared()
        key = declared.foreign_keys[number]
        parent_column = key.parent_columns[key.columns.index(column)]
        if declared.column(column).not_null:
            return self.column(key.parent, parent_column).take(link.valued)
        return self.column(key.parent, parent_column).take(link.rows)


def joint_codes(parents: Sequence[Cells], children: Sequence[Cells]) -> tuple[I64, I64]:
    """Numbers for the tuples of some columns, the same for parents and children; -1 with nulls."""
    split = len(parents[0].values)
    columns = []
    for parent, child in zip(parents, children, strict=True):
        values = np.concatenate([parent.values, child.values])
        codes = pd.factorize(values)[0].astype(np.int64)
        codes[~np.concatenate([parent.valid, child.valid])] = -1
        columns.append(codes)
    total, present = combined(columns)
    total = pd.factorize(total)[0].astype(np.int64)
    total[~present] = -1
    return total[:split], total[split:]


def match(parents: I64, children: I64, wanted: I64) -> I64:
    """For each child the parent row of its group that stands next before the wanted one, or else
    the group's first; -1 without any. Groups are numbers from 0; -1 belongs to none."""
    size = len(parents)
    rows = np.flatnonzero(parents >= 0)
    places = np.sort(parents[rows] * size + rows)
    found = np.searchsorted(places, children * size + wanted, side="right") - 1
    first = np.searchsorted(places, children * size, side="left")
    found = np.maximum(found, first)
    inside = (children >= 0) & (found < len(places))
    place = places[np.where(inside, found, 0)] if len(places) else np.zeros_like(found)
    inside &= place // size == children
    return np.where(inside, place % size, -1)


class _TableKeys:
    """The keys of one table while they are being drawn."""

    def __init__(self, draw: KeyDraw, name: str) -> None:
        self.all, self.name = draw, name
        self.table = draw.schema.by_name[name]
        self.sql, self.roles = self.table.declared()
        self.links: dict[int, Link] = {}
        self.groups: dict[int, I64] = {}

    def draw(self) -> tuple[list[Link], dict[str, Member]]:
        """Links by key, and the codes of key columns that are categories."""
        for number in key_order(self.sql.foreign_keys, self.name):
            self.links[number] = self._draw_key(number)
        codes = draw_codes(self.all, self.table)
        self._separate(codes)
        return [self.links[number] for number in range(len(self.links))], codes

    def _stream(self, *names: str | int) -> np.random.Generator:
        return stream(self.all.seed, "table", self.name, *names)

    def _draw_key(self, number: int) -> Link:
        key = self.sql.foreign_keys[number]
        rows, rng = self.table.num_rows, self._stream("links", number)
        params = self.all.config.scm_params
        candidates = self._candidates(number)
        size = self.all.schema.by_name[key.parent].num_rows
        result = draw_links(size if candidates is None else len(candidates), rows, params, rng)
        wanted = result.parent_of if candidates is None else candidates[result.parent_of]
        shared = [c for c in key.columns if c not in self.roles.owned[number]]
        found = wanted
        if key.parent == self.name:
            found = self._earlier(number, wanted, shared)
        elif shared:
            parents, children = self._codes_of(number, shared)
            self.groups[number] = parents
            found = match(parents, children, wanted)
        found = found.copy()
        lost = found < 0
        if self.roles.nullable[number]:
            share = self.all.config.sql_params.null_key_choices.sample(
                self._stream("nulls", number)
            )
            chosen = self._stream("nulls", number, "rows").permutation(rows)
            found[chosen[: int(np.floor(share * rows))]] = -1
        elif lost.any() and not self._follows_null(number, shared, lost):
            raise InputError(
                f"{self.all.config.schema_file}, line {key.line}: foreign key {key} of table "
                f"{self.name}: no row of {key.parent} agrees with what ({', '.join(shared)}) holds "
                "by other keys; give the tables more rows by sql_params.num_rows, or let it be null"
            )
        return Link(found, np.where(found < 0, wanted, found), result.blocks)

    def _follows_null(self, number: int, shared: list[str], lost: NDArray[np.bool_]) -> bool:
        """True if the lost rows have a null among the columns that other keys decide."""
        valid = np.logical_and.reduce([self._cells(column).valid for column in shared])
        return not bool((lost & valid).any())

    def _cells(self, column: str) -> Cells:
        """What a column holds that an earlier key of this table owns."""
        number = next(n for n, owned in enumerate(self.roles.owned) if column in owned)
        return self.all.foreign_cells(self.table, column, number, self.links[number])

    def _codes_of(self, number: int, shared: list[str]) -> tuple[I64, I64]:
        """Groups of the parent's rows and of this table's by what the shared columns hold."""
        key = self.sql.foreign_keys[number]
        names = [key.parent_columns[key.columns.index(column)] for column in shared]
        children = [self._cells(column) for column in shared]
        if key.parent == self.name:
            return joint_codes([self._cells(name) for name in names], children)
        return joint_codes([self.all.column(key.parent, name) for name in names], children)

    def _candidates(self, number: int) -> I64 | None:
        """The parent's rows that later keys can agree with; None for all of them."""
        key, keep = self.sql.foreign_keys[number], None
        owned = self.roles.owned[number]
        for other_number, other in enumerate(self.sql.foreign_keys):
            common = [c for c in other.columns if c in owned and other_number != number]
            if not common or self.name in (other.parent, key.parent):
                continue
            sides = [
                [self.all.column(k.parent, k.parent_columns[k.columns.index(c)]) for c in common]
                for k in (key, other)
            ]
            codes, others = joint_codes(*sides)
            fits = np.isin(codes, others) & (codes >= 0)
            keep = fits if keep is None else keep & fits
        if keep is not None and not keep.any():
            raise InputError(
                f"{self.all.config.schema_file}, line {key.line}: foreign key {key} of table "
                f"{self.name}: no row of {key.parent} agrees with the table's other keys; give the "
                "tables more rows by sql_params.num_rows"
            )
        return None if keep is None else np.flatnonzero(keep)

    def _earlier(self, number: int, wanted: I64, shared: list[str]) -> I64:
        """References of rows to earlier rows of the same table.

        A drawn row that is not earlier is scaled down to the rows before. The first row (the first
        of its group, where columns are shared with other keys) references nothing; where the key
        may not be null, itself.
        """
        rows = np.arange(self.table.num_rows)
        nullable = self.roles.nullable[number]
        columns = set(self.sql.foreign_keys[number].columns)
        if any(set(columns_) <= columns for columns_ in self.roles.key_sets):
            return rows - 1 if nullable else rows  # each at most once: a chain
        wanted = np.where(wanted >= rows, wanted * rows // len(rows), wanted)
        if shared:
            parents, children = self._codes_of(number, shared)
            found = match(parents, children, wanted)
            found = np.where(found < rows, found, -1)
            alone = (found < 0) & (children >= 0)
        else:
            found = np.where(rows == 0, -1, wanted)
            alone = found < 0
        return found if nullable else np.where(alone, rows, found)

    def _separate(self, codes: dict[str, Member]) -> None:
        """Make the unique sets distinct that no column of the table's own completes."""
        own = [name for name in self.roles.key_columns if name not in codes]
        members = {n: self._member(n) for n in self.links}
        sets = []
        for columns in self.roles.key_sets:
            if set(columns) & set(own):
                continue
            parts = [codes[name] for name in columns if name in codes]
            parts += [self._part(members[n], n, columns) for n in self._owners(columns)]
            if self.table.time_column in columns:
                days = own_column(self.all, self.table, self.table.time_column or "")
                parts.append(
                    Member(pd.factorize(days.values)[0].astype(np.int64), 1, None, None, False)
                )
            sets.append(parts)
        if sets and not separate(sets, self._stream("unique")):
            raise InputError(
                f"{self.all.config.schema_file}, line {self.sql.line}: the unique keys of table "
                f"{self.name} leave too little room for {self.table.num_rows} rows; give it fewer, "
                f"by sql_params.num_rows, or the tables that it references more"
            )
        for number, link in self.links.items():
            rows = members[number].states
            self.links[number] = Link(rows, np.where(rows < 0, link.valued, rows), link.blocks)

    def _owners(self, columns: tuple[str, ...]) -> list[int]:
        return [n for n, owned in enumerate(self.roles.owned) if set(owned) & set(columns)]

    def _member(self, number: int) -> Member:
        key = self.sql.foreign_keys[number]
        owned = set(self.roles.owned[number])
        followed = any(
            owned & set(other.columns)
            for n, other in enumerate(self.sql.foreign_keys)
            if n != number
        )
        return Member(
            self.links[number].rows.copy(),
            self.all.schema.by_name[key.parent].num_rows,
            group=self.groups.get(number),
            movable=not followed and key.parent != self.name,
        )

    def _part(self, member: Member, number: int, columns: tuple[str, ...]) -> Member:
        """The member as a unique set sees it: by the parent's columns that belong to the set."""
        key = self.sql.foreign_keys[number]
        mine = [c for c in self.roles.owned[number] if c in columns]
        if set(mine) == set(self.roles.owned[number]):
            return member
        names = [key.parent_columns[key.columns.index(column)] for column in mine]
        cells = [self.all.column(key.parent, name) for name in names]
        code = joint_codes(cells, cells)[0]
        return Member(member.states, member.size, code, member.group, member.movable)
