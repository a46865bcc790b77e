"""Turn relbench folders into stores: tokenise every database, then embed all their texts once.

python scripts/preprocess.py RAW_FOLDER [RAW_FOLDER ...] --out DIR
"""

import argparse
import time
from pathlib import Path

from plurel.cli import Parser, clean_exit
from plurel.paths import pre_dir
from rt.embedding import check_embedder
from rt.store import embed_stores, open_meta, tokenise_many
from rt.text import DEFAULT_EMBEDDER, embedder_name


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("raw", nargs="+", type=Path, metavar="RAW_FOLDER")
    parser.add_argument(
        "--out", type=Path, default=pre_dir(), help="stores go to OUT/<name of the raw folder>"
    )
    parser.add_argument(
        "--embedder",
        default=DEFAULT_EMBEDDER,
        help="all-MiniLM-L6-v2 (offline, default), all-MiniLM-L12-v2, hash, or a model's folder",
    )
    parser.add_argument("--overwrite", action="store_true", help="make stores anew")
    parser.add_argument("--num_proc", type=int, default=1, help="databases tokenised at a time")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    name = embedder_name(args.embedder)
    stores = [args.out / folder.resolve().name for folder in args.raw]
    check_embedder(stores, args.embedder, overwrite=args.overwrite)
    start = time.perf_counter()
    stores = tokenise_many(args.raw, args.out, overwrite=args.overwrite, num_proc=args.num_proc)
    seconds = time.perf_counter() - start
    total = sum(report(store) for store in stores)
    print(f"{total} rows tokenised in {seconds:.1f} s: {total / seconds:,.0f} rows/s")
    embed_stores(stores, args.embedder)
    print(f"stores with embedder {name} under {args.out}")


def report(store: Path) -> int:
    """Print a store's line and what was left out of it; its number of rows."""
    meta = open_meta(store)
    dangling = sum(meta.report["dangling_keys"].values())
    print(
        f"{meta.name}: {meta.num_rows} rows, {meta.num_cells} cells, {meta.num_edges} edges, "
        f"{dangling} dangling keys, {len(meta.tasks)} tasks"
    )
    for name, reason in meta.report["skipped_tasks"].items():
        print(f"  task {name} skipped: {reason}")
    for message in meta.report["messages"]:
        print(f"  {message}")
    return meta.num_rows


if __name__ == "__main__":
    with clean_exit():
        main()
