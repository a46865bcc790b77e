"""Every Arrow type that a parquet file can hold, its value, null and type found in the store."""

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from opened_store import DAY, Opened, make
from raw_folders import write_folder
from relbench.manifest import TableSpec

from plurel.errors import InputError
from rt import store

DATE = datetime.date
END = "9999-12-31"
ZONES = ("UTC", "Asia/Tokyo", "+05:30", None)
UUIDS = (uuid.UUID(int=1), uuid.UUID(int=2**127))
HUGE = "12345678901234567890123456789012345678.0"

WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
         pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal32(9, 2),
         pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(76, 2), pa.duration("s"),
         pa.time32("s")]  # fmt: skip
NUMBERS: dict[str, tuple[Any, list[float]]] = {
    **{str(kind): (pa.array([1, None, 100], kind), [1, 100]) for kind in WHOLE},
    **{
        f"duration {unit}": (pa.array([2000, None, -7000], pa.duration(unit)), [2 / d, -7 / d])
        for unit, d in (("ms", 1), ("us", 1e3), ("ns", 1e6))
    },
    "time32 ms": (pa.array([1500, None, 0], pa.time32("ms")), [1.5, 0]),
    "time64 us": (pa.array([1500, None, 0], pa.time64("us")), [0.0015, 0]),
    "time64 ns": (pa.array([1500, None, 0], pa.time64("ns")), [0.0000015, 0]),
    "dictionary": (pa.array([7, None, 9]).dictionary_encode(), [7, 9]),
    "float dictionary": (pa.array([7.5, None, 9]).dictionary_encode(), [7.5, 9]),
    "constant": (pa.array([5, None, 5]), [5, 5]),
}
TEXTS: dict[str, tuple[Any, list[str]]] = {
    **{
        str(kind): (pa.array(["a", None, "é"], kind), ["a", "é"])
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    **{
        str(kind): (pa.array([b"abc\n", None, b"\xff\x00\x00a"], kind), ["abc\n", "ff000061"])
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4))
    },
    "binary with NUL": (pa.array([b"\0\1", None, b"ok"]), ["0001", "ok"]),
    "dictionary": (pa.array(["x", None, "y"]).dictionary_encode(), ["x", "y"]),
    "binary dictionary": (pa.array([b"x", None, b"\xff"]).dictionary_encode(), ["x", "ff"]),
    "uuid": (pa.array([u.bytes for u in UUIDS], pa.uuid()).take(pa.array([0, None, 1])),
             [str(u) for u in UUIDS]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None, "[]"])),
             ['{"a":1}', "[]"]),
    "list": (pa.array([[1, 2], None, []]), ["[1, 2]", "[]"]),
    "large list": (pa.array([[True], None, []], pa.large_list(pa.bool_())), ["[true]", "[]"]),
    "fixed list": (pa.array([[1, 2.5], None, [3, None]], pa.list_(pa.float32(), 2)),
                   ["[1.0, 2.5]", "[3.0, null]"]),
    "list view": (pa.array([["é"], None, []], pa.list_view(pa.string())), ['["é"]', "[]"]),
    "struct": (pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
               ['{"a": 1, "b": "x"}', '{"a": null, "b": "y"}']),
    "map": (pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            ['[["k", 1]]', "[]"]),
    "deep": (pa.array([[{"d": DATE(2000, 1, 2), "n": Decimal("1.50"), "b": b"\xff"}], None, []]),
             ['[{"d": "2000-01-02", "n": "1.50", "b": "ff"}]', "[]"]),
    "times in ns": (pa.array([[1], None, []], pa.list_(pa.timestamp("ns"))),
                    ['["1970-01-01T00:00:00.000000001"]', "[]"]),
    "tensor": (pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [2]),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2))),
        ["[1.0, 2.0]", "[3.0, 4.0]"]),
}  # fmt: skip
BOOLEANS = {
    "boolean": pa.array([True, None, False]),
    "dictionary": pa.array([True, None, False]).dictionary_encode(),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([5, None, 0], pa.int8())),
}
TIMES: dict[str, tuple[Any, list[float]]] = {
    **{
        f"timestamp {unit} {zone}": (
            pa.array([0, None, DAY], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone)),
            [0, DAY],
        )
        for unit in ("s", "ms", "us", "ns")
        for zone in ZONES
    },
    "date32": (pa.array([DATE(1, 1, 1), None, DATE(9999, 12, 31)]), [-62135596800, 253402214400]),
    "date64": (pa.array([DATE(1000, 1, 1), None, DATE(2039, 1, 1)], pa.date64()),
               [-30610224000, 2177452800]),
    "far timestamps": (pa.array([-30610224000, None, 253402214400], pa.timestamp("us")).cast(
        pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp("us")),
        [-30610224000, 253402214400]),
    "dictionary": (pa.array([0, None, DAY], pa.timestamp("s")).dictionary_encode(), [0, DAY]),
}  # fmt: skip
NOTHING = {
    "null": (pa.nulls(3), "text"),
    "string": (pa.nulls(3, pa.string()), "text"),
    "list": (pa.nulls(3, pa.list_(pa.int8())), "text"),
    "boolean": (pa.nulls(3, pa.bool_()), "boolean"),
    "float": (pa.nulls(3, pa.float32()), "number"),
    "NaN": (pa.array([float("nan")] * 3), "number"),
    "decimal": (pa.nulls(3, pa.decimal128(5, 2)), "number"),
    "timestamp": (pa.nulls(3, pa.timestamp("ns", "UTC")), "datetime"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(tmp_path: Path, name: str) -> None:
    column, (first, last) = NUMBERS[name]
    found = make(tmp_path, {"x": column})
    assert found.column("t", "x").type == "number"
    values = found.values("t", "x")
    assert values.pop(1) is None
    assert values == pytest.approx([first, last], rel=1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_texts(tmp_path: Path, name: str) -> None:
    column, (first, last) = TEXTS[name]
    found = make(tmp_path, {"x": column})
    assert found.column("t", "x").type == "text"
    assert found.cells("t", "x") == [first, None, last]


@pytest.mark.parametrize("name", BOOLEANS)
def test_booleans(tmp_path: Path, name: str) -> None:
    found = make(tmp_path, {"x": BOOLEANS[name]})
    assert found.column("t", "x").type == "boolean"
    assert found.cells("t", "x") == [1, None, -1]


@pytest.mark.parametrize("name", TIMES)
def test_times_as_cells_and_as_the_time_of_rows(tmp_path: Path, name: str) -> None:
    column, (first, last) = TIMES[name]
    found = make(tmp_path, {"x": column}, TableSpec(time_col="x"), val=END, test=END)
    assert found.column("t", "x").type == "datetime"
    # rows without a time stand last
    values = found.values("t", "x")
    assert values.pop() is None
    assert values == pytest.approx([first, last], abs=1)
    assert found.arrays["row_time"].tolist() == [first, last, store.NO_TIME]


def test_a_row_of_time_infinity_never_happens_and_one_of_minus_infinity_always_has(
    tmp_path: Path,
) -> None:
    time = pa.array([2**63 - 1, 1, -(2**63), -(2**63) + 1], pa.timestamp("us"))
    found = make(tmp_path, {"x": time}, TableSpec(time_col="x"), val=END, test=END)
    assert found.arrays["row_source"].tolist() == [2, 3, 1, 0]
    first, second, third, last = found.arrays["row_time"].tolist()
    assert store.NO_TIME < first <= second < -(9 * 10**12) < third < 9 * 10**12 < last
    assert found.cells("t", "x") == [None, None, 0, None]


@pytest.mark.parametrize("name", NOTHING)
def test_columns_without_a_value(tmp_path: Path, name: str) -> None:
    column, kind = NOTHING[name]
    found = make(tmp_path, {"x": column})
    assert found.column("t", "x").type == kind
    assert found.cells("t", "x") == [None] * 3


def test_what_duckdb_writes(tmp_path: Path) -> None:
    write_folder(tmp_path / "raw", {"t": ({"x": [0]}, TableSpec())})
    duckdb.sql(
        "copy (select unnest([interval '1 year 2 months 3 days 4 seconds', null]) span, "
        "unnest(['infinity', '2020-01-02'])::timestamp t, "
        "unnest(['-infinity', '2020-01-03'])::date d, unnest([7, null])::hugeint h, "
        "unnest(['a', null])::enum('a', 'b') e, '101'::bit b, timetz '12:00:00+02' z) "
        f"to '{tmp_path}/raw/db/t.parquet' (format parquet)"
    )
    store.write_store(tmp_path / "raw", tmp_path / "pre")
    found = Opened(tmp_path / "pre")
    assert found.values("t", "span") == pytest.approx([365.25 * DAY + 63 * DAY + 4, None])
    for name, day in (("t", 1577923200), ("d", 1578009600)):
        assert found.values("t", name)[0] is None
        assert found.values("t", name)[1] == pytest.approx(day, abs=60)
    assert found.meta.report["infinite_values"] == {"t.t": 1, "t.d": 1}
    assert found.values("t", "h") == [7, None]
    assert found.cells("t", "e") == ["a", None]
    assert found.cells("t", "b") == ["101", "101"]
    assert found.values("t", "z") == [36000, 36000]


NEIGHBOURS = {
    "int64": pa.array([2**62 + 1, 2**62 + 2, 2**62 + 3]),
    "uint64": pa.array([2**64 - 3, 2**64 - 2, 2**64 - 1], pa.uint64()),
    "negative": pa.array([-(2**62) - 3, -(2**62) - 2, -(2**62) - 1]),
    "decimal": pa.array([Decimal(f"{HUGE}{i}") for i in (1, 2, 3)], pa.decimal256(76, 2)),
    "nanoseconds": pa.array([2**62 + 1, 2**62 + 2, 2**62 + 3], pa.duration("ns")),
    "float": pa.array([1e15 + 0.125, 1e15 + 0.25, 1e15 + 0.375]),
    "float32": pa.array([2**24 - 3, 2**24 - 2, 2**24 - 1], pa.float32()),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_large_numbers_that_differ_in_the_last_digit_stay_apart(tmp_path: Path, name: str) -> None:
    found = make(tmp_path, {"x": NEIGHBOURS[name]})
    assert found.cells("t", "x") == pytest.approx([-1.2247449, 0, 1.2247449], abs=1e-4)
    first = NEIGHBOURS[name][1].as_py()
    value = first.value * 1e-9 if name == "nanoseconds" else float(first)
    assert found.column("t", "x").mean == pytest.approx(value, rel=1e-12)


def test_the_extremes_of_64_bits(tmp_path: Path) -> None:
    found = make(tmp_path, {"x": [2**63 - 1, -(2**63), 0], "y": [2**62, 5, None]})
    assert found.cells("t", "x") == pytest.approx([1.2247449, -1.2247449, 0], abs=1e-6)
    assert found.values("t", "y")[:2] == pytest.approx([2**62, 5], abs=1e12)


def test_many_large_numbers_have_an_exact_mean(tmp_path: Path) -> None:
    # the plain sum of these is rounded to multiples of 2**17
    found = make(tmp_path, {"x": 1e15 + np.arange(300_000) % 3})
    cells = found.arrays["cell_value"][:3].view(np.float32)
    assert cells == pytest.approx([-1.2247449, 0, 1.2247449], abs=1e-5)


def test_times_in_lists_that_python_cannot_hold_are_refused(tmp_path: Path) -> None:
    far = pa.array([[-(10**14)]], pa.list_(pa.timestamp("ms")))
    with pytest.raises(InputError, match=r"table 't', column 'x'.*convert or drop"):
        make(tmp_path, {"x": far})
