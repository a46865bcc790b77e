"""The folder of a run: which checkpoints stay, and what it says of where the run began."""

from pathlib import Path

import pytest

from rt.runs import Run


@pytest.mark.parametrize(
    ("keep", "latest", "best", "left"),
    [
        (1, 20, 5, {5, 20}),
        (2, 20, 20, {15, 20}),
        (3, 20, 5, {5, 10, 15, 20}),
        # killed before `latest` named step 20, then stopped at step 15
        (1, 15, 5, {5, 15, 20}),
    ],
)
def test_what_latest_and_best_name_is_kept(
    tmp_path: Path, keep: int, latest: int, best: int, left: set[int]
) -> None:
    for name in ("step_5", "step_10", "step_15", "step_20", "step_5_mine", "step_007"):
        (tmp_path / name).mkdir()
    (tmp_path / "latest").write_text(f"step_{latest}\n")
    (tmp_path / "best").write_text(f"step_{best}\n")
    Run(tmp_path, {}, {}).prune(keep)
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {f"step_{step}" for step in left} | {"step_5_mine", "step_007"}
