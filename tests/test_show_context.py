"""scripts/show_context.py: what it prints and writes, and how it refuses bad input."""

import sys

import pytest

from plurel.cli import clean_exit
from rt.viz import Asked, sample_context
from rt.viz_text import to_text
from scripts import show_context
from tests.libraries import EMBEDDER, library_store


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return library_store(tmp_path_factory.mktemp("library"))


LABELS_IN_TEXT = """\
library: task late, target 0 of split test
predicts late.late as of 2020-03-10; nothing later is visible
recipe labels, protocol split: 8 rows, 16 cells of at most 64

part                      rows  cells  labels
target                       1      2       0
ancestor                     1      1       0
own label                    2      4       2
other label                  1      2       1
around another label         2      4       0
neighbourhood                1      3       0
in all                       8     16       3

TARGET
   0  late  2020-03-10  target
      timestamp 2020-03-10 | late ?  <- to predict

ANCESTOR
   1  members  parent of row 0 (by late.member)
      name Ada

OWN LABEL
   2  late  2020-01-20  label of the same entity (members, row 1), 50 days earlier
      timestamp 2020-01-20 | late false (label)
   3  late  2020-01-10  label of the same entity (members, row 1), 60 days earlier
      timestamp 2020-01-10 | late true (label)

OTHER LABEL
   4  late  2020-01-10  label of another entity (members, row 5), by recency, 60 days earlier
      timestamp 2020-01-10 | late false (label)

AROUND ANOTHER LABEL
   5  members              around row 4: parent of row 4 (by late.member)
      name <script>alert(1)</script>
   6  loans    2020-01-06  around row 4: child of row 5 (by loans.member)
      day 2020-01-06 | title Walden Walden Walden Walden Walden Walden Walden Walden Wal… | weeks 3

NEIGHBOURHOOD
   7  loans  2020-01-05  child of row 1 (by loans.member)
      day 2020-01-05 | title Emma & \ufffd[31mother $tories | weeks 2

NOT SHOWN
  1 of 3 other label rows of the entity: their label is known only 30 days after their time, which
    is too late
  1 of 2 rows that reference row 1 (members): they lie after the bound
"""


def test_a_context_as_text(library):
    asked = Asked("late", recipe="labels", context_length=64, embedder=EMBEDDER)
    assert to_text(sample_context(library, asked)) == LABELS_IN_TEXT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "best"], "argument --recipe: invalid choice: 'best'"),
        (["--number", "2"], "target 2: split test of late has 2 targets, numbered from 0"),
        (["--number", "-1"], "target -1: split test"),
        (["--task", "never"], "no task 'never'; it has: late; a column is a task too, such as"),
        (["--max_rows", "0"], "--max_rows must be 1 or more, not 0"),
        (["--context_length", "0"], "--context_length must be 1 or more, not 0"),
        (["--out", "a.gif"], "a.gif: --out must end in .html, or for a picture in .png"),
        (["--out", "/dev/null/a.html"], "/dev/null is a file, not a folder"),
        (["--out", "/dev/null/a.png"], "/dev/null is a file, not a folder"),
        (["--embedder", "hash2"], "hash2"),
        (["--split", "train", "--protocol", "split"], "--protocol split is of val and test"),
        (["--masks", "--out", "a.png", "--max_rows", "3"], "--max_rows is not for --masks: leave"),
        (["--masks"], "--masks needs a picture to draw to: give --out FILE.png"),
        (["--masks", "--out", "a.html"], "--masks needs a picture to draw to: give --out FILE.png"),
    ],
)
def test_bad_input_is_one_line(library, capsys, monkeypatch, options, said):
    given = ["show_context.py", str(library), "--task", "late", "--embedder", EMBEDDER, *options]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as caught, clean_exit():
        show_context.main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert said in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_the_script_prints_text_or_the_file(library, capsys, monkeypatch, tmp_path):
    given = ["show_context.py", str(library), "--task", "late", "--embedder", EMBEDDER]
    monkeypatch.setattr(sys, "argv", [*given, "--recipe", "labels", "--context_length", "64"])
    show_context.main()
    assert capsys.readouterr().out == LABELS_IN_TEXT
    for name, options in (("a.png", []), ("a.html", []), ("masks.png", ["--masks"])):
        monkeypatch.setattr(sys, "argv", [*given, *options, "--out", str(tmp_path / name)])
        show_context.main()
        assert capsys.readouterr().out == f"{tmp_path / name}\n"
        assert (tmp_path / name).stat().st_size > 2_000
