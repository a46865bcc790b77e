"""Keys of every type, resolved by value; what finds no row is an absent edge, and counted."""

import datetime
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from opened_store import Opened
from raw_folders import dates, write_folder
from relbench.manifest import TableSpec

import rustler
from plurel.errors import InputError
from rt import store

DATE = datetime.date
UUIDS = [uuid.UUID(int=number).bytes for number in (5, 2**127, 3)]
LARGE = [Decimal(10**27), Decimal(10**27 + 1), Decimal(2)]
TINY = Decimal("0.20000000000000000000001")


def nanoseconds(numbers: list[int]) -> pa.Array:
    return pa.array(numbers, pa.timestamp("ns"))


def microseconds(numbers: list[int]) -> pa.Array:
    return pa.array(numbers, pa.timestamp("us"))


KEYS = {
    "text": (pa.array(["b", "a", "NA"]), pa.array(["NA", "b", None]).dictionary_encode(), [2, 0]),
    "views": (pa.array(["b", "a", "NA"], pa.string_view()), pa.array(["NA", "b", "x"]), [2, 0]),
    "far apart": (pa.array([5, 10**17, -3]), pa.array([-3, 10**17, 4]), [2, 1]),
    "negative": (pa.array([-1, -5, 3]), pa.array([-5, 3, None]), [1, 2]),
    "null": (pa.array([0, 1, 2]), pa.array([0, 1, None]), [0, 1]),
    "NaN": (pa.array([0, 1, 2]), pa.array([1.0, 0.0, float("nan")]), [1, 0]),
    "floats": (pa.array([2.0, 0.0, 1.0]), pa.array([1, 2, 7], pa.uint8()), [2, 0]),
    "half": (pa.array(np.array([1, 2, 3], np.float16)), pa.array([2, 1, 9]), [1, 0]),
    "boolean": (pa.array([True, False]), pa.array([False, True, None]), [1, 0]),
    "dictionary": (pa.array([4, 5, 6]).dictionary_encode(), pa.array([5, 4, 9]), [1, 0]),
    "decimals": (pa.array([1, 2, 3], pa.decimal128(20, 0)), pa.array([2.0, 3.0, 2.5]), [1, 2]),
    "fractions": (pa.array([1, 2, 3]),
                  pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("2.50")]), [0, 1]),
    "scales": (pa.array([Decimal("1.5"), Decimal("2.5"), Decimal("2.0")]),
               pa.array([Decimal("2.50"), Decimal("1.50"), Decimal("7.00")]), [1, 0]),
    "38 digits": (pa.array(LARGE, pa.decimal128(38, 0)), pa.array([*LARGE[1:], None]), [1, 2]),
    "76 digits": (pa.array(LARGE, pa.decimal256(76, 0)),
                  pa.array([*LARGE[1:], None], pa.decimal256(76, 0)), [1, 2]),
    "uint64": (pa.array([2**63 + 5, 1, 2], pa.uint64()), pa.array([2, 2**63 + 5, 3], pa.uint64()),
               [2, 0]),
    "small references": (pa.array([2**63 + 5, 1, 2], pa.uint64()), pa.array([2, 1, -1]), [2, 1]),
    "large references": (pa.array([1, 2, 3]), pa.array([2, 1, 2**63 + 1], pa.uint64()), [1, 0]),
    "binary": (pa.array([b"x", b"y", b"z"]), pa.array([b"z", b"x", b"w"]), [2, 0]),
    "binary views": (pa.array([b"x", b"y"], pa.binary_view()), pa.array([b"y", b"x", b"w"]),
                     [1, 0]),
    "uuid": (pa.array(UUIDS, pa.uuid()), pa.array([UUIDS[1], UUIDS[0], b"?" * 16], pa.binary(16)),
             [1, 0]),
    "dates": (pa.array([DATE(9999, 1, 1), DATE(1, 1, 1)]),
              pa.array([DATE(1, 1, 1), DATE(9999, 1, 1), None], pa.date64()), [1, 0]),
    "timestamps": (dates("2020-01-01", "2020-01-02", "2020-01-03"),
                   dates("2020-01-03", "2020-01-01", "2020-02-01").cast(pa.timestamp("s")), [2, 0]),
    "clocks": (pa.array([1, 2], pa.time32("s")), pa.array([2, 1, 9], pa.time32("s")), [1, 0]),
    "nanoseconds": (nanoseconds([1000, 2000, 3000]), nanoseconds([3000, 1000, 1500]), [2, 0]),
    "neighbours in time": (nanoseconds([1, 2, 3]), nanoseconds([3, 1, 4]), [2, 0]),
    "finer times": (microseconds([0, 1, 2]), nanoseconds([2000, 1000, 1001]), [2, 1]),
    "coarser times": (nanoseconds([0, 1500, 2000]), microseconds([2, 0, 1]), [2, 0]),
    "times out of range": (nanoseconds([0, 1000, 2**63 - 1]),
                           pa.array([0, 2**61, 1], pa.timestamp("ms")), [0]),
    "days and times": (pa.array([0, 1], pa.date32()),
                       pa.array([86400000, 0, 1], pa.timestamp("ms")), [1, 0]),
    "far times": (pa.array([0, 10**13], pa.timestamp("s")),
                  pa.array([10**13, 0, 1], pa.timestamp("s")), [1, 0]),
    "durations": (pa.array([1, 2], pa.duration("s")),
                  pa.array([2000, 1000, 1001], pa.duration("ms")), [1, 0]),
    "clocks of two units": (pa.array([1, 2], pa.time32("s")),
                            pa.array([2 * 10**9, 10**9, 1], pa.time64("ns")), [1, 0]),
    "small differences": (pa.array([Decimal("0.1"), Decimal("0.2")], pa.decimal128(38, 30)),
                          pa.array([Decimal("0.2"), Decimal("0.1"), TINY], pa.decimal128(38, 30)),
                          [1, 0]),
    "large and small": (pa.array([Decimal(10**20), TINY], pa.decimal256(76, 30)),
                        pa.array([TINY, Decimal(10**20), Decimal("0.2")], pa.decimal256(60, 23)),
                        [1, 0]),
    "small decimals": (pa.array([Decimal("1.5"), Decimal("2.5")], pa.decimal32(5, 2)),
                       pa.array([Decimal("2.5"), Decimal("1.5"), None], pa.decimal64(9, 1)),
                       [1, 0]),
    "floats for decimals": (pa.array([Decimal("1.50"), Decimal("0.10")]),
                            pa.array([1.5, 0.1, 1e300]), [0]),
    "decimals for floats": (pa.array([1.5, 0.1]),
                            pa.array([Decimal("1.50"), Decimal("0.10"), None]), [0]),
    "integers for decimals": (pa.array([Decimal("1.5"), Decimal("-2.0")]), pa.array([-2, 1, 0]),
                              [1]),
    "float fractions": (pa.array([0.5, -0.0, 2.5]), pa.array([2.5, 0.0, float("nan")]), [2, 1]),
    "infinite": (pa.array([np.inf, 0.5]), pa.array([0.5, np.inf, -np.inf]), [1, 0]),
    "integers for floats": (pa.array([0.5, 2.0**53, 2.0**63]),
                            pa.array([2**53, 2**63, 2**53 + 1], pa.uint64()), [1, 2]),
    "huge floats for uint64": (pa.array([2**63, 3, 2**64 - 1], pa.uint64()),
                               pa.array([2.0**63, 3.0, 2.0**64]), [0, 1]),
    "decimals for uint64": (pa.array([2**63, 3], pa.uint64()),
                            pa.array([Decimal("3.0"), Decimal(2**63), Decimal("3.5")]), [1, 0]),
    "UUIDs as text": (pa.array(UUIDS, pa.uuid()),
                      pa.array([str(uuid.UUID(int=3)), f"{2**127:032X}", "3"]), [2, 1]),
    "texts as UUID": (pa.array(["x", str(uuid.UUID(int=5)).upper(), str(uuid.UUID(int=3))]),
                      pa.array([UUIDS[2], UUIDS[0], UUIDS[1]], pa.uuid()), [2, 1]),
    "no references": (pa.array([1, 2, 3]), pa.nulls(3), []),
    "no rows": (pa.array([], pa.string()), pa.array([1, 2, None]), []),
}  # fmt: skip


