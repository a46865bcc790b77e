"""meta.json of a store, typed, and the constants of the format (the format: `rt.store`)."""

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plurel.errors import InputError
from rustler import FORMAT_VERSION, NO_TIME, SEMANTIC_TYPES

__all__ = ["CLASS_LIMIT", "FORMAT_VERSION", "NO_TIME", "SEMANTIC_TYPES", "TEXT_LIMIT", "Z_CLIP"]

Z_CLIP = 20.0
"""Bound of every normalised value: values further than this many deviations off are cut to it."""
TEXT_LIMIT = 8192
"""Characters of a text value that are kept."""
CLASS_LIMIT = 1000
"""Classes of a multiclass task that meta.json names."""
META = "meta.json"

Range = tuple[int, int]


@dataclass(frozen=True)
class ForeignKeyMeta:
    """A foreign key: its column, the number of the table that it references, and that of the text
    "<column> of <table>", None in stores that were written before there was one."""

    column: str
    parent: int
    name_text: int | None = None


@dataclass(frozen=True)
class TableMeta:
    """One table. rows: its global row numbers; columns: its column numbers; splits: its rows by
    time (database tables) or by label file (task tables). num_parents: places of each row in
    `parent_row`, one a foreign key; num_children: references to its rows; record_bytes: size of
    its records; packed: whether these leave out absent cells."""

    name: str
    kind: str
    rows: Range
    primary_key: str | None
    time_column: str | None
    foreign_keys: tuple[ForeignKeyMeta, ...]
    columns: Range
    splits: dict[str, Range]
    num_parents: int
    num_children: int
    record_bytes: int
    packed: bool


@dataclass(frozen=True)
class ColumnMeta:
    """One column. A value is (value - mean) / std, clipped; `train_varies`: the train rows hold at
    least two different values. width: bytes of a cell in a record; optional: whether rows may lack
    it; dictionary: the number of distinct values if cells are places among these, else None."""

    name: str
    table: int
    type: str
    mean: float
    std: float
    fitted_on: str
    name_text: int
    train_varies: bool
    width: int
    optional: bool
    dictionary: int | None


@dataclass(frozen=True)
class StoreMeta:
    """meta.json. Times in seconds since 1970 UTC; `tasks` holds entries for `Task.from_meta`."""

    format_version: int
    name: str
    val_timestamp: int
    test_timestamp: int
    num_rows: int
    num_cells: int
    num_edges: int
    num_texts: int
    tables: tuple[TableMeta, ...]
    columns: tuple[ColumnMeta, ...]
    tasks: tuple[dict[str, Any], ...]
    z_clip: float
    report: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    def table(self, name: str, kind: str = "database") -> int:
        """The number of a table; InputError if there is none of this name and kind."""
        for number, table in enumerate(self.tables):
            if table.name == name and table.kind == kind:
                return number
        raise InputError(f"store {self.name}: no {kind} table '{name}'")

    def column(self, table: int, name: str) -> int:
        """The number of a column of a table; InputError if it has none of this name."""
        for number in range(*self.tables[table].columns):
            if self.columns[number].name == name:
                return number
        raise InputError(f"store {self.name}: table '{self.tables[table].name}' has no '{name}'")


def preprocess_command(
    raw: str | Path | None, store: str | Path, *, overwrite: bool = False
) -> str:
    """The command that makes a store from the database's folder in RelBench's format, None where
    that is not known."""
    raw, store = None if raw is None else Path(raw).resolve(), Path(store)
    if raw is not None and raw.name != store.name:  # the command calls stores as their folders
        again = ", overwrite=True" if overwrite else ""
        return f"rt.store.preprocess({str(raw)!r}, {str(store)!r}{again})"
    folder = "RAW_FOLDER" if raw is None else shlex.quote(str(raw))
    made = f"python scripts/preprocess.py {folder} --out {shlex.quote(str(store.parent))}"
    return f"{made} --overwrite" if overwrite else made


def open_meta(folder: str | Path) -> StoreMeta:
    """Read a store's meta.json; InputError if it is missing, broken or of another version."""
    path = Path(folder) / META
    if not path.is_file():
        raise InputError(
            f"{folder}: not a store (no meta.json); make it by {preprocess_command(None, folder)}"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: broken JSON ({error}); preprocess the database again") from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version}, this program reads {FORMAT_VERSION}; "
            "preprocess the database again with overwrite"
        )
    try:
        return _typed(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: missing or malformed entry ({error}); preprocess the database again"
        ) from None


def _typed(raw: dict[str, Any]) -> StoreMeta:
    tables = tuple(
        TableMeta(
            **table
            | {
                "rows": _range(table["rows"]),
                "columns": _range(table["columns"]),
                "foreign_keys": tuple(ForeignKeyMeta(**key) for key in table["foreign_keys"]),
                "splits": {name: _range(rows) for name, rows in table["splits"].items()},
            }
        )
        for table in raw["tables"]
    )
    columns = tuple(ColumnMeta(**column) for column in raw["columns"])
    return StoreMeta(**raw | {"tables": tables, "columns": columns, "tasks": tuple(raw["tasks"])})


def _range(pair: list[int]) -> Range:
    start, end = pair
    return int(start), int(end)
