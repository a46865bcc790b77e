"""Parquet files out of small pieces of rows, in row groups of a good size."""

from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 1 << 17
_BYTES = 64 << 20


class PieceWriter:
    """Gathers pieces until there are enough rows, or bytes, for a row group; a context manager."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", version="2.6")
        self._schema = schema
        self._pieces: list[pa.RecordBatch] = []

    def write(self, piece: pa.RecordBatch) -> None:
        """Rows of the schema."""
        self._pieces.append(piece)
        rows = sum(piece.num_rows for piece in self._pieces)
        if rows >= _ROWS or sum(piece.nbytes for piece in self._pieces) >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pieces, self._schema)
        self._pieces = []
        self._writer.write_table(table.combine_chunks(), row_group_size=max(table.num_rows, 1))

    def __enter__(self) -> "PieceWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pieces and kind is None:
            self._flush()
        self._writer.close()
