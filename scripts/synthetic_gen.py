"""Generate synthetic databases as RelBench folders: plurel.Config -> plurel.corpus."""

import argparse
from pathlib import Path

from plurel.atomic import check_writable
from plurel.cli import Parser, clean_exit, counted
from plurel.config import PRESETS, Config
from plurel.corpus import EXECUTORS, Report, generate_corpus, shard
from plurel.dataset import DEFAULT_PREFIX
from plurel.errors import InputError
from plurel.paths import pre_dir, raw_dir
from plurel.processes import available_cores

EMBEDDER = "all-MiniLM-L6-v2"


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--seed_offset", type=int, default=0, help="seed of the first (default: %(default)s)"
    )
    parser.add_argument(
        "--num_dbs", type=int, default=1, help="number of databases (default: %(default)s)"
    )
    parser.add_argument(
        "--num_proc",
        type=int,
        default=available_cores(),
        help="processes (default: one per available core)",
    )
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="processes",
        help="ray: the cluster of RAY_ADDRESS, or one started here (default: %(default)s)",
    )
    parser.add_argument(
        "--shard", default="0/1", metavar="i/n", help="every n-th seed from the i-th on, for jobs"
    )
    parser.add_argument(
        "--config",
        default="default",
        help=f"YAML file or preset: {', '.join(PRESETS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a config value, for example database_params.num_tables_choices=4",
    )
    parser.add_argument("--db_prefix", default=DEFAULT_PREFIX, help="databases: <prefix>-<seed>")
    parser.add_argument("--out", type=Path, help="folder of the databases ($PLUREL_HOME/raw)")
    parser.add_argument("--overwrite", action="store_true", help="replace complete databases")
    add_store_options(parser)
    args = parser.parse_args()
    if not args.preprocess and (args.pre_out or args.embedder):
        parser.error("--pre_out and --embedder are for stores: give --preprocess too")
    return args


def add_store_options(parser: Parser) -> None:
    parser.add_argument("--preprocess", action="store_true", help="write the stores as well")
    parser.add_argument("--pre_out", type=Path, help="folder of the stores ($PLUREL_HOME/pre)")
    parser.add_argument("--embedder", help=f"text embedder of the stores (default: {EMBEDDER})")


def preprocess(report: Report, out: Path, args: argparse.Namespace) -> None:
    """Stores of the databases that are complete."""
    from rt.store import preprocess_many  # torch and the embedder only where they are needed

    preprocess_many(
        list(report.folders.values()),
        out,
        embedder=args.embedder or EMBEDDER,
        overwrite=args.overwrite,
        num_proc=args.num_proc,
    )


def main() -> None:
    args = parse_args()
    if args.num_dbs < 1 or args.seed_offset < 0:
        raise InputError("--num_dbs must be at least 1 and --seed_offset at least 0")
    if args.preprocess:
        from rt.text import embedder_folder

        # refused before the work, not after it
        embedder_folder(args.embedder or EMBEDDER)
        check_writable(args.pre_out or pre_dir())
    out = args.out or raw_dir()
    report = generate_corpus(
        shard(range(args.seed_offset, args.seed_offset + args.num_dbs), args.shard),
        Config.load(args.config).overridden(args.set),
        out,
        prefix=args.db_prefix,
        num_proc=args.num_proc,
        executor=args.executor,
        overwrite=args.overwrite,
    )
    if args.preprocess:
        preprocess(report, args.pre_out or pre_dir(), args)
    print(
        f"{counted(len(report.generated), 'database')} generated "
        f"({counted(report.num_rows, 'row')}), "
        f"{len(report.skipped)} complete before, {len(report.failed)} failed: {out}"
    )
    if report.failed:
        seeds = ", ".join(map(str, sorted(report.failed)))
        first, reason = min(report.failed.items())
        raise InputError(
            f"these seeds failed: {seeds} (seed {first}: {reason}); start again to retry them"
        )


if __name__ == "__main__":
    with clean_exit():
        main()
