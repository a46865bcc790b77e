"""What is wrong with a request for a corpus is said in one line, before any work."""

import re
import sys
from pathlib import Path

import pytest

from plurel.cli import clean_exit
from plurel.config import Config
from plurel.corpus import generate_corpus
from plurel.errors import InputError
from scripts.synthetic_gen import main

CONFIG = Config.preset("demo")


@pytest.mark.parametrize("prefix", ["a/b", "", ".", ".."])
def test_a_prefix_is_a_plain_name(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"db_prefix '{prefix}' must be a plain name")):
        generate_corpus([0], CONFIG, tmp_path / "corpus", prefix=prefix)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("CREATE TABLE t (\n a frobnicator);", [], r"a\.sql, line 2: column t\.a has the type"),
        ("CREATE TABLE t (a int);", ["sql_params.num_rows={u: 3}"], "declares no table 'u'"),
        ("CREATE TABLE t (a int);", ["sql_params.time_columns={t: a}"], "'a' must be a date"),
    ],
)
def test_a_bad_schema_is_refused_before_the_work(
    text: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.sql").write_text(text)
    config = Config(schema_file=str(tmp_path / "a.sql")).overridden(overrides)
    with pytest.raises(InputError, match=message):
        generate_corpus(range(30), config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_takes_nothing_is_refused_before_the_work() -> None:
    with pytest.raises(InputError, match=r"can't write to /proc/x: .*; choose another place"):
        generate_corpus([0], CONFIG, "/proc/x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nothing.yaml"], "error: config file nothing.yaml does not exist"),
        (["--set", "scm_params.mlp_emb=3"], "did you mean 'mlp_emb_dim'"),
        (["--num_proc", "0"], "error: num_proc must be at least 1"),
        (["--shard", "3/3"], "error: shard '3/3' must be i/n"),
        (["--pre_out", "stores"], "error: --pre_out and --embedder are for stores"),
        (["--embedder", "x"], "error: --pre_out and --embedder are for stores"),
        (["--num_db", "3"], "error: unrecognized arguments: --num_db"),
        (["--executor", "slurm"], "error: argument --executor: invalid choice: 'slurm'"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["gen", "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as caught, clean_exit():
        main()
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
