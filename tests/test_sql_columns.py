"""Feature columns of SQL schemas: types, ranges, defaults, nulls, unique values, checks, texts."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sql_databases import Frames, config, from_text, load_into_sqlite

from plurel.dataset import SyntheticDataset
from plurel.dates import Window
from plurel.errors import InputError
from plurel.sql_domains import capacity, feature_domain, key_domain
from plurel.sql_model import SqlColumn, SqlType
from plurel.text import generate_text, spell_codes

WINDOW = Window(1_000_000_000, 1_100_000_000, 1_080_000_000, 1_090_000_000)


def accepted(text: str, folder: Path, **options: object) -> Frames:
    frames = from_text(text, folder, **options)  # type: ignore[arg-type]
    load_into_sqlite(text, frames)
    return frames


TYPES = """
CREATE TABLE t (
  id INTEGER PRIMARY KEY,
  small SMALLINT NOT NULL, whole BIGINT, money DECIMAL(7,2) NOT NULL, exact NUMERIC(4,0),
  ratio DOUBLE PRECISION NOT NULL CHECK (ratio > 0 AND ratio < 1), loose REAL,
  yes BOOLEAN NOT NULL, maybe BOOLEAN,
  day DATE, moment TIMESTAMP, clock TIME NOT NULL,
  letter CHAR(1) NOT NULL, name VARCHAR(12) NOT NULL, story TEXT,
  raw BLOB, doc JSON, one TEXT CHECK (one IN ('only'))
);
"""


def test_every_type_is_what_it_says(tmp_path: Path) -> None:
    for seed in range(4):
        frame = accepted(TYPES, tmp_path, seed=seed, rows=200)["t"]
        assert frame["small"].dtype == np.int64
        assert frame["whole"].dtype == "Int64"
        assert frame["money"].dtype == np.float64
        assert frame["ratio"].between(0, 1, inclusive="neither").all()
        assert frame["yes"].dtype == bool
        assert frame["maybe"].dtype == "boolean"
        assert {type(value).__name__ for value in frame["clock"]} == {"time"}
        assert {type(value) for value in frame["raw"].dropna()} == {bytes}
        assert set(frame["one"].dropna()) == {"only"}
        # this table's only NOT NULL timestamps are none: it is an activity table without time
        window = SyntheticDataset(seed, config(tmp_path / "schema.sql")).window
        for column in ("day", "moment"):
            moments = frame[column].dropna()
            assert moments.min() >= pd.Timestamp(window.start, unit="s")
            assert moments.max() <= pd.Timestamp(window.end, unit="s")
    assert frame["ratio"].nunique() > 20


def test_nullable_columns_lose_one_share_and_the_others_nothing(tmp_path: Path) -> None:
    frame = accepted(TYPES, tmp_path, rows=200)["t"]
    nulls = frame.isna().sum()
    required = ["id", "small", "money", "ratio", "yes", "clock", "letter", "name"]
    assert (nulls[required] == 0).all()
    rest = nulls.drop(required)
    assert rest.nunique() == 1
    assert 0.01 - 1 / 400 <= rest.iloc[0] / 400 <= 0.1


def test_defaults_stand_where_values_would_be_missing(tmp_path: Path) -> None:
    text = """
    CREATE TABLE t (
      id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 7 CHECK (n BETWEEN 0 AND 1000000),
      c VARCHAR(9) DEFAULT 'green' CHECK (c IN ('red', 'green')), s TEXT DEFAULT 'nobody said',
      d NUMERIC(5,2) DEFAULT 1.25 NOT NULL, bad INTEGER DEFAULT 99 CHECK (bad < 10),
      b BOOLEAN DEFAULT 1, e TEXT DEFAULT NULL, f TIMESTAMP DEFAULT CURRENT_TIMESTAMP
    );
    """
    path = tmp_path / "schema.sql"
    path.write_text(text)
    settings = config(path, rows=100).overridden(
        ["database_params.column_nan_perc_choices=0.5", "database_params.max_timestamp=2020-01-01"]
    )
    frame = SyntheticDataset(0, settings).make_db().table_dict["t"].df
    load_into_sqlite(text, {"t": frame})
    assert (frame["n"] == 7).sum() >= 100
    assert (frame["s"] == "nobody said").sum() == 100
    assert (frame["c"] == "green").sum() >= 100
    assert (frame["d"] == 1.25).sum() >= 100
    assert frame["b"].sum() >= 100
    assert frame[["n", "s", "c", "d", "b"]].notna().all(axis=None)
    assert frame["bad"].isna().sum() == 100
    assert frame["e"].isna().sum() == frame["f"].isna().sum() == 100


def test_unique_columns_hold_distinct_values(tmp_path: Path) -> None:
    text = """
    CREATE TABLE t (
      id INTEGER PRIMARY KEY, n SMALLINT UNIQUE, d DATE UNIQUE, price NUMERIC(6,2) NOT NULL UNIQUE,
      email VARCHAR(50) NOT NULL UNIQUE, nick VARCHAR(6) UNIQUE, code CHAR(3) UNIQUE, x REAL UNIQUE,
      a INTEGER NOT NULL, b DATE NOT NULL, c TEXT NOT NULL, UNIQUE (a, b), UNIQUE (a, c)
    );
    CREATE UNIQUE INDEX one ON t (c);
    """
    frame = accepted(text, tmp_path, rows=300)["t"]
    assert len(frame) == 600
    for column in ("price", "email", "c"):
        assert frame[column].is_unique
    for column in ("n", "d", "nick", "code", "x"):
        assert frame[column].dropna().is_unique
        assert 0 < frame[column].isna().sum() < 70
    assert frame["email"].str.fullmatch(r"[^@]+@[^@]+\.example").all()


def test_too_few_values_are_too_few_rows(tmp_path: Path) -> None:
    text = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE CHECK (n BETWEEN 3 AND 12));"
    assert sorted(accepted(text, tmp_path)["t"]["n"].dropna())[0] >= 3
    assert len(accepted(text, tmp_path)["t"]) == 10
    with pytest.raises(InputError, match=r"num_rows\.t: 11 rows, .* key \(n\) .* for 10"):
        from_text(text, tmp_path, num_rows={"t": 11})


def test_checks_between_columns_and_with_the_time(tmp_path: Path) -> None:
    text = """
    CREATE TABLE t (
      id INTEGER PRIMARY KEY, low INTEGER, high INTEGER, first DATE, last DATE,
      happened TIMESTAMP NOT NULL, ended TIMESTAMP, asked TIMESTAMP,
      CHECK (low < high), CHECK (last >= first), CHECK (ended > happened AND happened >= asked)
    );
    """
    for seed in range(3):
        frame = accepted(text, tmp_path, seed=seed, rows=200)["t"]
        assert frame["happened"].is_monotonic_increasing
        assert (frame["low"] < frame["high"]).sum() > 200
        assert frame["low"].nunique() + frame["high"].nunique() > 10


def test_time_columns(tmp_path: Path) -> None:
    text = """
    CREATE TABLE parent (id INTEGER PRIMARY KEY, made TIMESTAMP NOT NULL);
    CREATE TABLE first (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent,
      updated_at TIMESTAMP NOT NULL, seen TIMESTAMP, day DATE NOT NULL, at TIMESTAMP NOT NULL);
    CREATE TABLE second (day DATE NOT NULL, p INTEGER NOT NULL REFERENCES parent,
      PRIMARY KEY (day, p));
    CREATE TABLE third (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent, seen TIMESTAMP);
    """
    frames = accepted(text, tmp_path)
    tables = SyntheticDataset(0, config(tmp_path / "schema.sql")).make_schema().by_name
    times = {name: table.time_column for name, table in tables.items()}
    assert times == {"parent": None, "first": "at", "second": "day", "third": None}
    assert frames["first"]["at"].is_monotonic_increasing
    assert frames["first"]["at"].diff().dropna().dt.total_seconds().std() < 1
    assert frames["second"]["day"].is_monotonic_increasing
    named = config(tmp_path / "schema.sql", time_columns={"parent": "made"})
    assert SyntheticDataset(0, named).make_schema().by_name["parent"].time_column == "made"
    wrong = config(tmp_path / "schema.sql", time_columns={"parent": "id"})
    with pytest.raises(InputError, match=r"time_columns\.parent: 'id' must be a date"):
        SyntheticDataset(0, wrong).make_schema()


# texts


def text_column(kind: str = "words", name: str = "body", **bounds: int) -> SqlColumn:
    return SqlColumn(name, SqlType("text", form=kind, **bounds), 1)  # type: ignore[arg-type]


def test_words_tell_of_the_latent_value() -> None:
    latent = np.linspace(-2, 2, 3000)
    told = []
    for seed in range(8):
        texts = generate_text(latent, text_column(), False, np.random.default_rng(seed))
        words = [text.lower().strip(".").split() for text in texts]
        counts: dict[str, list[int]] = {}
        for row, found in enumerate(words):
            for word in found:
                counts.setdefault(word, [0] * 6)[row // 500] += 1
        table = np.array([c for c in counts.values() if sum(c) > 60], float)
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        told.append(((table - expected) ** 2 / expected).sum() / table.size)
    # far more than the 1 a cell that chance would give; noise remains: no word is certain
    assert min(told) > 2
    assert max(told) < 400


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("email", r"[a-zë]+\.[a-zö]+@[a-z]+\.example"),
        ("first_name", r"[A-Z][a-z]+"),
        ("CustomerName", r"\S+ \S+"),
        ("home_phone", r"\+\d\d \d{3} \d{6}"),
        ("website_url", r"https://[a-z]+\.example/[a-z]+"),
        ("postal_code", r"\d{5}"),
        ("password", r"[0-9a-f]{40}"),
        ("comment", r"[A-Z][a-z ]*\."),
        ("product_name", r"[A-Z][a-z ]*"),
    ],
)
def test_names_of_columns_say_what_texts_look_like(name: str, pattern: str) -> None:
    draw = np.random.default_rng(0)
    texts = pd.Series(
        generate_text(draw.normal(size=50), text_column(name=name, length=80), False, draw)
    )
    assert texts.str.fullmatch(pattern).all(), texts[:5]
    assert texts.nunique() > 5


def test_lengths_hold_for_every_form() -> None:
    draw = np.random.default_rng(0)
    names = ("email", "x", "title", "url", "code", "address", "description", "state", "phone")
    for name, length, unique in itertools.product(names, (1, 2, 4, 9, 30), (False, True)):
        rows = 20 if length == 1 else 300
        column = text_column(name=name, length=length, min_length=min(length, 3))
        texts = generate_text(draw.normal(size=rows), column, unique, draw).tolist()
        assert {min(length, 3) <= len(text) <= length for text in texts} == {True}
        assert not unique or len(set(texts)) == rows


@pytest.mark.parametrize("length", [1, 2, 3, 5, 40, None])
def test_codes_are_distinct_to_the_last_one(length: int | None) -> None:
    column = text_column(length=length)  # type: ignore[arg-type]
    rows = int(min(capacity(column.type, WINDOW), 2000))
    codes = spell_codes(column, rows, np.random.default_rng(0)).tolist()
    assert len(set(codes)) == rows
    assert max(map(len, codes)) <= (length or 99)
    bits = SqlColumn("b", SqlType("text", form="bits", length=3), 1)
    assert len(set(spell_codes(bits, 8, np.random.default_rng(0)).tolist())) == 8
    raw = SqlColumn("b", SqlType("binary", length=1), 1)
    assert len(set(spell_codes(raw, 256, np.random.default_rng(0)).tolist())) == 256


# ranges


@pytest.mark.parametrize(
    "kind",
    [
        SqlType("integer", low=-128, high=127),
        SqlType("integer", low=5, high=2**31, low_checked=True),
        SqlType("integer", low=-(2**63), high=-4, high_checked=True),
        SqlType("decimal", low=-99.99, high=99.99, scale=2),
        SqlType("decimal", low=0.01, high=0.03, low_checked=True, high_checked=True, scale=2),
        SqlType("float", low=0.0, high=1e-3, low_checked=True, high_checked=True),
        SqlType("date", low=2_000_000_000.0),
        SqlType("timestamp", high=500_000_000.0),
        SqlType("time"),
    ],
)
def test_ranges_stay_inside_of_the_type(kind: SqlType) -> None:
    for seed in range(30):
        domain = feature_domain(kind, "x", WINDOW, np.random.default_rng(seed))
        ends = domain.values(np.array([0, domain.count - 1]))
        if kind.base == "time":
            continue
        if ends.dtype.kind == "M":
            ends = ends.astype("datetime64[s]").astype(np.int64)
        assert ends[0] <= ends[1]
        assert kind.low is None or ends[0] >= kind.low
        assert kind.high is None or ends[1] <= kind.high
    assert feature_domain(kind, "x", WINDOW, np.random.default_rng(0), need=2).count >= 2


def test_keys_are_counted_from_one() -> None:
    assert key_domain(SqlType("integer", low=-128, high=127), WINDOW).first == 1
    assert key_domain(SqlType("integer", low=0, high=255), WINDOW, 256).first == 0
    assert capacity(SqlType("integer", low=0, high=255), WINDOW) == 256
    assert capacity(SqlType("integer", low=-128, high=127), WINDOW) == 128
    assert capacity(SqlType("category", values=("a", "b")), WINDOW) == 2
