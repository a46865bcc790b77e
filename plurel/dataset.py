"""A synthetic database: schema, foreign keys, features and dates put together.

Everything is a function of a seed, a config and the version of this package.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import relbench
from numpy.typing import NDArray
from relbench.base import Database, Dataset, Table
from relbench.manifest import KIND_AUTOCOMPLETE, TaskManifest

import plurel
from plurel.columns import finish_table
from plurel.config import Config
from plurel.dates import Window, draw_window, even_dates
from plurel.errors import InputError
from plurel.folder import is_complete, read_provenance, write_folder
from plurel.links import LinkResult, draw_links
from plurel.popularity import draw_popularity
from plurel.rng import Name, stream
from plurel.schema import Schema, TableSchema, draw_schema
from plurel.scm import generate_table
from plurel.spill import IN_MEMORY, Spill, release
from plurel.values import TableValues

DEFAULT_PREFIX = "rel-synthetic"


class SyntheticDataset(Dataset):
    """The database of one seed, as a RelBench dataset.

    With config.cache_dir the database is kept there as a RelBench folder and read back.
    """

    def __init__(self, seed: int, config: Config | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise InputError(f"SyntheticDataset: seed must be an integer, got {seed!r}")
        if not isinstance(config, Config | None):
            raise InputError(f"SyntheticDataset: config must be a Config, got {config!r:.60}")
        self.seed = int(seed)
        self.config = config or Config()
        self.name = f"{DEFAULT_PREFIX}-{seed}"
        self.window: Window = draw_window(self.config, seed)
        self.val_timestamp = self.window.val_timestamp
        self.test_timestamp = self.window.test_timestamp

    def __repr__(self) -> str:
        return f"SyntheticDataset(seed={self.seed})"

    def make_schema(self) -> Schema:
        """Tables, keys, columns and sizes; cheap."""
        return draw_schema(self.config, self.seed)

    def make_db(self) -> Database:
        """The whole database, generated or read from config.cache_dir."""
        if self.config.cache_dir is None:
            return self._generate(self.make_schema())
        folder = Path(self.config.cache_dir) / self.name
        if not (is_complete(folder) and read_provenance(folder) == self.provenance()):
            self.save(folder, overwrite=True)
        return relbench.load_dataset(folder).make_db()

    def provenance(self) -> dict[str, Any]:
        """What decides every byte: seed, version and config (but for where things are kept)."""
        config = self.config.to_dict()
        del config["cache_dir"]
        made = {"seed": self.seed, "version": plurel.__version__, "config": config}
        if self.config.schema_file is None:
            del config["sql_params"]
            return made
        from plurel.sql_schema import schema_digest

        return made | {"schema_sha256": schema_digest(self.config)}

    def save(self, path: str | Path, *, name: str | None = None, overwrite: bool = False) -> int:
        """Generate and write the RelBench folder with its autocomplete tasks; the rows written."""
        schema = self.make_schema()
        database = self._generate(schema, Spill(Path(path).absolute().parent))
        write_folder(
            path,
            database=database,
            name=name or Path(path).name,
            val_timestamp=self.val_timestamp,
            test_timestamp=self.test_timestamp,
            tasks=autocomplete_tasks(database, self.window, schema),
            provenance=self.provenance(),
            declared=schema.declared(),
            description=f"Synthetic database, seed {self.seed}.",
            overwrite=overwrite,
        )
        return sum(len(table.df) for table in database.table_dict.values())

    def _generate(self, schema: Schema, spill: Spill = IN_MEMORY) -> Database:
        if self.config.schema_file is not None:
            from plurel.sql_tables import make_sql_tables

            return Database(make_sql_tables(schema, self.config, self.seed))
        finished: dict[str, TableValues] = {}
        tables: dict[str, Table] = {}
        for table in schema.tables:
            names: tuple[Name, ...] = ("table", table.name)
            parents = [finished[key.parent] for key in table.foreign_keys]
            drawn = self.links(schema, table, parents)
            links = [spill.keep(link.parent_of) for link in drawn]
            values = generate_table(table, links, parents, self.config, self.seed, names, spill)
            finished[table.name] = values
            features = finish_table(values, table, self.config, self.seed, names, spill)
            tables[table.name] = self._table(table, links, features, spill)
        return Database(tables)

    def links(
        self, schema: Schema, table: TableSchema, parents: Sequence[TableValues] = ()
    ) -> list[LinkResult]:
        """For each foreign key of the table its references and their block structure. parents: the
        referenced tables' values, which decide references where the config has popularity."""
        if table.sql is not None:
            from plurel.sql_keys import KeyDraw

            drawn = KeyDraw(schema, self.config, self.seed).links(table.name)
            return [LinkResult(link.rows, link.blocks) for link in drawn]
        params, found = self.config.scm_params, []
        for number, key in enumerate(table.foreign_keys):
            num_parents, name = schema.by_name[key.parent].num_rows, ("table", table.name)
            weights = None
            if parents:
                draws = stream(self.seed, *name, "popularity", number)
                weights = draw_popularity(parents[number], num_parents, params, draws)
            draws = stream(self.seed, *name, "links", number)
            found.append(draw_links(num_parents, table.num_rows, params, draws, weights))
        return found

    def _table(
        self,
        table: TableSchema,
        links: list[NDArray[np.int64]],
        features: dict[str, Any],
        spill: Spill,
    ) -> Table:
        """Keys, date and features in one frame."""
        columns: dict[str, Any] = {table.primary_key: spill.keep(np.arange(table.num_rows))}
        if table.time_column is not None:
            dates = even_dates(self.window, table.num_rows)
            columns[table.time_column] = spill.keep(dates)
        for key, parent_of in zip(table.foreign_keys, links, strict=True):
            columns[key.column] = parent_of
        frame = pd.DataFrame(columns | features, copy=False)
        parents = {key.column: key.parent for key in table.foreign_keys}
        return Table(frame, parents, table.primary_key, table.time_column)


