"""Where databases come from: folders of stores and of RelBench databases, names of the Hub."""

import hashlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from relbench import hf
from small_stores import write_database

from plurel.errors import InputError
from rt import sources
from rt.embedding_file import embeddings_path
from rt.meta import open_meta
from rt.sources import Source, choose, find_sources, natural_order, prepare
from rt.store import preprocess_many


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the databases rel-synthetic-9, -10 and -11."""
    root = tmp_path_factory.mktemp("sources") / "raw"
    for seed in (9, 10, 11):
        write_database(seed, root)
    return root


def test_a_folder_gives_its_databases_in_the_order_of_their_numbers(raw: Path) -> None:
    found = find_sources([str(raw)], pre_dir="pre")
    assert [source.name for source in found] == [f"rel-synthetic-{n}" for n in (9, 10, 11)]
    assert found[0] == Source(Path("pre/rel-synthetic-9"), (raw / "rel-synthetic-9").resolve())
    assert natural_order("db-9") < natural_order("db-10") < natural_order("dc-1")
    assert natural_order("db-9") < natural_order("db²")  # a digit, and no number
    some = find_sources([str(raw)], pattern="*-1?")
    assert [source.name for source in some] == ["rel-synthetic-10", "rel-synthetic-11"]


def test_places_may_be_stores_databases_and_folders_of_them(raw: Path, tmp_path: Path) -> None:
    pre = tmp_path / "pre"
    preprocess_many([raw / "rel-synthetic-9"], pre, embedder="hash", show_progress=False)
    found = find_sources([str(raw / "rel-synthetic-11"), str(pre)], pre_dir=pre)
    assert found[1] == Source(pre / "rel-synthetic-9")
    assert found[0].store == pre / "rel-synthetic-11"
    assert find_sources([str(pre / "rel-synthetic-9")]) == [found[1]]


def test_a_pattern_is_for_folders_of_databases_alone(raw: Path) -> None:
    assert find_sources([str(raw / "rel-synthetic-9")], pattern="other-*")


def test_two_databases_of_one_name_are_refused(raw: Path) -> None:
    with pytest.raises(InputError, match="are two databases of one name: leave one out"):
        find_sources([str(raw), str(raw / "rel-synthetic-9")])


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("/no/such", "no folder /no/such: give a database in RelBench's format, a store, or a f"),
        ("../nowhere", "no folder ../nowhere"),
        ("empty/gymm", r"no folder empty/gymm \(the .* Hub is asked where there is no folder empt"),
        ("empty/gymm", "or a folder of them; did you mean 'empty/gym'"),
        ("empty/lab/gym", "no folder empty/lab/gym"),
        ("file", "file is a file: give a folder of databases"),
        ("empty", "holds no store and no folder in RelBench's format that matches"),
    ],
)
def test_a_place_without_a_database_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if place != "empty":
        (tmp_path / "empty/gym").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=line):
        find_sources([place])


def test_databases_are_chosen_by_name(raw: Path) -> None:
    found = find_sources([str(raw)])
    assert choose(found, ["rel-synthetic-11", "rel-synthetic-9"], "key") == [found[2], found[0]]
    with pytest.raises(InputError, match=r"key: no database 'rel-synthetik-9'; did you mean rel-s"):
        choose(found, ["rel-synthetik-9"], "key")
    with pytest.raises(InputError, match=r"no database 'x'; there are rel-synthetic-9, rel-synth"):
        choose(found, ["x"], "key")


def test_a_name_of_the_hub_is_fetched(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return raw / "rel-synthetic-10"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hf, "download_dataset_dir", fetch)
    for place in ("rel-synthetic-10", "lab/databases/rel-synthetic-10"):
        assert find_sources([place], pre_dir="pre") == [
            Source(Path("pre/rel-synthetic-10"), raw / "rel-synthetic-10")
        ]
    assert asked == ["stanford-star/relbench-v1/rel-synthetic-10", "lab/databases/rel-synthetic-10"]


def test_what_the_hub_does_not_give_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Path:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(hf, "download_dataset_dir", fail)
    with pytest.raises(InputError, match=r"Hub does not give .*rel-f7 \(no route\); give a fol"):
        find_sources(["rel-f7"])


def test_stores_are_made_once(raw: Path, tmp_path: Path) -> None:
    found = find_sources([str(raw)], pre_dir=tmp_path / "pre")
    prepare(found, "hash", show_progress=False)
    files = [path for source in found for path in source.store.iterdir()]
    assert all(embeddings_path(source.store, "hash") in files for source in found)
    times = [path.stat().st_mtime_ns for path in files]
    prepare(found, "hash", show_progress=False)
    assert [path.stat().st_mtime_ns for path in files] == times


def test_a_process_reads_a_database_again_only_where_it_has_changed(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "raw"
    shutil.copytree(raw / "rel-synthetic-9", place / "rel-synthetic-9")
    found = find_sources([str(place)], pre_dir=tmp_path / "pre")
    prepare(found, "hash", show_progress=False)
    hashed: list[str] = []
    digest = hashlib.file_digest

    def noted(file: Any, kind: Any) -> Any:
        hashed.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    prepare(found, "hash", show_progress=False)
    assert hashed == []
    manifest = place / "rel-synthetic-9/manifest.yaml"
    manifest.write_text(manifest.read_text() + "# as before\n")
    with pytest.raises(InputError, match="was made from other input") as raised:
        prepare(found, "hash", show_progress=False)
    command = f"preprocess.py {found[0].raw} --out {found[0].store.parent} --overwrite, or choose"
    assert command in str(raised.value)
    assert hashed == ["manifest.yaml"]


def test_processes_that_want_the_same_wait_for_each_other(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[int] = []
    most = 0
    true_tokenise = sources.tokenise_many

    def tokenise(*arguments: object, **settings: object) -> list[Path]:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        time.sleep(0.05)
        made = true_tokenise(*arguments, **settings)  # type: ignore[arg-type]
        inside.pop()
        return made

    monkeypatch.setattr(sources, "tokenise_many", tokenise)
    found = find_sources([str(raw)], pre_dir=tmp_path / "pre")
    # each call opens the lock's file anew, as another process does
    threads = [
        threading.Thread(target=prepare, args=(found, "hash"), kwargs={"show_progress": False})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert open_meta(found[0].store).name == "rel-synthetic-9"
