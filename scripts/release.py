"""A run's model as a folder to publish: weights in bfloat16, config, model card, license.

python scripts/release.py RUN --name plurel-small --out FOLDER [--scores SCORES.json ...]
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # of `scripts`; the rest is installed

from plurel.cli import Parser, clean_exit
from plurel.errors import InputError


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--out", type=Path, required=True, help="the folder that is written")
    parser.add_argument("--checkpoint", default="best", help="best, latest or step_N (best)")
    parser.add_argument("--unfinished", action="store_true", help="the run need not be at its end")
    parser.add_argument(
        "--context_length", type=int, metavar="CELLS",
        help="that it reads where nothing else is asked for (those that it was trained with)",
    )  # fmt: skip
    parser.add_argument("--recipe", help="of the contexts that it reads, likewise, such as fitted")
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], help="files of evaluate.py out=, for the card"
    )
    parser.add_argument("--notes", type=Path, help="Markdown for the card: what was used for what")
    args = parser.parse_args()
    from rt.release import LICENSE, release  # torch takes seconds

    notes = _text(args.notes) if args.notes else ""
    license_text = _text(Path(__file__).resolve().parent.parent / LICENSE)
    made = release(
        args.run, args.out, args.name, license_text,
        checkpoint=args.checkpoint, unfinished=args.unfinished,
        context_length=args.context_length, recipe=args.recipe,
        scores=args.scores, notes=notes,
    )  # fmt: skip
    print(f"{made.folder}: {made.parameters:,} parameters, {made.bytes / 1e6:.1f} MB of weights")
    print(f"to publish it: hf upload OWNER/{args.name} {made.folder}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error})") from None


if __name__ == "__main__":
    with clean_exit():
        main()