def _varies(labels: "pd.Series[Any]") -> bool:
    """Whether there are two distinct labels; without a hash table of them all."""
    return bool(labels.min() < labels.max())


def autocomplete_tasks(
    database: Database, window: Window, schema: Schema | None = None
) -> list[TaskManifest]:
    """A task for each boolean and each numeric feature of the tables with a time column.

    RelBench splits them by time; a column takes part if every split holds at least two distinct
    labels, so that its score is defined. schema: tells features from key columns where there are
    some that RelBench doesn't know of; names that RelBench can't query are passed over.
    """
    features = {
        table.name: {column.name for column in table.columns if column.name.isidentifier()}
        for table in (schema.tables if schema is not None else ())
    }
    tasks = []
    for name, table in database.table_dict.items():
        if table.time_col is None:
            continue
        times = table.df[table.time_col]
        after_val, after_test = (times > t for t in (window.val_timestamp, window.test_timestamp))
        splits = [~after_val, after_val & ~after_test, after_test]
        for column in table.df.columns:
            labels = table.df[column]
            if column == table.pkey_col or column in table.fkey_col_to_pkey_table:
                continue
            if schema is not None and column not in features[name]:
                continue
            fits = labels.dtype.kind in "bif" and all(_varies(labels[s]) for s in splits)
            release()
            if not fits:
                continue
            tasks.append(_autocomplete(name, column, labels.dtype.kind == "b"))
    return tasks


def _autocomplete(table: str, column: str, is_boolean: bool) -> TaskManifest:
    return TaskManifest(
        name=f"{table}-{column}",
        kind=KIND_AUTOCOMPLETE,
        task_type="binary_classification" if is_boolean else "regression",
        description=f"Fill in column {column} of table {table}.",
        entity_table=table,
        target_col=column,
    )
