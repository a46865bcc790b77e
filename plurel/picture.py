"""Figures as files."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from plurel.atomic import complete_file
from plurel.errors import InputError

DPI = 110


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
        small: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if ending == "png" else {}
        figure.savefig(file, dpi=DPI, facecolor="white", format=ending, **small)
    return path
