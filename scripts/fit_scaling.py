"""Fit scaling laws (loss against databases and tokens) to the finished runs of a sweep.

python scripts/fit_scaling.py RUNS [RUNS ...] [--out DIR] [--metric loss auroc] [--loss best]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from plurel.atomic import check_writable, complete_file
from plurel.cli import Parser, clean_exit, counted
from plurel.errors import InputError
from rt.scaling import HUBER, RESAMPLINGS, Fit, TooFewRunsError, fit
from rt.scaling_points import FORMS, Form, Points
from rt.scaling_report import PUBLISHED, Section, to_json, to_markdown
from rt.scaling_runs import DEFAULT_METRICS, METRICS, SCORES, Sweep, label, read_sweep

FEWEST_RESAMPLES = 100


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="runs, or folders above")
    parser.add_argument(
        "--out", type=Path, default=Path("scaling"), help="folder of the results (scaling)"
    )
    parser.add_argument(
        "--metric",
        nargs="+",
        choices=METRICS,
        metavar="METRIC",
        help=f"of {', '.join(METRICS)} (default: {', '.join(DEFAULT_METRICS)}, where runs have it)",
    )
    parser.add_argument(
        "--loss",
        default="end",
        choices=("end", "best"),
        help="held-out loss at the end or of the best step",
    )
    parser.add_argument(
        "--split", default="val", choices=("val", "test"), help="of the scores on real tasks"
    )
    parser.add_argument("--mixed", action="store_true", help="pool runs that differ elsewhere too")
    parser.add_argument("--resamples", type=int, default=1000, help="refits for the intervals")
    parser.add_argument(
        "--resample", default="auto", choices=RESAMPLINGS, help="what is drawn again for a refit"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument(
        "--huber", type=float, default=HUBER, help="residual of log L that counts linearly beyond"
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """InputError, before anything is read, for numbers and places that can't be."""
    if args.resamples < FEWEST_RESAMPLES:
        raise InputError(f"--resamples must be {FEWEST_RESAMPLES} or more, not {args.resamples}")
    if not 0 < args.confidence < 1:
        raise InputError(f"--confidence must lie between 0 and 1, not be {args.confidence}")
    if not 0 < args.huber < float("inf"):
        raise InputError(f"--huber must be above 0, not {args.huber}")
    check_writable(args.out)


def choose_metrics(sweep: Sweep, args: argparse.Namespace) -> list[str]:
    """The metrics to fit; InputError if no run has one that was asked for."""
    if not sweep.runs:
        raise InputError(
            f"no finished run in {', '.join(map(str, args.runs))} "
            f"({counted(len(sweep.unfinished), 'unfinished run')}): wait for them, or start again"
        )
    had = {name for run in sweep.runs for name in (*run.values, *run.unusable)}
    for name in args.metric or ():
        if name not in had:
            raise InputError(f"--metric {name}: no finished run has it ({label_of(name, args)})")
    return list(dict.fromkeys(args.metric or [m for m in DEFAULT_METRICS if m in had]))


def label_of(metric: str, args: argparse.Namespace) -> str:
    return label(metric, args.loss, args.split)


def fit_metric(
    sweep: Sweep, metric: str, args: argparse.Namespace, progress: Callable[[int], object]
) -> Section:
    """All forms of one metric."""
    left_out: dict[str, list[Path]] = {}
    for run in sweep.runs:
        if metric not in run.values:
            reason = run.unusable.get(metric, f"{metric} is not in training.json")
            left_out.setdefault(reason, []).append(run.folder)
    points = Points.of(
        (run.databases, run.budget, run.tokens, run.seed, run.values[metric])
        for run in sweep.runs
        if metric in run.values
    )
    fits = {form.name: fit_form(points, form, args, progress) for form in FORMS}
    published = PUBLISHED if metric == "loss" and sweep.synthetic else {}
    return Section(metric, label_of(metric, args), points, fits, left_out, published)


def fit_form(
    points: Points, form: Form, args: argparse.Namespace, progress: Callable[[int], object]
) -> Fit | str:
    """The fit, or why there is none."""
    try:
        return fit(
            points,
            form,
            delta=args.huber,
            resampling=args.resample,
            resamples=args.resamples,
            confidence=args.confidence,
            seed=args.seed,
            progress=progress,
        )
    except TooFewRunsError as error:
        progress(args.resamples)
        return str(error)


def main() -> None:
    args = parse_args()
    check(args)
    scored = args.metric is None or any(metric in SCORES for metric in args.metric)
    sweep = read_sweep(args.runs, loss=args.loss, split=args.split, scored=scored, mixed=args.mixed)
    metrics = choose_metrics(sweep, args)
    total = len(metrics) * len(FORMS) * args.resamples
    with tqdm(total=total, desc="fitting", unit="refit", disable=None, leave=False) as bar:
        sections = [fit_metric(sweep, metric, args, bar.update) for metric in metrics]
    write(sweep, sections, args)


def write(sweep: Sweep, sections: list[Section], args: argparse.Namespace) -> None:
    """Print the tables and write everything."""
    from rt.scaling_plots import plot_section  # only here: matplotlib takes a second to import

    names = ("loss", "split", "mixed", "resamples", "resample", "confidence", "seed", "huber")
    settings = {name: getattr(args, name) for name in names}
    markdown = to_markdown(sweep, sections)
    with complete_file(args.out / "scaling.md") as file:
        file.write_text(markdown, encoding="utf-8")
    with complete_file(args.out / "scaling.json") as file:
        content = to_json(sweep, sections, settings)
        file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(markdown)
    print(args.out / "scaling.md")
    print(args.out / "scaling.json")
    for section in sections:
        if section.fitted():
            print(plot_section(section, args.out / f"{section.metric}.png"))


if __name__ == "__main__":
    with clean_exit():
        main()
