"""docs/model.md: its examples run, its figures are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from rt.attention import FORMS
from rt.checkpoint import Settings, point, save_checkpoint
from rt.model import SIZES, ModelConfig, RelationalTransformer, Variants
from tests.shops import D_TEXT, EMBEDDER, shop_folders

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "model.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_saving_and_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES[0], {})
    names = sorted(file.name for file in (tmp_path / "my-model").iterdir())
    assert names == ["config.yaml", "model.safetensors"]


def test_predicting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the shops in place of the flights."""
    monkeypatch.chdir(tmp_path)
    _, store = shop_folders(tmp_path)
    model = RelationalTransformer(ModelConfig(1, 16, 2, 32, D_TEXT))
    settings = Settings(EMBEDDER, {"context_length": 48})
    point("my-run", "best", save_checkpoint("my-run", 1, model, settings))
    code = EXAMPLES[1].replace("data/pre/flights", str(store)).replace("plane-idle", "mean-amount")
    exec(code, {})
    assert len(capsys.readouterr().out.strip("[]\n").split()) == 8


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str) -> None:
    with torch.device("meta"):
        model = RelationalTransformer(ModelConfig.named(size, d_text=384))
    counts = (
        sum(p.numel() for p in model.blocks[0].parameters()),
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    numbers = " | ".join(f"{number:,}" for number in (*SIZES[size].values(), *counts))
    assert f"| `{size}` | {numbers} |" in PAGE


def test_variants() -> None:
    told = re.findall(r"^\| `(\w+)` \| [^|]*\| [^|]*\|$", PAGE, re.MULTILINE)
    assert set(told) == {field.name for field in fields(Variants)}


def test_forms_and_links() -> None:
    told = re.findall(r"^\| `(\w+)` \| [^|]*\|$", PAGE, re.MULTILINE)
    assert set(told) == set(FORMS)
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    assert "docs/model.md" in (ROOT / "README.md").read_text()
