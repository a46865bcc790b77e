"""Linking 10 million child rows to 1 million parents, one core.

python benchmarks/links.py [--children 10000000] [--parents 1000000]
"""

import argparse
import time

from _report import finish, peak_mib, print_table

from plurel import Config
from plurel.links import draw_links
from plurel.rng import stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=10_000_000)
    parser.add_argument("--parents", type=int, default=1_000_000)
    args = parser.parse_args()
    params = Config().scm_params
    draw_links(100, 100, params, stream(0, "warm"))
    rows = []
    for seed in range(5):
        start = time.perf_counter()
        draw_links(args.parents, args.children, params, stream(seed, "benchmark"))
        rows.append((seed, time.perf_counter() - start))
    print_table(("seed", "seconds"), rows)
    finish(seconds=max(row[1] for row in rows), peak_mib=peak_mib())


if __name__ == "__main__":
    main()
