"""A raw database as the arrays and the meta data of a store, table by table.

First the keys of all tables (rows in order of time, foreign keys, the one fit of all datetimes),
then column after column; then every size is known and the arrays are made piece by piece. Memory
holds a few columns at a time: what is large and needed later waits in files (`rt.work`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import rustler
from rt import columns as col
from rt.cells import Column, number_texts, read_columns
from rt.classes import class_entries
from rt.edges import Edges, Piece, link_tables
from rt.files import Shapes
from rt.labels import RawTask, read_tasks
from rt.layout import Report, Table, cell_columns, force_target_types, lay_out, type_of
from rt.meta import (
    FORMAT_VERSION,
    Z_CLIP,
    ColumnMeta,
    ForeignKeyMeta,
    StoreMeta,
    TableMeta,
)
from rt.raw import RawDatabase
from rt.records import Shape, array_sizes, record_pieces
from rt.work import Work

_ARRAYS = {
    "time_value": "int64",
    "record_ptr": "uint64",
    "row_rank": "uint32",
    "row_source": "uint32",
    "parent_row": "uint32",
    "child_ptr": "uint32",
    "child_row": "uint32",
    "child_rank": "uint32",
    "dictionary": "uint32",
    "records": "uint8",
}
"""The arrays of store.safetensors, the wide ones first (see `array_file`)."""


@dataclass
class Tokens:
    """What a store holds. shapes: of the arrays; pieces: their contents, to be taken once."""

    shapes: Shapes
    pieces: Iterator[Piece]
    texts: pa.Array
    meta: StoreMeta


def tokenise(database: RawDatabase, provenance: dict[str, Any], work: Work) -> Tokens:
    """Everything of a store but the embeddings. Errors: InputError, in one line."""
    report = Report()
    tasks, report.skipped_tasks = read_tasks(database)
    work.progress.stage("keys")
    tables, times = lay_out(database, tasks, work)
    force_target_types(tables, tasks, report)
    edges = link_tables(tables, report, work)
    work.progress.stage("columns")
    slots = sum(len(cell_columns(table)) * table.raw.source.num_rows for table in tables)
    work.progress.expect(slots)
    columns = read_columns(tables, _fit_datetimes(tables, work), report, work)
    table_names = [table.raw.name for table in tables]
    names = [f"{column} of {t.raw.name}" for t in tables for column in t.raw.foreign_keys]
    columns, texts, key_names = number_texts(columns, table_names, names)
    metas = [column.meta for column in columns]
    classes = class_entries(tables, tasks, texts)
    entries = zip(_task_entries(tables, tasks, metas, report), classes, strict=True)
    meta = StoreMeta(
        format_version=FORMAT_VERSION,
        name=database.name,
        val_timestamp=database.val_timestamp,
        test_timestamp=database.test_timestamp,
        num_rows=tables[-1].rows[1],
        num_cells=sum(column.count for column in columns),
        num_edges=edges.count,
        num_texts=len(texts),
        tables=tuple(_table_metas(tables, edges, columns, key_names)),
        columns=tuple(metas),
        tasks=tuple(entry | more for entry, more in entries),
        z_clip=Z_CLIP,
        report=vars(report),
        provenance=provenance,
    )
    work.progress.expect((slots + meta.num_cells) // 2)
    shapes = _shapes(meta, len(times))
    return Tokens(shapes, _pieces(meta, (tables, times), edges, columns, work), texts, meta)


def _pieces(
    meta: StoreMeta,
    rows: tuple[Sequence[Table], NDArray[np.int64]],
    edges: Edges,
    columns: Sequence[Column],
    work: Work,
) -> Iterator[Piece]:
    work.progress.stage("edges")
    yield "time_value", rows[1]
    yield from _row_pieces(rows[0])
    yield from edges.parent_pieces()
    yield from edges.child_pieces(work)
    work.progress.stage("cells")
    for table in meta.tables:
        start, end = table.rows
        yield from record_pieces(columns[slice(*table.columns)], end - start, table.packed, work)
    yield "records", np.zeros(rustler.RECORD_PADDING, np.uint8)
    work.progress.stage("to disk")


def _shapes(meta: StoreMeta, num_times: int) -> Shapes:
    lengths = {"time_value": num_times, **array_sizes(meta)}
    return {name: (dtype, [lengths[name]]) for name, dtype in _ARRAYS.items()}


def _row_pieces(tables: Sequence[Table]) -> Iterator[Piece]:
    """row_rank and row_source."""
    for table in tables:
        yield "row_rank", table.row_rank
        if table.order is not None:
            yield "row_source", table.order
        else:
            yield "row_source", np.arange(table.raw.source.num_rows, dtype=np.uint32)


def _fit_datetimes(tables: Sequence[Table], work: Work) -> col.Fit:
    """One mean and deviation of all datetime cells of database rows up to val_timestamp and of
    label rows of the train splits."""

    def fit(place: tuple[Table, str]) -> col.Fit:
        table, name = place
        cells = col.read_column(table.raw.source.read(name), "datetime", name)
        assert isinstance(cells, col.Numbers)
        return col.population(cells.values[cells.valid & table.fitted])

    places = [(table, name) for table in tables for name in cell_columns(table)]
    datetimes = [place for place in places if type_of(*place) == "datetime"]
    total = reduce(col.combine, work.ordered(fit, datetimes), col.Fit())
    return col.Fit(total.mean, total.std if total.std > 0 else 1.0, total.count)


def _table_metas(
    tables: Sequence[Table], edges: Edges, columns: Sequence[Column], key_names: Sequence[int]
) -> Iterator[TableMeta]:
    """key_names: text numbers, for the foreign keys of all tables."""
    names = iter(key_names)
    numbers = {table.raw.name: i for i, table in enumerate(tables) if table.kind == "database"}
    first = 0
    for i, table in enumerate(tables):
        end = first + sum(column.meta.table == i for column in columns)
        of_table = columns[first:end]
        shape = Shape([column.meta for column in of_table])
        size, packed = shape.sizes([c.count for c in of_table], table.raw.source.num_rows)
        foreign_keys = tuple(
            ForeignKeyMeta(column, numbers[parent], next(names))
            for column, parent in table.raw.foreign_keys.items()
        )
        yield TableMeta(
            name=table.raw.name,
            kind=table.kind,
            rows=table.rows,
            primary_key=table.raw.primary_key,
            time_column=table.raw.time_column,
            foreign_keys=foreign_keys,
            columns=(first, end),
            splits=table.splits,
            num_parents=len(foreign_keys),
            num_children=edges.children[i],
            record_bytes=size,
            packed=packed,
        )
        first = end


def _task_entries(
    tables: Sequence[Table], tasks: Sequence[RawTask], columns: Sequence[ColumnMeta], report: Report
) -> Iterator[dict[str, Any]]:
    numbers = {(table.raw.name, table.kind): i for i, table in enumerate(tables)}
    by_name = {
        (tables[c.table].raw.name, tables[c.table].kind, c.name): i for i, c in enumerate(columns)
    }
    keys = {
        (table.raw.name, column): (number, place)
        for number, table in enumerate(tables)
        for place, column in enumerate(table.raw.foreign_keys)
        if table.kind == "database"
    }
    for task in tasks:
        place = (task.name, "task") if task.source is not None else (task.entity_table, "database")
        hidden, hidden_keys = set(), set()
        for table, column in task.hidden:
            if (table, "database", column) in by_name:
                hidden.add(by_name[table, "database", column])
            elif (table, column) in keys:
                hidden_keys.add(keys[table, column])
            else:
                report.messages.append(
                    f"task {task.name}: remove_columns names {table}.{column}, no feature column"
                )
        yield {
            "name": task.name,
            "kind": task.kind,
            "task_type": task.task_type,
            "table": numbers[place],
            "column": by_name[*place, task.target],
            "entity_table": task.entity_table,
            "entity_column": task.entity_column,
            "horizon": task.horizon,
            "splits": tables[numbers[place]].splits,
            "hidden_columns": sorted(hidden),
            "hidden_keys": sorted(hidden_keys),
            "description": task.description,
        }
