"""Generation at the default config, one core, one thread: seeds 0..7.

    python benchmarks/generate.py [--seeds 8] [--config default]

rows_per_s and cells_per_s count what `make_db` makes; writing the folder is not timed.
"""

import argparse
import time

from _report import finish, peak_mib, print_table

from plurel import Config, SyntheticDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--config", default="default")
    args = parser.parse_args()
    config = Config.load(args.config)
    rows = []
    for seed in range(args.seeds):
        start = time.perf_counter()
        database = SyntheticDataset(seed, config).make_db()
        seconds = time.perf_counter() - start
        tables = [table.df for table in database.table_dict.values()]
        cells = sum(int(table.notna().to_numpy().sum()) for table in tables)
        rows.append((seed, len(tables), sum(map(len, tables)), cells, seconds))
    print_table(("seed", "tables", "rows", "cells", "seconds"), rows)
    total = sum(row[4] for row in rows)
    finish(
        rows_per_s=sum(row[2] for row in rows) / total,
        cells_per_s=sum(row[3] for row in rows) / total,
        dbs_per_s=len(rows) / total,
        peak_mib=peak_mib(),
    )


if __name__ == "__main__":
    main()
