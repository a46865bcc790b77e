"""Scripts end in one line, and what they were writing is whole or not there."""

import signal
from pathlib import Path

import pytest

from plurel.atomic import complete_file, new_folder
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
    with pytest.raises(InputError, match="can't write"), complete_file(target / "below"):
        pass
    with pytest.raises(InputError, match="is a folder"), complete_file(tmp_path):
        pass


def _stopped_by_sigterm(place: Path) -> None:
    with clean_exit(), new_folder(place, marker="m") as folder:
        (folder / "half").write_text("x")
        signal.raise_signal(signal.SIGTERM)


def _fail_half_way(target: Path) -> None:
    with complete_file(target) as file:
        file.write_text("half")
        raise ZeroDivisionError
