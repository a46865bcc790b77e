"""pixi.toml, pyproject.toml, the Makefile and the crate say the same."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> dict:
    return tomllib.loads((ROOT / name).read_text())


def as_mapping(requirements: list[str]) -> dict[str, str]:
    """["name>=1,<2"] as {"name": ">=1,<2"}, no version as "*"."""
    parsed = [re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", item) for item in requirements]
    return {match[1]: match[2] or "*" for match in parsed if match}


@pytest.mark.parametrize("extra", [None, "baselines", "demo", "dev", "postgres", "ray"])
def test_pixi_has_the_dependencies_of_pyproject(extra: str | None) -> None:
    project, pixi = load("pyproject.toml")["project"], load("pixi.toml")
    if extra is None:
        expected = as_mapping(project["dependencies"])
        found = {k: v for k, v in pixi["pypi-dependencies"].items() if k != "plurel"}
        assert pixi["pypi-dependencies"]["plurel"] == {"path": ".", "editable": True}
    else:
        expected = as_mapping(project["optional-dependencies"][extra])
        found = pixi["feature"][extra]["pypi-dependencies"]
        assert extra in pixi["environments"]["default"]["features"]
    assert found == expected


def test_pixi_has_the_same_python_and_version() -> None:
    project, pixi = load("pyproject.toml")["project"], load("pixi.toml")
    assert pixi["dependencies"]["python"] == project["requires-python"]
    assert pixi["workspace"]["version"] == project["version"]


def test_pixi_offers_the_tasks_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check"} <= targets
    assert {"demo", "test", "check"} <= set(load("pixi.toml")["tasks"])


def test_every_place_names_one_version() -> None:
    version = load("pyproject.toml")["project"]["version"]
    assert load("rustler/Cargo.toml")["package"]["version"] == version
    assert f'__version__ = "{version}"' in (ROOT / "plurel/__init__.py").read_text()
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    project = load("pyproject.toml")["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {name.lower() for group in wanted for name in as_mapping(group)}
    assert names - pinned == set()
