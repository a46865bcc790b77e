"""Run the notebooks of examples/ from top to bottom and save them with what they print.

python scripts/run_notebooks.py [NOTEBOOK ...]
"""

import base64
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plurel.atomic import complete_file
from plurel.cli import Parser, clean_exit
from plurel.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 900
"""That a cell may take."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What a saved notebook says of the machine that ran it."""


def run_notebook(notebook: Path, given: Mapping[str, object] | None = None) -> Any:
    """The notebook with the outputs of a fresh kernel, which works in a temporary copy of the
    notebook's folder and shows no progress bars. given: values of names, assigned after the cell
    tagged `parameters`. InputError for the first cell that fails."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    read = nbformat.read(notebook, as_version=4)
    sources = [cell.source for cell in read.cells]
    for cell in read.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in (given or {}).items())
    with tempfile.TemporaryDirectory(prefix="plurel-notebook-") as work:
        folder = Path(work) / "examples"
        shutil.copytree(notebook.parent, folder)
        client = NotebookClient(
            read, timeout=SECONDS, record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        kernel = client.config.KernelManager
        kernel.transport, kernel.connection_file = "ipc", str(Path(work) / "kernel.json")
        try:
            client.execute(env=_environment(Path(work)))
        except CellExecutionError as error:
            raise InputError(f"{notebook.name}: {error.ename}: {error.evalue}") from error
    for cell, source in zip(read.cells, sources, strict=True):
        cell.source = source
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
    read.metadata = nbformat.from_dict(METADATA)
    return read


def _smaller(picture: str) -> str:
    """A PNG in base64 with 256 colours, a third of the bytes."""
    from PIL import Image

    written = io.BytesIO()
    drawn = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    drawn.quantize(256, dither=Image.Dither.NONE).save(written, "png", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def _environment(work: Path) -> dict[str, str]:
    """Of the kernel: this repository's packages, no bars, nothing kept in the home folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "TQDM_DISABLE": "1",
        "IPYTHONDIR": str(work / "ipython"), "TMPDIR": str(work),
        # of tqdm, for bars that are not shown
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }  # fmt: skip


def main() -> None:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="(default: all of examples/)")
    import nbformat

    for notebook in parser.parse_args().notebooks or sorted(EXAMPLES.glob("*.ipynb")):
        done = run_notebook(notebook)
        with complete_file(notebook) as file:
            nbformat.write(done, file)
        print(f"{notebook}: {notebook.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with clean_exit():
        main()