def linked(folder: Path, keys: pa.Array, references: pa.Array) -> Opened:
    tables = {
        "p": ({"k": keys, "x": pa.nulls(len(keys))}, TableSpec("k")),
        "c": ({"r": references}, TableSpec(fkeys={"r": "p"})),
    }
    raw = write_folder(folder / "raw", tables)
    return Opened(store.preprocess(raw, folder / "pre", embedder="hash", show_progress=False))


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_every_type(tmp_path: Path, name: str) -> None:
    keys, references, links = KEYS[name]
    found = linked(tmp_path, keys, references)
    missing = 3 - len(links)
    assert found.edges("parent", "c") == [[row] for row in links] + [[]] * missing
    report = found.meta.report
    nulls = pc.sum(pc.is_null(references, nan_is_null=True)).as_py()
    assert report["null_keys"].get("c.r", 0) == nulls
    assert report["dangling_keys"].get("c.r", 0) == missing - nulls
    assert rustler.Store(tmp_path / "pre").num_rows == len(keys) + 3


def test_keys_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.r.*p\.k.*give both columns one type"):
        linked(tmp_path / "a", pa.array(["1", "2"]), pa.array([1, 2]))
    with pytest.raises(InputError, match=r"p\.k: list.*make it a number or a text"):
        linked(tmp_path / "b", pa.array([[1], [2]]), pa.array([[1], [2]]))
    with pytest.raises(InputError, match=r"p\.k: 1 primary keys are null or NaN"):
        linked(tmp_path / "c", pa.array([np.nan, 2.5]), pa.array([1, 2]))
    with pytest.raises(InputError, match=r"c\.r.*p\.k.*\(binary\); give both columns one type"):
        linked(tmp_path / "d", pa.array(UUIDS, pa.uuid()), pa.array(["a", "b"]))
    with pytest.raises(InputError, match=r"c\.r.*p\.k.*\(text\); give both columns one type"):
        linked(tmp_path / "e", pa.array(["a", "b"]), pa.array(UUIDS, pa.uuid()))


