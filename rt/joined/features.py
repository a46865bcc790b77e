"""The flat table: columns with names, for rows and what they may know."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rt.joined.anchors import Anchor, Tables, labels_by_ancestor, parents, row_and_ancestors
from rt.joined.children import Child, children, grandchildren
from rt.joined.queries import LabelRows, Queries
from rt.joined.relation import Relation, Running, Span, latest_category
from rt.joined.tables import MICROSECONDS, NO_TIME, Column, Floats

Part = Literal["row", "parents", "children", "labels"]
PARTS: tuple[Part, ...] = ("row", "parents", "children", "labels")
"""Where a feature comes from: the row itself; its ancestors; the rows that reference any of these,
and their other parents; known labels."""
DAY = 86_400 * MICROSECONDS
FINE_WINDOWS = {"1 day": DAY, "30 days": 30 * DAY, "365 days": 365 * DAY}
"""Recent windows of tasks without a horizon."""
HORIZONS = (1, 3, 12)
"""Recent windows of forecasts, in horizons."""
MAX_LAST_PARENTS = 4
"""Parents of the row's latest children that are described like ancestors."""


@dataclass(frozen=True)
class View:
    """A database as one task sees it. own_row: the entity's row is the target's own (autocomplete);
    labels: None where no label is to be known; horizon: seconds until a label is known.
    max_features: columns of the flat table at most, the nearest first."""

    tables: Tables
    entity_table: str
    labels: LabelRows | None
    own_row: bool
    horizon: int | None = None
    max_features: int = 500

    @property
    def windows(self) -> dict[str, int]:
        """Recent windows by name, in microseconds."""
        if not self.horizon:
            return FINE_WINDOWS
        return {f"{n} horizons": n * self.horizon * MICROSECONDS for n in HORIZONS}


@dataclass
class Features:
    """A flat table of Q rows: a name, f32[Q], whether it is a category and where it comes from for
    each column."""

    limit: int
    names: list[str] = field(default_factory=list)
    columns: list[NDArray[np.float32]] = field(default_factory=list)
    categories: list[bool] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.names) >= self.limit

    def add(self, name: str, values: Floats, *, part: Part, category: bool = False) -> None:
        """A column, unless it is missing everywhere or the table is full."""
        column = values.astype(np.float32)
        if self.full or not len(column) or np.isnan(column).all():
            return
        self.names.append(name)
        self.columns.append(column)
        self.categories.append(category)
        self.parts.append(part)

    def only(self, parts: Collection[Part]) -> "Features":
        """The columns of these parts, in their order."""
        kept = [number for number, part in enumerate(self.parts) if part in parts]
        return Features(
            self.limit,
            [self.names[number] for number in kept],
            [self.columns[number] for number in kept],
            [self.categories[number] for number in kept],
            [self.parts[number] for number in kept],
        )

    def matrix(self) -> NDArray[np.float32]:
        """f32[Q, F], NaN for missing."""
        return np.stack(self.columns, axis=1)


def joined_features(view: View, queries: Queries) -> Features:
    """The row and the calendar of its time, joined with its ancestors, aggregates of the rows that
    reference any of them, and labels known of the row's entity and of its ancestors; `only` takes
    some of these parts."""
    features = Features(view.max_features)
    anchors = row_and_ancestors(view.tables, view.entity_table, queries, always_seen=view.own_row)
    own, ancestors = anchors[0], anchors[1:]
    _add_columns(features, "row", view.tables, own, queries)
    _add_calendar(features, queries)
    # how old all that the other parts say is
    staleness = (queries.time - queries.bound) / MICROSECONDS
    features.add("staleness", staleness, part="parents")
    if not view.own_row:
        _add_labels(features, view, own, queries)
    for anchor in ancestors:
        _add_columns(features, "parents", view.tables, anchor, queries)
        _add_labels(features, view, anchor, queries)
    of_own = children(view.tables, own.table)
    for child in of_own:
        _add_children(features, view, own, child, queries)
    for anchor in _latest_parents(view, own, of_own, queries):
        _add_columns(features, "children", view.tables, anchor, queries)
        ancestors.append(anchor)
    for anchor in ancestors:
        for child in children(view.tables, anchor.table):
            _add_children(features, view, anchor, child, queries)
    for child in grandchildren(view.tables, own.table):
        _add_children(features, view, own, child, queries)
    return features


