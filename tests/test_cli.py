"""Scripts end in one line, and what they were writing is whole or not there."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_disk import files_up_to

from plurel.atomic import check_file_place, check_writable, complete_file, new_folder
from plurel.cli import Parser, clean_exit
from plurel.errors import InputError


def test_clean_exit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, clean_exit():
        raise InputError("table x:\n  broken")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: table x: broken\n"
    with pytest.raises(SystemExit) as caught, clean_exit():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    with pytest.raises(ZeroDivisionError), clean_exit():
        raise ZeroDivisionError


def test_clean_exit_names_the_file_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, clean_exit():
        (tmp_path / "none").read_text()
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {tmp_path / 'none'}: No such file")
    assert shown.count("\n") == 1


def test_sigterm_cleans_up_and_is_the_default_again_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        _stopped_by_sigterm(tmp_path / "out")
    assert caught.value.code == 143
    assert capsys.readouterr().err == "terminated\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_unknown_options_are_one_line() -> None:
    with pytest.raises(InputError, match=r"--zoom; --help lists"):
        Parser().parse_args(["--zoom"])


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with complete_file(target) as file:
        file.write_text("first")
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(target)
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]
    with (
        pytest.raises(InputError, match="is a file, not a folder"),
        complete_file(target / "below"),
    ):
        pass
    with pytest.raises(InputError, match="is a folder"), complete_file(tmp_path):
        pass


@pytest.mark.parametrize("writer", [complete_file, partial(new_folder, marker="m")])
def test_a_full_disk_is_named_and_nothing_is_left(
    tmp_path: Path, writer: Callable[..., Any]
) -> None:
    line = rf"can't write {tmp_path}/out: File too large; check the rights and the space there"
    with pytest.raises(InputError, match=line), files_up_to(100), writer(tmp_path / "out") as place:
        (place / "m" if place.is_dir() else place).write_bytes(bytes(101))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for good in ("new", "new/deep", "."):
        check_writable(tmp_path / good)
    with pytest.raises(InputError, match="file is a file, not a folder"):
        check_writable(tmp_path / "file" / "below")
    with pytest.raises(InputError, match="is a folder, not a file"):
        check_file_place(tmp_path)
    check_file_place(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_without_rights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the superuser may write anywhere: what the system would say is put in its mouth
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(InputError, match=rf"to {tmp_path}/a/b: Permission denied \({tmp_path}\)"):
        check_writable(tmp_path / "a" / "b")


def _stopped_by_sigterm(place: Path) -> None:
    with clean_exit(), new_folder(place, marker="m") as folder:
        (folder / "half").write_text("x")
        signal.raise_signal(signal.SIGTERM)


def _fail_half_way(target: Path) -> None:
    with complete_file(target) as file:
        file.write_text("half")
        raise ZeroDivisionError
