"""A raw database as the arrays and the meta data of a store, table by table.

First the keys of all tables (rows in order of time, edges, the one fit of all datetimes), then the
cells, one column at a time, so that beside the result only one table's columns are in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from rt import columns as col
from rt import keys
from rt.cells import CellBuilder
from rt.classes import class_entries
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


@dataclass
class Tokens:
    """What a store holds; arrays as pieces along their first axis."""

    arrays: dict[str, list[NDArray[Any]]]
    texts: pa.ChunkedArray
    meta: StoreMeta


def tokenise(
    database: RawDatabase, provenance: dict[str, Any], *, show_progress: bool = False
) -> Tokens:
    """Everything of a store but the embeddings. Errors: InputError, in one line."""
    report = Report()
    tasks, report.skipped_tasks = read_tasks(database)
    tables = lay_out(database, tasks)
    force_target_types(tables, tasks, report)
    degrees, parent_row = _link(tables, report)
    datetimes = _fit_datetimes(tables)
    builder = CellBuilder(datetimes, report)
    bar = tqdm(tables, desc=database.name, unit="table", disable=not show_progress, leave=False)
    for number, table in enumerate(bar):
        builder.add(number, table)
    texts = builder.finish_texts([table.raw.name for table in tables])
    arrays = _arrays(tables, builder, degrees, parent_row)
    meta = StoreMeta(
        format_version=FORMAT_VERSION,
        name=database.name,
        val_timestamp=database.val_timestamp,
        test_timestamp=database.test_timestamp,
        num_rows=len(arrays["row_time"][0]),
        num_cells=sum(map(len, builder.cell_value)),
        num_edges=len(parent_row),
        num_texts=len(texts),
        tables=tuple(_table_metas(tables, builder.columns)),
        columns=tuple(builder.columns),
        tasks=tuple(
            entry | classes
            for entry, classes in zip(
                _task_entries(tables, tasks, builder.columns, report),
                class_entries(tables, tasks, texts),
                strict=True,
            )
        ),
        z_clip=Z_CLIP,
        report=vars(report),
        provenance=provenance,
    )
    return Tokens(arrays, texts, meta)


def _arrays(
    tables: Sequence[Table],
    builder: CellBuilder,
    degrees: Sequence[NDArray[np.uint32]],
    parent_row: keys.Rows,
) -> dict[str, list[NDArray[Any]]]:
    """The arrays of store.safetensors, those of 8 bytes an item first (see `write_safetensors`)."""
    row_time = np.concatenate([table.row_time for table in tables])
    parent_ptr = _pointers(degrees)
    child_ptr, child_row, child_time = keys.children(parent_ptr, parent_row, row_time)
    return {
        "row_time": [row_time],
        "cell_ptr": [_pointers(builder.counts)],
        "parent_ptr": [parent_ptr],
        "child_ptr": [child_ptr],
        "child_time": [child_time],
        "cell_column": builder.cell_column,
        "cell_value": builder.cell_value,
        "parent_row": [parent_row],
        "child_row": [child_row],
        "row_source": [_row_source(table) for table in tables],
    }


def _link(tables: Sequence[Table], report: Report) -> tuple[list[NDArray[np.uint32]], keys.Rows]:
    """References per row, one array a table, and all parent rows."""
    index = {table.raw.name: _key_index(table) for table in tables if table.kind == "database"}
    degrees, edges = [], []
    for table in tables:
        found = []
        for column, parent in table.raw.foreign_keys.items():
            name = f"{table.raw.name}.{column}"
            target = index[parent]
            assert target is not None  # read_database checks that referenced tables have keys
            links = target.find(table.raw.source.read(column), name)
            if links.dangling:
                report.dangling_keys[name] = links.dangling
            if links.nulls:
                report.null_keys[name] = links.nulls
            found.append(links.rows if table.order is None else links.rows[table.order])
        if found:
            degree, rows = keys.parents(found)
        else:
            degree, rows = np.zeros(table.raw.source.num_rows, np.uint32), np.zeros(0, np.uint32)
        degrees.append(degree)
        edges.append(rows)
    return degrees, np.concatenate(edges)


def _key_index(table: Table) -> keys.KeyIndex | None:
    raw = table.raw
    if raw.primary_key is None:
        return None
    rows = np.arange(*table.rows, dtype=np.uint32)
    if table.order is not None:
        rows[table.order] = rows.copy()
    return keys.KeyIndex(raw.source.read(raw.primary_key), rows, f"{raw.name}.{raw.primary_key}")


def _fit_datetimes(tables: Sequence[Table]) -> col.Fit:
    """One mean and deviation of all datetime cells of database rows up to val_timestamp and of
    label rows of the train splits."""
    total = col.Fit()
    for table in tables:
        for name in cell_columns(table):
            if type_of(table, name) == "datetime":
                cells = col.read_column(table.raw.source.read(name), "datetime", name)
                assert isinstance(cells, col.Numbers)
                total = col.combine(total, col.population(cells.values[cells.valid & table.fitted]))
    return col.Fit(total.mean, total.std if total.std > 0 else 1.0, total.count)


def _pointers(counts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint64]:
    sizes = np.concatenate(counts)
    result = np.zeros(len(sizes) + 1, np.uint64)
    np.cumsum(sizes, out=result[1:])
    return result


def _row_source(table: Table) -> NDArray[np.uint32]:
    return (
        np.arange(table.raw.source.num_rows, dtype=np.uint32)
        if table.order is None
        else table.order
    )


def _table_metas(tables: Sequence[Table], columns: Sequence[ColumnMeta]) -> Iterator[TableMeta]:
    numbers = {table.raw.name: i for i, table in enumerate(tables) if table.kind == "database"}
    first = 0
    for i, table in enumerate(tables):
        end = first + sum(column.table == i for column in columns)
        foreign_keys = tuple(
            ForeignKeyMeta(column, numbers[parent])
            for column, parent in table.raw.foreign_keys.items()
        )
        yield TableMeta(
            table.raw.name,
            table.kind,
            table.rows,
            table.raw.primary_key,
            table.raw.time_column,
            foreign_keys,
            (first, end),
            table.splits,
        )
        first = end


def _task_entries(
    tables: Sequence[Table], tasks: Sequence[RawTask], columns: Sequence[ColumnMeta], report: Report
) -> Iterator[dict[str, Any]]:
    numbers = {(table.raw.name, table.kind): i for i, table in enumerate(tables)}
    by_name = {
        (tables[c.table].raw.name, tables[c.table].kind, c.name): i for i, c in enumerate(columns)
    }
    for task in tasks:
        place = (task.name, "task") if task.source is not None else (task.entity_table, "database")
        hidden = []
        for table, column in task.hidden:
            if (table, "database", column) in by_name:
                hidden.append(by_name[table, "database", column])
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
            "hidden_columns": sorted(set(hidden)),
            "description": task.description,
        }
