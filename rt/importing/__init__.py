"""Real databases, wherever they are, as RelBench 3 folders.

    source ── stage ──► parquet files with positional column names, values in a few types
                 │
                 ├─ propose: keys, times ───────► plan (YAML), which a person may edit
                 └─ check, layout, write ──► folder: keys numbered, rows in order of time

tables.py     what every source tells: tables, columns, declared keys; and streams: Arrow batches
open.py       which source a path or URL is
duck.py       DuckDB files, and how DuckDB's types become ours
files.py      folders of CSV and Parquet      sqlite.py   SQLite files
server.py     PostgreSQL and any other SQLAlchemy URL
staging.py    rows on disk, and questions about them that DuckDB answers in bounded memory
run.py        the whole path: `plan_import`, `import_database`
"""
