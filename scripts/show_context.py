"""What the model sees for one target: the rows of its context, why each is there, and its cells.

python scripts/show_context.py STORE --task TASK [--recipe labels] [--split test --number 0]
    [--out FILE.png | FILE.html]

Without --out as text; a picture or a page by the ending of --out. With --masks the picture shows
which of its cells attend to which.
"""

import argparse
from pathlib import Path

from plurel.atomic import check_file_place
from plurel.cli import Parser, clean_exit
from plurel.errors import InputError
from rt.data import Batch
from rt.recipes import PRESETS
from rt.scores import PROTOCOLS
from rt.text import DEFAULT_EMBEDDER
from rt.viz import Asked, Context, in_words, sample
from rt.viz_html import write_html
from rt.viz_masks import masks_of, plot_masks
from rt.viz_png import plot_context
from rt.viz_text import to_text

PICTURES = (".png", ".svg", ".pdf")
PICTURE_ROWS, PICTURE_CELLS, MASK_CELLS = 40, 34, 60


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("store", type=Path, help="store folder")
    parser.add_argument("--task", required=True, help="task of the store, or TABLE.COLUMN")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--number", type=int, default=0, help="which target of the split")
    parser.add_argument("--protocol", choices=PROTOCOLS,
                        help="what may be known (split; of train targets rolling)")  # fmt: skip
    parser.add_argument("--recipe", default="published", choices=tuple(PRESETS))
    parser.add_argument("--context_length", type=int, default=256, help="cells")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--max_rows", type=int, help="rows that are shown (picture: 40, else all)")
    parser.add_argument("--max_cells", type=int, help="cells likewise (picture: 34, masks: 60)")
    parser.add_argument("--out", type=Path, help="file to write: .html, .png, .svg or .pdf")
    parser.add_argument("--masks", action="store_true", help="draw the attention masks to --out")
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """InputError, before anything is read, for sizes and places that can't be."""
    for name in ("max_rows", "max_cells", "context_length"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be 1 or more, not {value}")
    if args.protocol == "split" and args.split == "train":
        raise InputError("--protocol split is of val and test targets: leave it out")
    if args.masks and args.max_rows is not None:
        raise InputError("--max_rows is not for --masks: leave it out, or give --max_cells")
    if args.masks and (args.out is None or args.out.suffix not in PICTURES):
        raise InputError(f"--masks needs a picture to draw to: give --out FILE{PICTURES[0]}")
    if args.out is not None:
        if args.out.suffix not in (*PICTURES, ".html"):
            endings = ", ".join(PICTURES)
            raise InputError(f"{args.out}: --out must end in .html, or for a picture in {endings}")
        check_file_place(args.out)


def show(seen: Context, args: argparse.Namespace) -> None:
    if args.out is None:
        print(to_text(seen, args.max_rows, args.max_cells), end="")
        return
    if args.out.suffix == ".html":
        write_html(seen, args.out, args.max_rows, args.max_cells)
    else:
        plot_context(
            seen,
            args.out,
            max_rows=args.max_rows or PICTURE_ROWS,
            max_cells=args.max_cells or PICTURE_CELLS,
        )
    print(args.out)


def main() -> None:
    args = parse_args()
    check(args)
    asked = Asked(
        task=args.task,
        split=args.split,
        number=args.number,
        recipe=args.recipe,
        protocol=args.protocol or "split",
        context_length=args.context_length,
        embedder=args.embedder,
    )
    sampled = sample(args.store, asked)
    seen = in_words(args.store, asked, sampled)
    if args.masks:
        masks = masks_of(Batch.from_arrays(sampled.arrays))
        print(plot_masks(seen, masks, args.out, max_cells=args.max_cells or MASK_CELLS))
    else:
        show(seen, args)


if __name__ == "__main__":
    with clean_exit():
        main()
