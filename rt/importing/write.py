"""The folder's Parquet files: rows in order of time, keys numbered, references resolved by value.

For each table a file of its order comes first (which row of the source stands where, and when), so
that a reference is a join with the parent's key and order, and memory holds a piece of the rows.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from rt.importing.duck import stream, text_literal
from rt.importing.layout import Link, TableLayout
from rt.importing.pieces import PieceWriter
from rt.importing.plan import Plan
from rt.importing.staging import Progress, Staging
from rt.importing.tables import MOMENT

_ORDER = pa.schema([("n", pa.int64()), ("row", pa.int64()), ("time", MOMENT)])


class Writer:
    """Writes the tables of a checked plan. folder: for the files of orders, which are not kept."""

    def __init__(
        self, plan: Plan, staging: Staging, layouts: dict[str, TableLayout], folder: Path
    ) -> None:
        self._plan, self._staging, self._layouts = plan, staging, layouts
        self._folder = folder
        self._orders: dict[str, Path] = {}
        for name in plan.tables:
            self._order(name)

    def _order(self, name: str) -> None:
        """The order of a table's rows: by time, those without one last; then by key."""
        if name in self._orders:
            return
        layout, table = self._layouts[name], self._plan.tables[name]
        sources = self._plan.time_sources(name)
        links = [link for link in layout.links if link.key in sources]
        time, joins = "CAST(NULL AS TIMESTAMP)", []
        if layout.time is not None and table.time_column is not None:
            time = f"s.{self._staging.columns(name, [table.time_column])[0]}"
        elif layout.time is not None:
            for place, link in enumerate(links):
                self._order(link.key.references)
                joins.append(self._join(name, link, place))
            # a reference to nothing, or to a row without a time, has no say
            time = f"greatest({', '.join(f'm{place}.time' for place in range(len(links)))})"
        keys = "".join(f", s.{c}" for c in self._staging.columns(name, table.primary_key))
        sql = (
            f"SELECT s.file_row_number AS n, {time} AS time FROM {self._staging.relation(name)} s "
            f"{' '.join(joins)} ORDER BY time NULLS LAST{keys}, n"
        )
        path = self._folder / f"order{len(self._orders)}.parquet"
        with PieceWriter(path, _ORDER) as writer:
            for start, batch in self._numbered(sql):
                row = pa.array(np.arange(start, start + batch.num_rows))
                arrays = [batch.column(0), row, batch.column(1)]
                writer.write(pa.record_batch(arrays, _ORDER))
        self._orders[name] = path

    def _join(self, name: str, link: Link, place: int) -> str:
        """The join that finds the row `m<place>` which a foreign key of the row `s` references."""
        key = link.key
        parent = self._staging.columns(key.references, key.to)
        made = ", ".join(f"p.{column} AS k{i}" for i, column in enumerate(parent))
        order = f"read_parquet({text_literal(self._orders[key.references])})"
        rows = (
            f"(SELECT {made}, o.row, o.time FROM {self._staging.relation(key.references)} p "
            f"JOIN {order} o ON p.file_row_number = o.n)"
        )
        own = self._staging.columns(name, key.columns)
        pairs = [(f"s.{column}", f"m{place}.k{i}") for i, column in enumerate(own)]
        compared = self._staging.comparison((name, key.columns), (key.references, key.to), pairs)
        return f"LEFT JOIN {rows} m{place} ON {compared}"

    def write(self, name: str, path: Path, progress: Progress) -> dict[str, int]:
        """One file; returns per foreign key's column how many of its rows reference nothing."""
        layout = self._layouts[name]
        schema = pa.schema([(output.name, output.type) for output in layout.outputs])
        chosen = [
            f"{output.sql} AS o{i}"
            for i, output in enumerate(layout.outputs)
            if output.sql is not None
        ]
        joins = " ".join(self._join(name, link, i) for i, link in enumerate(layout.links))
        order = f"read_parquet({text_literal(self._orders[name])})"
        sql = (
            f"SELECT {', '.join(chosen) or '1 AS o'} FROM {self._staging.relation(name)} s "
            f"JOIN {order} o ON s.file_row_number = o.n {joins} ORDER BY o.row"
        )
        references = [schema.get_field_index(link.output) for link in layout.links]
        nulls = np.zeros(len(references), np.int64)
        with PieceWriter(path, schema) as writer:
            for start, batch in self._numbered(sql):
                made = _arrays(layout, batch, start)
                nulls += np.array([made.column(i).null_count for i in references], np.int64)
                writer.write(made)
                progress(batch.num_rows)
        empty = [self._staging.nulls(name, link.key.columns) for link in layout.links]
        found = zip(layout.links, nulls.tolist(), empty, strict=True)
        return {link.output: count - given for link, count, given in found}

    def write_keys(self, name: str, path: Path) -> None:
        """The keys that a table's rows had in the source, a column each part, in the order of its
        file, for users to name rows by; no file where they are the numbers that the rows have
        now."""
        columns = self._layouts[name].named_by
        if not columns:
            return
        values = [self._as_in_the_source(name, column) for column in columns]
        parts = ", ".join(f"{value} AS k{i}" for i, (value, _) in enumerate(values))
        order = f"read_parquet({text_literal(self._orders[name])})"
        sql = (
            f"SELECT {parts} FROM {self._staging.relation(name)} s "
            f"JOIN {order} o ON s.file_row_number = o.n ORDER BY o.row"
        )
        schema = pa.schema([(c, kind) for c, (_, kind) in zip(columns, values, strict=True)])
        path.parent.mkdir(exist_ok=True)
        same = len(columns) == 1 and pa.types.is_integer(schema.types[0])
        with PieceWriter(path, schema) as writer:
            for start, batch in self._numbered(sql):
                keys = [c.cast(kind) for c, kind in zip(batch.columns, schema.types, strict=True)]
                numbers = pa.array(np.arange(start, start + batch.num_rows))
                same = same and keys[0].cast(pa.int64()) == numbers
                writer.write(pa.record_batch(keys, schema))
        if same:
            path.unlink()
            with suppress(OSError):  # those of other tables are there
                path.parent.rmdir()

    def _as_in_the_source(self, name: str, column: str) -> tuple[str, pa.DataType]:
        """The values of a column in SQL, and their type; times that counted since 1970 do again."""
        (place,) = self._staging.columns(name, [column])
        unit = self._staging.counts.get((name, column))
        if unit is None:
            return f"s.{place}", self._staging.type(name, column)
        return f"epoch_us(s.{place}) // {unit}", pa.int64()

    def _numbered(self, sql: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The pieces of a query's rows, each with the number of its first row."""
        start = 0
        try:
            for batch in stream(self._staging.connection, sql):
                yield start, batch
                start += batch.num_rows
        except duckdb.Error as error:
            raise self._staging.trouble(error) from None


def _arrays(layout: TableLayout, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
    """A piece of the folder's rows, the first of which has the number `start`."""
    columns = iter(batch.columns)
    arrays, fields = [], []
    for output in layout.outputs:
        if output.sql is None:
            array = pa.array(np.arange(start, start + batch.num_rows))
        else:
            array = next(columns).cast(output.type)
        arrays.append(array)
        fields.append((output.name, output.type))
    return pa.record_batch(arrays, pa.schema(fields))