def _add_columns(
    features: Features, part: Part, tables: Tables, anchor: Anchor, queries: Queries
) -> None:
    """The anchor's own columns, times as seconds until the queried row's time; no leaking ones."""
    table = tables[anchor.table]
    if not len(table):
        return
    there = anchor.row >= 0
    for column in table.columns:
        if not column.late:
            values = np.where(there, column.values[anchor.row], np.nan)
            if column.kind == "time":
                values = (queries.time - values) / MICROSECONDS
            category = column.kind == "category"
            features.add(anchor.prefix + column.name, values, part=part, category=category)
    timed = there & (table.time[anchor.row] != NO_TIME)
    age = queries.time - np.where(timed, table.time[anchor.row], queries.time)
    features.add(f"{anchor.prefix}age", np.where(timed, age / MICROSECONDS, np.nan), part=part)


def _add_calendar(features: Features, queries: Queries) -> None:
    days = queries.time // DAY
    dates = queries.time.astype("datetime64[us]")
    months = dates.astype("datetime64[M]").astype(np.int64) % 12
    year_start = dates.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    figures = {
        "month": months,
        "day of year": days - year_start,
        "weekday": (days + 3) % 7,
        "hour": (queries.time % DAY) // (3600 * MICROSECONDS),
    }
    for name, values in figures.items():
        features.add(f"time.{name}", values.astype(np.float64), part="row")


def _add_labels(features: Features, view: View, anchor: Anchor, queries: Queries) -> None:
    """What is known of the labels of the anchor's row."""
    if view.labels is None or anchor.path is None or features.full:
        return
    owner, known_at = labels_by_ancestor(view.tables, view.entity_table, view.labels, anchor.path)
    relation = Relation(owner, known_at)
    span = relation.span(anchor.row, queries.label_bound)
    figures = span.times(view.windows, queries.time)
    figures |= Running(relation, view.labels.value).aggregates(span, view.windows, lean=False)
    for name, values in figures.items():
        features.add(f"{anchor.prefix}label.{name}", values, part="labels")


def _latest_parents(view: View, own: Anchor, of_own: list[Child], queries: Queries) -> list[Anchor]:
    """The other parents of the latest row that references the queried one, for each relation."""
    found: list[Anchor] = []
    for child in of_own:
        if not child.timed:
            continue
        latest = child.relation.span(own.row, queries.bound).last_row()
        anchor = Anchor(f"{child.name}.last", child.table.name, latest, None)
        found += [
            parent
            for parent in parents(view.tables, anchor, queries)
            if parent.name != f"{anchor.name}.{child.key}"
        ]
    return found[:MAX_LAST_PARENTS]


def _add_children(
    features: Features, view: View, anchor: Anchor, child: Child, queries: Queries
) -> None:
    """Aggregates of the rows that reference the anchor's row."""
    if features.full or (anchor.row < 0).all():
        return
    prefix = f"{anchor.prefix}{child.name}"
    span = child.relation.span(anchor.row, queries.bound)
    for name, values in span.times(view.windows, queries.time).items():
        features.add(f"{prefix}.{name}", values, part="children")
    lean = anchor.name != "" or child.far
    for column in child.columns(4 if lean else 12, late=False):
        _add_aggregates(features, f"{prefix}.{column.name}", column, span, view.windows, lean)
    late = child.columns(4 if lean else 12, late=True)
    if late:
        relation = _late_relation(child, view.horizon)
        known = relation.span(anchor.row, queries.label_bound)
        for column in late:
            _add_aggregates(features, f"{prefix}.{column.name}", column, known, view.windows, lean)


def _late_relation(child: Child, horizon: int | None) -> Relation:
    """Rows from when their leaking columns are known: never for rows without a time."""
    own = child.table.time
    known = np.maximum(child.time, own + (horizon or 0) * MICROSECONDS)
    return Relation(np.where(own == NO_TIME, -1, child.parent), known)


def _add_aggregates(
    features: Features, name: str, column: Column, span: Span, windows: dict[str, int], lean: bool
) -> None:
    """The figures of one column of children."""
    if features.full:
        return
    if column.kind == "number":
        figures = Running(span.relation, column.values).aggregates(span, windows, lean=lean)
        for figure, values in figures.items():
            features.add(f"{name}.{figure}", values, part="children")
    else:
        latest = latest_category(span.relation, column.values, span)
        features.add(f"{name}.last", latest, part="children", category=True)
    for number, value in enumerate(column.frequent[: 1 if lean else None]):
        missing = np.isnan(column.values)
        share = np.where(missing, np.nan, column.values == value)
        found = Running(span.relation, share).mean(span.first, span.end)
        features.add(f"{name}.share {number + 1}", found, part="children")
