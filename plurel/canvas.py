"""What the pictures share: colours, saving, and reading a database folder."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from relbench.manifest import DatasetManifest

from plurel.errors import InputError
from plurel.folder import MANIFEST, is_complete

ENTITY, ACTIVITY = "#cfe0f3", "#fbd9b5"
INK, SOFT = "#22303c", "#7b8a97"


def save(figure: Figure, path: str | Path) -> Path:
    """Write the picture; raises InputError for a file ending that is no picture format."""
    path = Path(path)
    formats = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in formats:
        raise InputError(f"{path}: a picture needs an ending such as .png, .svg or .pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white")
    return path


def read_manifest(folder: Path) -> DatasetManifest:
    """The manifest of a database folder."""
    if not is_complete(folder):
        raise InputError(f"{folder} is not a database folder (no {MANIFEST}); check the path")
    return DatasetManifest.load(folder / MANIFEST)


def open_table(folder: Path, table: str) -> pq.ParquetFile:
    """One table's file; raises InputError if it is missing or broken."""
    file = folder / "db" / f"{table}.parquet"
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file} can't be read: {' '.join(str(error).split())}") from None


def read_table(folder: Path, table: str) -> pd.DataFrame:
    """One table as a data frame."""
    return open_table(folder, table).read().to_pandas()
