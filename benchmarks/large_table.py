"""One table of many rows, written as a folder: speed, and memory against the size of the table.

    python benchmarks/large_table.py [--rows 10000000] [--columns 12]

peak_mib is the process's largest resident memory, table_mib what the table's columns would take
as float64, import_mib what was resident before anything was generated.
"""

import argparse
import tempfile
import time
from pathlib import Path

from _report import finish, peak_mib, print_table

from plurel import Config, SyntheticDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=12)
    args = parser.parse_args()
    config = Config().overridden(
        [
            "database_params.num_tables_choices.value=[1, 1]",
            f"database_params.num_rows_activity_table_choices.value=[{args.rows}, {args.rows}]",
            f"database_params.num_cols_choices.value=[{args.columns}, {args.columns}]",
        ]
    )
    before = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = SyntheticDataset(0, config).save(Path(folder) / "large")
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet")) / 2**20
    table_mib = args.rows * args.columns * 8 / 2**20
    print_table(
        ("rows", "columns", "seconds", "parquet MiB", "table MiB", "peak MiB"),
        [(rows, args.columns, seconds, size, table_mib, peak_mib())],
    )
    finish(
        rows_per_s=rows / seconds,
        peak_mib=peak_mib(),
        table_mib=table_mib,
        import_mib=before,
    )


if __name__ == "__main__":
    main()
