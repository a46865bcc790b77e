"""Every function of the binding runs behind one guard, which turns a panic into an error."""

import re
from pathlib import Path

import rustler

SOURCES = Path(__file__).parent.parent / "rustler" / "src"
ENTRY = re.compile(r"#\[(pymethods|pyfunction|pymodule_init)\]")
FUNCTION = re.compile(r"^ *(?:pub )?fn (\w+)")


def entries(text: str) -> dict[str, str]:
    """The functions that Python calls, by name, and the first line of each body."""
    found: dict[str, str] = {}
    inside, lines = "", iter(text.splitlines())
    for line in lines:
        if marked := ENTRY.search(line):
            inside = marked[1]
        elif line == "}":
            inside = ""
        elif inside and (named := FUNCTION.match(line)):
            while not line.endswith("{"):  # the end of the signature, by cargo fmt
                line = next(lines)
            found[named[1]] = next(lines).strip()
            if inside != "pymethods":
                inside = ""
    return found


def binding() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in SOURCES.rglob("*.rs"):
        for name, body in entries(file.read_text()).items():
            found[f"{file.relative_to(SOURCES)}: {name}"] = body
    return found


def test_every_function_runs_behind_the_guard() -> None:
    without = [
        name for name, body in binding().items() if not re.match(r"(super::)?guard\(\|\|", body)
    ]
    assert without == []


def test_every_function_of_the_module_is_found() -> None:
    known = {name.split(": ")[1] for name in binding()}
    for name, thing in vars(rustler).items():
        if isinstance(thing, type) and not issubclass(thing, Exception):
            missing = {part for part in vars(thing) if not part.startswith("__")} - known
            assert missing == set(), name
        elif callable(thing) and not isinstance(thing, type):
            assert name in known


def test_a_function_without_the_guard_would_be_found() -> None:
    text = "#[pyfunction]\npub fn f(\n    x: u32,\n) -> u32 {\n    x\n}\nfn g() {\n    0\n}\n"
    assert entries(text) == {"f": "x"}