TWICE = {
    "0.5": pa.array([0.5, 1.0, 0.5]),
    "1970-01-01 00:00:00.000000001": nanoseconds([1, 2, 1]),
    str(10**16): pa.array([10**16, 10**16], pa.timestamp("ms")),
    "0.5000": pa.array([Decimal("0.5000"), Decimal("0.5000")]),
    str(2**64 - 1): pa.array([2**64 - 1, 2, 2**64 - 1], pa.uint64()),
    "b'x'": pa.array([b"x", b"y", b"x"]),
}


@pytest.mark.parametrize("value", TWICE)
def test_a_key_that_occurs_twice_is_shown(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"p.k: the primary key {value} occurs twice")):
        linked(tmp_path, TWICE[value], pa.nulls(1))


def test_keys_of_a_table_that_is_put_in_order_of_time(tmp_path: Path) -> None:
    tables: dict[str, tuple[dict[str, Any], TableSpec]] = {
        "p": ({"k": [7, 8, 9], "d": dates("2020-03-01", "2020-01-01", None)}, TableSpec("k", "d")),
        "c": ({"r": [7, 8, 9, 7]}, TableSpec(fkeys={"r": "p"})),
    }
    write_folder(tmp_path / "raw", tables)
    found = Opened(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    # In order of time the parents are 8, 7, 9.
    assert found.edges("parent", "c") == [[1], [0], [2], [1]]
    assert found.edges("child", "p") == [[4], [3, 6], [5]]


def test_any_number_of_foreign_keys_a_row(tmp_path: Path) -> None:
    count = 40
    keys = {f"r{i}": "p" for i in range(count)}
    columns = {name: [i % 3, None if i % 2 else 2] for i, name in enumerate(keys)}
    tables = {
        "p": ({"k": [0, 1, 2]}, TableSpec("k")),
        "c": (columns, TableSpec(fkeys=keys)),
    }
    write_folder(tmp_path / "raw", tables)
    found = Opened(store.write_store(tmp_path / "raw", tmp_path / "pre"))
    assert found.edges("parent", "c") == [[i % 3 for i in range(count)], [2] * (count // 2)]
    assert found.meta.report["null_keys"] == {f"c.r{i}": 1 for i in range(1, count, 2)}
