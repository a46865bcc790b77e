"""Figures as files."""

from pathlib import Path

from matplotlib.figure import Figure

from plurel.atomic import complete_file
from plurel.errors import InputError


def save(figure: Figure, path: str | Path) -> Path:
    """Write the picture, whole or not at all; its path.

    Raises InputError for a file ending that is no picture format, and for a place that can't be
    written.
    """
    path = Path(path)
    ending = path.suffix.lstrip(".")
    if ending not in figure.canvas.get_supported_filetypes():
        raise InputError(f"{path}: a picture needs an ending such as .png, .svg or .pdf")
    with complete_file(path) as file:
        figure.savefig(file, dpi=130, facecolor="white", format=ending)
    return path
