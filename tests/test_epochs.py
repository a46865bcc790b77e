"""Whole numbers that count since 1970: which become times, and what is asked about the others."""

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from plurel.errors import InputError
from rt.importing.run import Settings, import_database, plan_import
from tests.import_fixtures import column, manifest, rows, write_csv

T = 1_577_836_800
"""2020-01-01, in seconds."""
DAY = 86_400
LIBRARY = f"""
    CREATE TABLE reader (id INTEGER PRIMARY KEY, since TEXT);
    CREATE TABLE loan (reader INTEGER REFERENCES reader, isbn TEXT, taken INTEGER, days INTEGER,
        PRIMARY KEY (reader, isbn, taken));
    INSERT INTO reader VALUES (7, '2019-12-01'), (8, '2019-12-02');
    INSERT INTO loan VALUES (8, 'x', {T + 3 * DAY}, 5), (7, 'x', {T + DAY}, 6), (7, 'y', {T}, 7);
"""


def day(number: int) -> dt.datetime:
    return dt.datetime(2020, 1, 1) + dt.timedelta(days=number)


def sqlite(path: Path, script: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return str(path)


def test_a_part_of_a_key_that_counts_is_the_time_of_a_row(tmp_path: Path) -> None:
    """Not the time of the reader, long before the loan."""
    out = tmp_path / "out"
    done = import_database(sqlite(tmp_path / "library.db", LIBRARY), out)
    assert manifest(out)["tables"]["loan"]["time_col"] == "taken"
    assert rows(out, "loan") == [
        (0, 0, "y", day(0), 7),
        (1, 0, "x", day(1), 6),
        (2, 1, "x", day(3), 5),
    ]
    assert "loan.taken: counts since 1970 became times" in done.messages
    # rows are asked for by what stands in the source
    kept = pq.read_table(out / "keys/loan.parquet").to_pydict()
    assert kept["taken"] == [T, T + DAY, T + 3 * DAY]
    import_database(str(tmp_path / "library.db"), tmp_path / "again", plan=out / "plan.yaml")
    assert rows(tmp_path / "again", "loan") == rows(out, "loan")
    # a person may say that it is none
    plan = (out / "plan.yaml").read_text(encoding="utf-8").replace("since_1970: [taken]", "")
    plan = plan.replace("time_column: taken", "time_column: null")
    (tmp_path / "plan.yaml").write_text(plan, encoding="utf-8")
    import_database(str(tmp_path / "library.db"), out, plan=tmp_path / "plan.yaml", overwrite=True)
    assert sorted(column(out, "loan", "taken")) == kept["taken"]


def test_names_and_values_speak_for_a_time(tmp_path: Path) -> None:
    """Seconds, and milliseconds with nulls; not a number, a small count, a phone, years beyond."""
    lines = [
        f"{i},{(T + i * DAY) * 1000},{'' if i % 2 else T + i},{T + i},{T + i},{90 + i},{5 * T + i}"
        for i in range(8)
    ]
    heads = "id,created_at,closed_at,visit_no,phone,paid_at,ended_at"
    source = write_csv(tmp_path / "csv", visits=" ".join([heads, *lines]))
    done = import_database(str(source), tmp_path / "out", Settings(accept=0.99))
    assert done.plan.tables["visits"].since_1970 == ("created_at", "closed_at")
    assert manifest(tmp_path / "out")["tables"]["visits"]["time_col"] == "created_at"
    assert column(tmp_path / "out", "visits", "created_at") == [day(i) for i in range(8)]
    closed = column(tmp_path / "out", "visits", "closed_at")
    assert closed[1] is None
    assert closed[2] == day(0) + dt.timedelta(seconds=2)
    assert column(tmp_path / "out", "visits", "phone")[0] == T


PARTS = f"""
    CREATE TABLE orders (id INTEGER PRIMARY KEY, at TEXT);
    CREATE TABLE order_lines (orders INTEGER REFERENCES orders, n INTEGER, x INTEGER,
        PRIMARY KEY (orders, n));
    INSERT INTO orders VALUES (1, '2020-01-01'), (2, '2020-01-02'), (3, '2020-01-05'),
        (4, '2020-02-01');
    INSERT INTO order_lines VALUES (1, 1, {T + 5 * DAY}), (2, 1, {T + 5}), (3, 1, {T + 6 * DAY});
"""


def test_the_time_of_a_parent_is_not_taken_beside_what_may_be_an_own_one(tmp_path: Path) -> None:
    source, file = sqlite(tmp_path / "shop.db", PARTS), tmp_path / "plan.yaml"
    with pytest.raises(InputError) as raised:
        import_database(source, tmp_path / "out")
    assert str(raised.value).startswith(
        f"time of order_lines: x may count seconds since 1970 ({T + 5} is 2020-01-01): name it as "
        "time_column, or orders as time_from for the times of those rows; say it in a plan"
    )
    plan_import(source, file)
    text = file.read_text(encoding="utf-8")
    assert f"time_column: null  # x may count seconds since 1970 ({T + 5}" in text
    for written, times in (
        ("time_column: x", [day(0) + dt.timedelta(seconds=5), day(5), day(6)]),
        ("time_from: orders", [day(0), day(1), day(4)]),
    ):
        file.write_text(text.replace("time_column: null", written), encoding="utf-8")
        import_database(source, tmp_path / "out", plan=file, overwrite=True)
        name = manifest(tmp_path / "out")["tables"]["order_lines"]["time_col"]
        assert column(tmp_path / "out", "order_lines", name) == times


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("since_1970: [n]", "since_1970 n holds no whole numbers that count seconds or millis"),
        ("since_1970: [orders]", "table order_lines: since_1970 orders holds no whole numbers"),
        ("since_1970: [xx]", "table order_lines has no column 'xx'; did you mean 'x'?"),
        ("time_column: n", "time column n holds int64, not dates or times, nor whole numbers"),
    ],
)
def test_what_a_plan_calls_a_time_must_be_one(tmp_path: Path, written: str, told: str) -> None:
    source, file = sqlite(tmp_path / "shop.db", PARTS), tmp_path / "plan.yaml"
    plan_import(source, file)
    text = file.read_text(encoding="utf-8").replace("    time_column: null", f"    {written}")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        import_database(source, tmp_path / "out", plan=file)
    assert told in str(raised.value)


def test_a_key_that_is_the_time_as_well(tmp_path: Path) -> None:
    """Its values stay beside its numbers, which are no times."""
    script = f"""CREATE TABLE hours (ts INTEGER PRIMARY KEY, load REAL);
        INSERT INTO hours VALUES ({T + DAY}, 1), ({T}, 2), ({T + 3 * DAY}, 3), ({T + 9 * DAY}, 4)"""
    out = tmp_path / "out"
    import_database(sqlite(tmp_path / "hours.db", script), out)
    spec = {"pkey": "ts", "time_col": "ts_original", "fkeys": {}}
    assert manifest(out)["tables"]["hours"] == spec
    assert rows(out, "hours")[:2] == [(0, day(0), 2.0), (1, day(1), 1.0)]
    plan = (out / "plan.yaml").read_text(encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(
        plan.replace("time_column: ts", "keep_key: false\n    time_column: ts"), encoding="utf-8"
    )
    import_database(str(tmp_path / "hours.db"), out, plan=tmp_path / "plan.yaml", overwrite=True)
    assert manifest(out)["tables"]["hours"] == spec
