"""Large arrays in files: the same bytes, bounded memory, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_folders import listing

from plurel import Config, SyntheticDataset, folder, scm, spill
from plurel.errors import InputError
from plurel.spill import Spill, release

ONE_TABLE = [
    "database_params.num_tables_choices.value=[1,1]",
    "database_params.num_cols_choices={kind: range, value: [4, 4]}",
]


def test_arrays_keep_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "LARGE_BYTES", 1000)
    place = Spill(tmp_path / "new")
    array = place.empty(5000, np.float64)
    array[:] = np.arange(5000)
    release()
    np.testing.assert_array_equal(array, np.arange(5000))
    kept = place.keep(np.arange(999, dtype=np.int64))
    np.testing.assert_array_equal(kept, np.arange(999))
    assert kept.base is not None
    small = np.arange(3)
    assert place.keep(small) is small
    assert Spill().keep(kept) is kept
    assert list((tmp_path / "new").iterdir()) == []


def test_no_space_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"can't keep 763 MiB in .*: No space left on device"):
        Spill(tmp_path).empty(100_000_000, np.float64)


def test_chunks_and_files_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.preset("demo").overridden(
        [
            "database_params.num_rows_activity_table_choices.value=[3000,4000]",
            "scm_params.rule_share_choices=0.5",
            "scm_params.trait_share_choices=0.5",
        ]
    )
    SyntheticDataset(3, config).save(tmp_path / "plain" / "one", name="one")
    monkeypatch.setattr(spill, "LARGE_BYTES", 1000)
    monkeypatch.setattr(scm, "CHUNK_ROWS", 1024)
    monkeypatch.setattr("plurel.conditioning.WHOLE_ROWS", 50)
    SyntheticDataset(3, config).save(tmp_path / "files" / "one", name="one")
    assert listing(tmp_path / "plain") == listing(tmp_path / "files")
    assert [entry.name for entry in (tmp_path / "files").iterdir()] == ["one"]


def test_row_groups_hold_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    frame = pd.DataFrame(
        {
            "number": [np.nan, 1.0, 2.0, np.nan],
            "flag": [True, False, True, True],
            "text": pd.array([None, None, "a", "b"], dtype="str"),
            "time": pd.to_datetime(["2020-01-01"] * 4),
        }
    )
    monkeypatch.setattr(folder, "ROW_GROUP", 2)
    folder.write_parquet(frame, tmp_path / "a.parquet", "a")
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)


LARGE = """
import sys
from plurel import Config, SyntheticDataset, spill
spill.LARGE_BYTES = 1 << 19
rows, out = int(sys.argv[1]), sys.argv[2]
config = Config().overridden([*sys.argv[3:],
    f"database_params.num_rows_activity_table_choices.value=[{rows},{rows}]"])
SyntheticDataset(1, config).save(out)
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_columns(tmp_path: Path) -> None:
    peaks = []
    for columns in (2, 12):
        overrides = [
            *ONE_TABLE,
            f"database_params.num_cols_choices={{kind: range, value: [{columns}, {columns}]}}",
            "scm_params.scm_layout_choices={kind: set, value: [RandomTree]}",
            "scm_params.col_stype_choices={kind: set, value: [numerical]}",
            "scm_params.mlp_emb_dim=2",
            "database_params.col_transform_choices={kind: set, value: [identity]}",
        ]
        command = [sys.executable, "-c", LARGE, "500000", str(tmp_path / str(columns))]
        done = subprocess.run([*command, *overrides], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    # ten columns more are 38 MiB of float64 and 19 of float32
    assert peaks[1] - peaks[0] < 25, peaks
