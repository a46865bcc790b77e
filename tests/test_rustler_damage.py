"""Damaged stores from Python: every bit that places or links rows is noticed, nothing panics."""

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sampler_fixtures import LABELS, make, shop
from store_fixtures import write_store

import rustler

ROWS = np.arange(LABELS[0], LABELS[0] + 40, dtype=np.uint32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("whole") / "shop", shop())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_store(tmp_path / "shop", shop())


def places(file: Path) -> dict[str, tuple[int, int, int]]:
    """Of each array: its first byte in the file, bytes an element, number of elements."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            width = int(entry["dtype"][1:]) // 8
            found[name] = (start + first, width, (last - first) // width)
    return found


def opens(folder: Path) -> bool:
    """False if the store is refused; contexts come from one that is not."""
    try:
        sampler = make([folder, folder], num_threads=1)
    except rustler.RustlerError:
        return False
    sampler.contexts(0, ROWS[:4])
    return True


ALWAYS = ("parent_row", "child_ptr", "child_row", "child_rank", "row_source", "record_ptr")


@pytest.mark.parametrize("name", [*ALWAYS, "row_rank", "time_value", "dictionary", "records"])
def test_flipped_bits_of_each_array(whole: Path, tmp_path: Path, name: str) -> None:
    folder = write_store(tmp_path / "shop", shop())
    file = folder / "store.safetensors"
    start, width, count = places(file)[name]
    data = bytearray(file.read_bytes())
    noticed = []
    for element in np.linspace(0, count - 1, 12, dtype=int).tolist():
        for bit in [bit for bit in (0, 1, 3, 8, 17, 30, 63) if bit < 8 * width]:
            byte = start + element * width + bit // 8
            data[byte] ^= 1 << bit % 8
            file.write_bytes(data)
            noticed.append(not opens(folder))
            data[byte] ^= 1 << bit % 8
    file.write_bytes(data)
    assert opens(folder)
    assert data == (whole / "store.safetensors").read_bytes()
    # Times that stay in order and values that stay finite may be anything.
    assert all(noticed) if name in ALWAYS else any(noticed)


def in_place(folder: Path, name: str, value: int) -> None:
    """Overwrites all elements of an array in the file that is mapped, which nobody should do."""
    file = folder / "store.safetensors"
    start, width, count = places(file)[name]
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(value.to_bytes(width, "little") * count)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize(
    ("name", "value"),
    [("parent_row", 2**31), ("record_ptr", 2**60), ("records", 255)],
)
def test_a_panic_in_rust_is_an_error_in_python(
    folder: Path, name: str, value: int, num_threads: int, capfd: pytest.CaptureFixture[str]
) -> None:
    sampler = make([folder, folder], num_threads=num_threads)
    in_place(folder, name, value)
    with pytest.raises(RuntimeError, match=r"internal error of rustler.*: .*out of"):
        sampler.contexts(0, ROWS)
    assert "panicked" in capfd.readouterr().err  # Rust's own note of where it was.


@pytest.mark.parametrize(
    ("name", "value"), [("record_ptr", 2**60), ("row_rank", 2**31), ("records", 255)]
)
def test_a_panic_outside_of_the_sampler_is_an_error_too(
    folder: Path, name: str, value: int, capfd: pytest.CaptureFixture[str]
) -> None:
    store = rustler.Store(folder)
    in_place(folder, name, value)
    with pytest.raises(RuntimeError, match=r"internal error of rustler.*: .*out of"):
        store.row(LABELS[0])
    assert "panicked" in capfd.readouterr().err
    assert store.name == "shop"


def test_a_store_replaced_by_renaming_stays_as_it_was_opened(folder: Path) -> None:
    sampler = make([folder, folder])
    before = sampler.contexts(0, ROWS)
    other = folder / "other"
    other.write_bytes(b"of another store")
    other.rename(folder / "store.safetensors")
    after = sampler.contexts(0, ROWS)
    assert all((before[name] == after[name]).all() for name in before)


def child_rows(store: rustler.Store) -> list[int]:
    return [len(store.row(row)["children"]) for row in range(store.num_rows)]


# Python 3.12 warns of forks beside threads; the library's threads end with each call.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_stores_reach_other_processes(whole: Path, method: str) -> None:
    store = rustler.Store(whole)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(child_rows, (store,)) == child_rows(store)


def test_stores_are_checked_again_when_they_are_unpickled(folder: Path) -> None:
    data = pickle.dumps(rustler.Store(folder))
    file = folder / "store.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(rustler.RustlerError, match="cut short"):
        pickle.loads(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:8],
        lambda data: b"",
        lambda data: data + data,
        lambda data: (2**64 - 1).to_bytes(8, "little") + data[8:],
        lambda data: data.replace(b"row", b"r\xff\xfe").replace(b"bedding", b"b\xfe\xfd\xfc"),
    ],
)
@pytest.mark.parametrize("file", ["store.safetensors", "meta.json", "text.hash.safetensors"])
def test_files_of_anything_are_refused(
    folder: Path, file: str, change: Callable[[bytes], bytes]
) -> None:
    path = folder / file
    data = path.read_bytes()
    assert change(data) != data
    path.write_bytes(change(data))
    assert not opens(folder)
