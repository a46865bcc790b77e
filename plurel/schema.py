"""What a database looks like before it holds a row: tables, columns, keys, sizes.

A `Schema` is plain data, drawn by `draw_schema` or read from SQL; everything after it (links,
features, dates) is a function of the schema, the config and a seed.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import networkx as nx
import numpy as np

from plurel.config import Config
from plurel.layouts import draw_dag
from plurel.rng import stream
from plurel.sql_model import Roles, SqlColumn, SqlKey, SqlTable

PRIMARY_KEY = "row_idx"
TIME_COLUMN = "date"

ColumnKind = Literal["numerical", "categorical"]
TableKind = Literal["entity", "activity"]


@dataclass(frozen=True)
class ColumnSchema:
    """A feature column. `num_categories` is None exactly for numerical columns; `categories`
    holds the values of a categorical column that a schema names (None: drawn integers). `sql` is
    the declaration of a column that SQL names; its values are finished as it says."""

    name: str
    kind: ColumnKind
    num_categories: int | None = None
    categories: tuple[str, ...] | None = None
    sql: SqlColumn | None = None


@dataclass(frozen=True)
class ForeignKey:
    """`column` of the table that holds this key references the primary key of table `parent`.

    sql: the key as SQL declares it, whose columns `column` may stand for. read: the child's
    features depend on the parent's; False for references to the table itself and for one reference
    of every cycle of tables.
    """

    column: str
    parent: str
    sql: SqlKey | None = None
    read: bool = True


@dataclass(frozen=True)
class TableSchema:
    """One table. Activity tables (sinks of the graph) have a time column, entity tables none.

    sql: the table as SQL declares it (then an activity table may lack a time column, too); roles:
    what becomes of its columns. Both or none are there.
    """

    name: str
    kind: TableKind
    num_rows: int
    columns: tuple[ColumnSchema, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    primary_key: str = PRIMARY_KEY
    time_column: str | None = None
    sql: SqlTable | None = None
    roles: Roles | None = None

    def declared(self) -> tuple[SqlTable, Roles]:
        """What SQL declares of this table; ValueError for a table that was drawn."""
        if self.sql is None or self.roles is None:
            raise ValueError(f"table {self.name} does not come from SQL")
        return self.sql, self.roles


@dataclass(frozen=True)
class Schema:
    """A database's tables, parents before children (topological order of the foreign keys that
    are read). layout: of the graph, or the name of the SQL file; left_out: what of it was not
    understood, by line."""

    tables: tuple[TableSchema, ...]
    layout: str = ""
    left_out: tuple[str, ...] = ()
    by_name: dict[str, TableSchema] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {table.name: table for table in self.tables})

    def declared(self) -> dict[str, Any] | None:
        """What SQL declares, as plain data for `declared.yaml`; None for a schema that was drawn.

        Per table the columns' types, the primary key, the unique sets, and the foreign keys with
        the column that stands for each in RelBench; columns in the order of the statements.
        """
        if not all(table.sql for table in self.tables):
            return None
        tables = {}
        for table in self.tables:
            sql, _ = table.declared()
            tables[table.name] = plain = sql.to_plain()
            for key, stored in zip(table.foreign_keys, plain["foreign_keys"], strict=True):
                stored["relbench_column"] = key.column
        return {"schema": self.layout, "left_out": list(self.left_out), "tables": tables}


def draw_schema(config: Config, seed: int) -> Schema:
    """A random schema (PluRel, arXiv 2602.04029, stage 1): tables as nodes of a random DAG.

    An edge A -> B of the drawn layout makes a foreign key of B to A. Sinks of the graph are
    activity tables, all others entity tables. Tables are named by their nodes and stand in
    topological order. A config that names a schema file takes the tables from there.
    """
    if config.schema_file is not None:
        from plurel.sql_schema import draw_sql_schema  # a parser that few need

        return draw_sql_schema(config, seed)
    params = config.database_params
    rng = stream(seed, "schema")
    layout = params.table_layout_choices.sample(rng)
    num_tables = params.num_tables_choices.sample(rng)
    graph = draw_dag(layout, num_tables, config.dag_params, stream(seed, "schema", "graph"))
    tables = tuple(
        _draw_table(graph, node, config, seed)
        for node in nx.lexicographical_topological_sort(graph)
    )
    return Schema(tables, layout)


def _draw_table(graph: "nx.DiGraph[int]", node: int, config: Config, seed: int) -> TableSchema:
    """One node's table: kind, rows, columns, and a foreign key to each of its predecessors."""
    params = config.database_params
    names = ("schema", "table", node)
    columns = stream(seed, *names, "columns")
    is_activity = graph.out_degree(node) == 0
    rows = (
        params.num_rows_activity_table_choices
        if is_activity
        else params.num_rows_entity_table_choices
    )
    parents = sorted(graph.predecessors(node))
    return TableSchema(
        name=f"table_{node}",
        kind="activity" if is_activity else "entity",
        num_rows=rows.sample(stream(seed, *names, "rows")),
        columns=_draw_columns(params.num_cols_choices.sample(columns), config, columns),
        foreign_keys=tuple(
            ForeignKey(f"foreign_row_{number}", f"table_{parent}")
            for number, parent in enumerate(parents)
        ),
        time_column=TIME_COLUMN if is_activity else None,
    )


def _draw_columns(count: int, config: Config, rng: np.random.Generator) -> tuple[ColumnSchema, ...]:
    params = config.scm_params
    columns = []
    for number in range(count):
        kind: ColumnKind = params.col_stype_choices.sample(rng)
        categories = params.num_categories_choices.sample(rng) if kind == "categorical" else None
        columns.append(ColumnSchema(f"feature_{number}", kind, categories))
    return tuple(columns)
