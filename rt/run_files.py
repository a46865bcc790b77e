"""The files of runs, read back: which folders are runs, and what config.yaml, run.json and
training.json of each say (`rt.logs` and `rt.runs` write them)."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plurel.errors import InputError
from plurel.plain_yaml import load_yaml
from rt.logs import CONFIG, FACTS
from rt.runs import RESULT
from rt.sources import natural_order


@dataclass(frozen=True)
class RunFiles:
    """Contents of a run's files; result: None of a run that is not finished."""

    folder: Path
    config: dict[str, Any]
    facts: dict[str, Any]
    result: dict[str, Any] | None


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Run folders at or below the places, each once, in the order of their names."""
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place} is not a folder: give folders of runs")
        below = list(_walk(place))
        if not below:
            raise InputError(f"no run in {place}: a run's folder holds {CONFIG} and {FACTS}")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values(), key=lambda folder: natural_order(str(folder)))


def _walk(place: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(place):
        if CONFIG in files and FACTS in files:
            folders.clear()  # what is below a run is its own
            yield Path(parent)


def open_run(folder: Path) -> RunFiles:
    """Read a run's files; InputError for one that can't be read."""
    try:
        config = load_yaml((folder / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder / CONFIG} can't be read: {reason}") from None
    if not isinstance(config, dict):
        raise InputError(f"{folder / CONFIG} is no config of a run")
    result = folder / RESULT
    return RunFiles(
        folder, config, _json(folder / FACTS), _json(result) if result.is_file() else None
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object")
    return content


def group(values: Mapping[str, Any], name: str, where: Path) -> Mapping[str, Any]:
    """The group of that name in a file's content; InputError if it has none."""
    found = values.get(name)
    if not isinstance(found, Mapping):
        raise InputError(f"{where} has no group {name}: is it from a run?")
    return found


def number(values: Mapping[str, Any], name: str, where: Path) -> float:
    """Likewise a number, which may be no finite one."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} must be a number, not {value!r}")
    return value


def optional(values: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """Likewise a group that a file need not have: empty then."""
    found = (values or {}).get(name)
    return found if isinstance(found, Mapping) else {}
