"""The store: a relbench folder turned into arrays that the sampler maps into memory.

A store folder holds

- `store.safetensors`, R rows, C cells, E foreign-key references, all arrays row-major:
  row_time i64[R] seconds since 1970 UTC, `rustler.NO_TIME` for rows without a time;
  cell_ptr u64[R+1]; cell_column u32[C] (column numbers rise within a row); cell_value u32[C]: the
  bits of a float32 (normalised number, datetime, boolean) or, for text columns, a text number;
  parent_ptr u64[R+1], parent_row u32[E]; child_ptr u64[R+1], child_row u32[E], child_time i64[E],
  children of a row sorted by (time, row), those without a time (NO_TIME) first;
  row_source u32[R]: position of the row in its parquet file (rows of a table stand in order of
  time in the store, rows without a time last; equal times keep the file's order).
  The header's metadata has {"format_version": "<n>"}.
- `meta.json`: {"format_version", "name", "val_timestamp", "test_timestamp" (seconds),
  "num_rows", "num_cells", "num_edges", "num_texts",
  "tables": [{"name", "kind": "database" | "task", "rows": [start, end], "primary_key",
     "time_column", "foreign_keys": [{"column", "parent": table number}], "columns": [start, end]}],
  "columns": [{"name", "table", "type", "mean", "std", "fitted_on", "name_text": text number of the
     string "<column> of <table>"}],
  "tasks": [{"name", "kind", "task_type", "table", "column", "entity_table", "entity_column",
     "horizon": seconds or null, "splits": {"train": [start, end], "val", "test"},
     "hidden_columns": [column numbers], "description"}],
  "z_clip", "report": {...counts of dangling keys, skipped tasks and the like}}
- `strings.parquet`: column `text`, T distinct strings in order of their numbers, no nulls;
- `text.<embedder>.safetensors`: `embedding` f16[T, d_text], one file an embedder.

The rows of a table are one contiguous range, tables in the order of meta["tables"]; database
tables first, then one table a task with label files: its rows are the label rows of train, val
and test in this order (each split a contiguous range), its columns the label's time and target,
its one parent the entity row. An autocomplete task has no table of its own: its targets are the
cells of a database column; its splits are the ranges of rows with time <= val_timestamp, <=
test_timestamp and later (RelBench's own rule), for a table without a time column the first 80 %,
the next 10 % and the last 10 % of the rows.
Null cells are absent. Key columns are no cells.
"""
