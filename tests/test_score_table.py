"""Scores of many databases as one table."""

import json
from pathlib import Path
from typing import Any

import pytest

from plurel.errors import InputError
from scripts.score_table import main


def entry(better: str, pretrained: float, mean: float, low: float, high: float) -> dict[str, Any]:
    """A task's scores; low, high: the interval of how much the model is better than the mean."""
    value = (pretrained - mean) * (1 if better == "higher" else -1)
    return {
        "metric": "roc_auc" if better == "higher" else "nmae",
        "better": better,
        "rows": 1000,
        "pretrained": pretrained,
        "global_mean": mean,
        "intervals": {"pretrained": {"value": pretrained, "low": 0.6, "high": 0.8}},
        "better_by": {"global_mean": {"value": value, "low": low, "high": high}},
    }


SHOP = {
    "churn": entry("higher", 0.7, 0.5, 0.1, 0.3),
    "spend": entry("lower", 0.9, 0.8, -0.2, -0.05),
}
CLUB = {"leaves": entry("higher", 0.6, 0.55, -0.1, 0.2)}


def write(folder: Path, name: str, tasks: dict[str, Any], **changes: Any) -> Path:
    result = {
        "database": name, "split": "val", "protocol": "rolling", "max_rows": None, "seed": 0,
        "tasks": tasks,
    }  # fmt: skip
    path = folder / f"{name}-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(result | changes))
    return path


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def made(*words: object) -> list[str]:
        monkeypatch.setattr("sys.argv", ["score_table.py", *map(str, words)])
        main()
        return capsys.readouterr().out.splitlines()

    return made


def test_a_row_a_task_means_and_comparisons(table, tmp_path: Path) -> None:
    files = [write(tmp_path, "shop", SHOP), write(tmp_path, "club", CLUB)]
    assert table(*files, "--out", tmp_path / "table.md") == [
        "| task | rows | global mean | **pretrained** |",
        "|---|---|---|---|",
        "| shop/churn, AUROC ↑ | 1,000 | 0.500 | **0.700** ±0.100 |",
        "| shop/spend, NMAE ↓ | 1,000 | 0.800 | **0.900** ±0.100 |",
        "| club/leaves, AUROC ↑ | 1,000 | 0.550 | **0.600** ±0.100 |",
        "| mean of 2, AUROC ↑ |  | 0.525 | 0.650 |",
        "| mean of 1, NMAE ↓ |  | 0.800 | 0.900 |",
        "",
        "- better than global mean on 2 of 3 tasks, by more than the interval on 1; worse by more "
        "than it on 1",
    ]
    assert (tmp_path / "table.md").read_text().startswith("| task | rows |")


def test_columns_of_other_checkpoints(table, tmp_path: Path) -> None:
    first = write(tmp_path, "shop", SHOP)
    more = {"churn": SHOP["churn"] | {"pretrained": 0.75}, "other": CLUB["leaves"]}
    other = write(tmp_path, "shop", more)
    club = {"leaves": CLUB["leaves"] | {"entity_last_10": 0.5}}  # of baselines those asked for
    lines = table(first, write(tmp_path, "club", club), "--column", "continued", other)
    assert lines[0].endswith("| **pretrained** | continued |")
    assert lines[2].endswith("| **0.700** ±0.100 | 0.750 ±0.100 |")
    assert lines[3].endswith("| **0.900** ±0.100 | - |")
    assert lines[4].endswith("| **0.600** ±0.100 | - |")
    assert not any("other" in line for line in lines)
    assert lines[-1] == "- continued: AUROC ↑ 0.750 on 1, where pretrained has 0.700"


def test_other_checkpoints_are_compared_in_pairs_where_their_files_do(
    table, tmp_path: Path
) -> None:
    """Files of `evaluate.py checkpoint=continued beside=[small]`."""
    first = write(tmp_path, "shop", SHOP, checkpoint="small")
    tasks = {}
    for (name, scores), (value, low, high) in zip(
        SHOP.items(), ((0.05, 0.01, 0.1), (-0.1, -0.3, 0.1)), strict=True
    ):
        sign = 1 if scores["better"] == "higher" else -1
        tasks[name] = scores | {
            "small": scores["pretrained"], "pretrained": scores["pretrained"] + sign * value,
            "better_by": {"small": {"value": value, "low": low, "high": high}},
        }  # fmt: skip
    lines = table(first, "--column", "continued", write(tmp_path, "shop", tasks))
    assert lines[-1] == (
        "- continued: AUROC ↑ 0.750 on 1, where pretrained has 0.700; NMAE ↓ 1.000 on 1, where "
        "pretrained has 0.900; better than it on 1 of 2 tasks, by more than the interval on 1; "
        "worse by more than it on 0"
    )
    assert "over first" not in lines[0]
    tasks["churn"] = tasks["churn"] | {"small": 0.71}
    with pytest.raises(InputError, match=r"'small' beside it has 0.7100, not 0.7000 as in"):
        table(first, "--column", "continued", write(tmp_path, "shop", tasks))


def test_what_does_not_belong_together_is_refused(table, tmp_path: Path) -> None:
    first = write(tmp_path, "shop", SHOP)
    with pytest.raises(InputError, match="two files hold scores of shop"):
        table(first, write(tmp_path, "shop", SHOP))
    with pytest.raises(InputError, match="two files of more hold scores of shop"):
        table(first, "--column", "more", first, first)
    split = write(tmp_path, "club", CLUB, protocol="split")
    with pytest.raises(InputError, match="club: protocol is 'split', not 'rolling' as in the fir"):
        table(first, split)
    with pytest.raises(InputError, match="more, shop: seed is 1, not 0"):
        table(first, "--column", "more", write(tmp_path, "shop", SHOP, seed=1))
    for name in ("global_mean", "rows", "pretrained"):
        with pytest.raises(InputError, match=f"a column '{name}' is there already"):
            table(first, "--column", name, first)
    with pytest.raises(InputError, match="a column 'more' is there already"):
        table(first, "--column", "more", first, "--column", "more", first)
    with pytest.raises(InputError, match="--column more: give its files of scores"):
        table(first, "--column", "more")
    with pytest.raises(InputError, match="more: no file before holds scores of club"):
        table(first, "--column", "more", write(tmp_path, "club", CLUB))
    fewer = {"churn": SHOP["churn"] | {"rows": 10}}
    with pytest.raises(InputError, match="more, shop/churn: rows is 10, not 1000"):
        table(first, "--column", "more", write(tmp_path, "shop", fewer))
    del fewer["churn"]["pretrained"]
    with pytest.raises(InputError, match="shop/churn: no column 'pretrained': give a file"):
        table(first, "--column", "more", write(tmp_path, "shop", fewer))
    with pytest.raises(InputError, match="the files hold no scored task"):
        table(write(tmp_path, "club", {}))
    (tmp_path / "wrong.json").write_text("[1]")
    with pytest.raises(InputError, match=r"wrong.json: holds no scores of one database"):
        table(tmp_path / "wrong.json")
    with pytest.raises(InputError, match=r"nothing.json: can't be read"):
        table(tmp_path / "nothing.json")
