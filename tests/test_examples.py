"""The notebooks of examples/ run from top to bottom, and what is committed of them has been run."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import nbformat
import pandas as pd
import pytest

from scripts.run_notebooks import EXAMPLES, METADATA, main, run_notebook

NOTEBOOKS = ("from_sql_schema", "your_database")
MOST_BYTES = 400_000
MACHINE_PATH = re.compile(r"/(home|root|tmp|work|Users|var|opt|usr)/")


def read(name: str) -> Any:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def streams(notebook: Any, name: str) -> Iterator[str]:
    for cell in code_cells(notebook):
        yield from (out.text for out in cell.outputs if out.get("name") == name)


def data_of(notebook: Any, cell_id: str, kind: str) -> Any:
    """What a cell shows, in one of the forms in which it shows it."""
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    (found,) = (out.data[kind] for out in cell.outputs if kind in out.get("data", {}))
    return found


def table_of(notebook: Any, cell_id: str) -> pd.DataFrame:
    """A frame that a cell shows."""
    page = data_of(notebook, cell_id, "text/html")
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return pd.DataFrame(cells[1:], columns=["index", *cells[0][1:]]).set_index("index")


def picture_of(notebook: Any, cell_id: str, tmp_path: Path) -> Any:
    """A picture that a cell shows, as pixels."""
    file = tmp_path / f"{cell_id}.png"
    file.write_bytes(base64.b64decode(data_of(notebook, cell_id, "image/png")))
    return matplotlib.image.imread(file)


def test_every_notebook_is_tested() -> None:
    assert tuple(sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed_has_run_from_top_to_bottom(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    # those without outputs import, or set and define something
    assert sum(bool(cell.outputs) for cell in cells) > 0.6 * len(cells)
    assert not list(streams(notebook, "stderr"))
    kinds = {out.output_type for cell in cells for out in cell.outputs}
    assert kinds == {"stream", "execute_result", *kinds & {"display_data"}}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed_is_small_and_names_no_machine(name: str) -> None:
    file = EXAMPLES / f"{name}.ipynb"
    assert file.stat().st_size < MOST_BYTES
    notebook = read(name)
    for cell in code_cells(notebook):
        for out in cell.outputs:
            texts = [out.get("text", ""), *out.get("data", {}).values()]
            shown = [text for text in texts if not text.startswith("iVBOR")]
            assert not any(MACHINE_PATH.search(text) for text in shown), cell.id


def test_a_file_of_sql_becomes_a_database(tmp_path: Path) -> None:
    done = run_notebook(EXAMPLES / "from_sql_schema.ipynb", {"SEEDS": 2})
    assert not list(streams(done, "stderr"))
    assert [c.source for c in done.cells] == [c.source for c in read("from_sql_schema").cells]
    printed = "".join(streams(done, "stdout"))
    assert "is not understood" in printed
    assert 'CREATE TABLE "visit"' in printed
    schema = table_of(done, "lenient")
    assert set(schema["table"]) == {"ward", "doctor", "patient", "visit", "prescription"}
    wrong = table_of(done, "check")["rows"].astype(int)
    assert len(wrong) == 7
    assert (wrong == 0).all()
    for cell in ("schema-picture", "columns-picture", "links-picture"):
        assert picture_of(done, cell, tmp_path).std() > 0.01


def test_a_file_of_duckdb_becomes_predictions(tmp_path: Path) -> None:
    done = run_notebook(EXAMPLES / "your_database.ipynb", {"AIRCRAFT": 10})
    assert not list(streams(done, "stderr"))
    printed = "".join(streams(done, "stdout"))
    assert re.search(r"\+ +flights.tailnum +planes.tailnum", printed)
    assert re.search(r"test +[\d,]+ +[\d,]+ +2013-03-24", printed)
    for cell in ("predict", "head"):
        chances = table_of(done, cell)["prediction"].astype(float)
        assert len(chances) == 5
        assert chances.between(0, 1).all()
        assert chances.nunique() == 5
    scores = table_of(done, "scores")["value"].astype(float)
    assert {"pretrained", "pretrained, head", "untrained", "entity_mean"} <= set(scores.index)
    assert scores.between(0, 1).all()
    assert scores["entity_mean"] > 0.6
    effects = table_of(done, "explain")
    assert {"idle", "planes", "flights"} <= set(effects["part"])
    for cell in ("explain-picture", "context"):
        assert picture_of(done, cell, tmp_path).std() > 0.01


def test_a_notebook_that_fails_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broken.ipynb"
    cell = nbformat.v4.new_code_cell("1 / 0", id="broken")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
    before = file.read_bytes()
    monkeypatch.setattr("sys.argv", ["run_notebooks.py", str(file)])
    with pytest.raises(ValueError, match=r"broken\.ipynb: ZeroDivisionError: division by zero"):
        main()
    assert file.read_bytes() == before
