"""scripts/compare_regimes.py: every run that it needs, once, and a table of what they score."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from small_stores import write_database, write_stores

from plurel.errors import InputError
from rt.config import from_dict
from rt.real_scores import RealTask, RealTasks
from scripts.compare_regimes import CompareConfig, _list, compare
from scripts.hydra_entry import register
from tests.shops import shop_folders

CONF = Path(__file__).resolve().parent.parent / "conf"
SMALL = (
    "model.num_blocks=1", "model.d_model=16", "model.num_heads=2", "model.d_ff=32",
    "data.embedder=hash", "data.context_length=24", "data.batch_size=8", "data.num_workers=0",
    "data.heldout_rows=4", "trainer.threads=1", "trainer.precision=fp32", "logger.progress=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:
    root = tmp_path_factory.mktemp("regimes")
    shop_folders(root / "real")
    write_database(7, root / "real" / "raw")
    pre = f"data.pre_dir={root / 'real' / 'pre'}"
    return CompareConfig(
        run_dir=str(root / "runs"),
        real_root=(str(root / "real" / "raw"),),
        synthetic_root=(str(write_stores(root / "synthetic", 2)),),
        leave_out=("shops-db",),
        overrides=(*SMALL, pre),
        synthetic=("trainer.steps=3", "data.heldout_dbs=1"),
        real=("trainer.steps=2", "data.tasks=both", "data.context_length=16"),
        max_rows=15,
        resamples=20,
    )


def test_runs_are_made_and_predict_once(
    config: CompareConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    lengths: list[int] = []
    predict = RealTasks.predict

    def counted(self: RealTasks, task: RealTask, *args: Any, **named: Any) -> Any:
        asked.append(task.name)
        lengths.append(self.settings.context_length)
        return predict(self, task, *args, **named)

    monkeypatch.setattr(RealTasks, "predict", counted)
    register()
    folder = Path(config.run_dir)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compare(config)
        first = json.loads((folder / "comparison.json").read_text())
        printed = capsys.readouterr().out
        shutil.rmtree(folder / "synthetic,seed=0/predictions,rolling,rows=15")
        # each model has the contexts of its own run: untrained, synthetic, baseline, continued
        assert lengths == [24, 24, 24, 24, 16, 16, 16, 16] * len(first)
        asked.clear()
        compare(config)
    assert sorted(asked) == sorted(first)
    assert "this run is finished" in capsys.readouterr().out
    assert json.loads((folder / "comparison.json").read_text()) == first
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    regimes = ("baseline,leave_out=shops-db", "continued,leave_out=shops-db", "synthetic")
    assert runs == {
        f"{regime},seed={seed}" for regime in (*regimes, "untrained") for seed in (0, 1)
    }
    assert (folder / "comparison.txt").read_text() in printed
    begin = json.loads((folder / "continued,leave_out=shops-db,seed=1/run.json").read_text())
    assert begin["start"]["load_ckpt_path"].endswith("synthetic,seed=1/best")
    assert begin["databases"]["train"] == ["rel-synthetic-7"]
    models = ["untrained", "synthetic", "baseline", "continued", "global_mean", "entity_mean",
              "context_own", "context_all"]  # fmt: skip
    for entry in first.values():
        assert list(entry["scores"]) == models
        assert entry["rows"] == 15
        for interval in entry["scores"].values():
            assert interval["low"] <= interval["value"] <= interval["high"]


def test_the_file_of_its_config_has_every_key() -> None:
    written = yaml.safe_load((CONF / "compare_regimes.yaml").read_text())
    values = {key: value for key, value in written.items() if key not in ("defaults", "hydra")}
    values |= {"real_root": "a", "synthetic_root": "b", "leave_out": "c"}
    config = from_dict(CompareConfig, values)
    assert config.seeds == (0, 1)
    with pytest.raises(InputError, match="leave_out must be one value or more"):
        from_dict(CompareConfig, values | {"leave_out": []})


def test_places_may_hold_anything_that_overrides_are_made_of() -> None:
    places = ["/a b,c", "d'e", "x=1:[2]"]
    (parsed,) = OverridesParser.create().parse_overrides([f"data.root={_list(places)}"])
    value = parsed.value()
    assert isinstance(value, list)
    assert [str(place) for place in value] == places
