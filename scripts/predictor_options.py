"""What the commands that ask a `Predictor` share: its options, and the place of what they write."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plurel.atomic import check_file_place
from plurel.cli import Parser
from plurel.errors import InputError

if TYPE_CHECKING:
    from rt.heads import Head
    from rt.predict import Predictor

LEAST_CELLS = 16
"""Of a context that is asked for: fewer hold hardly more than the target's own row."""


def predictor_parser(description: str) -> Parser:
    """A parser with the arguments that name a checkpoint and a task, and how contexts are drawn."""
    parser = Parser(description=description)
    parser.add_argument("checkpoint", help="a run's checkpoint, a model's folder, a .pt file")
    parser.add_argument("database", type=Path, help="a folder in RelBench's format")
    parser.add_argument("task", help="the name of a task of the database")
    what = "whose values name the entities; original: the keys of the source"
    parser.add_argument("--key", dest="key_column", metavar="COLUMN", help=what)
    parser.add_argument("--embedder", help="the model's, where it does not say: a .pt file")
    parser.add_argument("--context_length", type=int)
    parser.add_argument("--recipe")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--pre_dir", type=Path, help="where the database's store is, or is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--head", type=Path, help="a head that --fit_head has written")
    parser.add_argument("--fit_head", type=Path, help="fit a head on the task, write and use it")
    return parser


def check_head(args: argparse.Namespace) -> None:
    """InputError for a head that is read and written."""
    if args.fit_head is not None:
        check_file_place(args.fit_head)
    if args.head and args.fit_head:
        raise InputError("give --head or --fit_head, not both")


def head_of(
    predictor: "Predictor", args: argparse.Namespace, rows: Any, **which: Any
) -> "Head | None":
    """The head that the options name: read, or fitted and written. rows, which: what will be asked,
    as for `Predictor.asked`; InputError for what is not there, before minutes go into a head."""
    from rt.heads import Head  # scikit-learn takes seconds

    if args.fit_head is None:
        return Head.load(args.head) if args.head else None
    predictor.asked(args.database, args.task, rows, **which)
    head = predictor.fit_head(args.database, args.task, seed=args.seed)
    head.save(args.fit_head)
    return head


def open_predictor(args: argparse.Namespace) -> "Predictor":
    """The predictor that the options name."""
    check_length(args.context_length, "--context_length")
    from rt.predict import Predictor  # torch takes seconds

    return Predictor.from_pretrained(
        args.checkpoint, device=args.device, embedder=args.embedder,
        context_length=args.context_length, recipe=args.recipe, pre_dir=args.pre_dir,
    )  # fmt: skip


def check_length(cells: int | None, name: str) -> None:
    """InputError for contexts too short for a label beside the target's row."""
    if cells is not None and cells < LEAST_CELLS:
        raise InputError(
            f"{name} must be {LEAST_CELLS} cells or more, not {cells}: a context holds the "
            "target's row and labels of others"
        )


def note_times(args: argparse.Namespace, asked: Any) -> None:
    """Tell on stderr of times that lie far behind the database, or in training; asked: as
    `notes_on_times` has it."""
    from rt.opened import notes_on_times  # torch takes seconds

    for line in notes_on_times(args.database, args.task, args.pre_dir, asked):
        print(line, file=sys.stderr)


def check_out(path: Path | None, endings: Sequence[str], option: str = "--out") -> None:
    """InputError unless a file can be written there and its name has one of the endings."""
    if path is None:
        return
    check_file_place(path)
    if path.suffix not in endings:
        raise InputError(f"{option} {path}: the name must end in {' or '.join(endings)}")
