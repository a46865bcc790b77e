"""Filters on keys that an import numbered anew: they mean the keys of the source."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plurel.errors import InputError
from plurel.rng import stream
from rt.defining.definitions import Definition, database_columns
from rt.defining.source_keys import by_rows
from rt.defining.write import add_tasks
from rt.importing.run import Settings, import_database

NUM_USERS, NUM_ORDERS = 30, 400


def frames() -> dict[str, pd.DataFrame]:
    """Users numbered from 100, most of whom joined in another order; items called by codes."""
    draws = stream(0, "source keys")
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(draws.permutation(NUM_USERS), "D")
    users = pd.DataFrame({"id": 100 + np.arange(NUM_USERS), "since": days.astype(str)})
    users["card"] = [f"C{i % 29}-{i}" for i in range(NUM_USERS)]
    items = pd.DataFrame({"code": [f"i-{i}" for i in (3, 1, 2)], "price": [1.0, 2.0, 3.0]})
    at = pd.Timestamp("2020-02-01") + pd.to_timedelta(draws.integers(0, 300, NUM_ORDERS), "D")
    orders = pd.DataFrame({
        "no": 7000 + np.arange(NUM_ORDERS),
        "user": draws.choice(users["id"], NUM_ORDERS),
        "giver": draws.choice(users["id"], NUM_ORDERS),
        "item": draws.choice(items["code"], NUM_ORDERS),
        "card": draws.choice(users["card"], NUM_ORDERS),
        "at": at.astype(str),
    })  # fmt: skip
    stock = pd.DataFrame({"item": ["i-1", "i-2"], "place": ["a", "b"], "n": [4, 5]})
    return {"users": users, "items": items, "orders": orders, "stock": stock}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source-keys")
    with closing(sqlite3.connect(place / "shop.db")) as connection:
        connection.executescript(
            """CREATE TABLE users (id INTEGER PRIMARY KEY, since TEXT, card TEXT UNIQUE);
            CREATE TABLE items (code TEXT PRIMARY KEY, price REAL);
            CREATE TABLE stock (item TEXT REFERENCES items, place TEXT, n INTEGER,
                PRIMARY KEY (item, place));
            CREATE TABLE orders (no INTEGER PRIMARY KEY, "user" INTEGER REFERENCES users,
                giver INTEGER REFERENCES users, item TEXT REFERENCES items,
                card TEXT REFERENCES users (card), at TEXT)"""
        )
        for name, frame in frames().items():
            frame.to_sql(name, connection, if_exists="append", index=False)
        connection.commit()
    import_database(str(place / "shop.db"), place / "shop", Settings())
    return place / "shop"


def counted(orders: pd.DataFrame, seed: pd.Timestamp) -> dict[int, int]:
    """Per user of the source how many of the orders come in the 20 days after a seed time."""
    at = pd.to_datetime(orders["at"])
    inside = orders[(at > seed) & (at <= seed + pd.Timedelta(days=20))]
    return inside.groupby("user").size().to_dict()


FILTERS = {
    "item = 'i-2'": "item == 'i-2'",
    "item <> 'i-2' and giver > 104": "item != 'i-2' and giver > 104",
    "orders.giver in (101, 110) or not (giver between 105 and 125)":
        "giver in (101, 110) or not 105 <= giver <= 125",
    "item like 'i%' and giver <> \"user\" and giver is not null": "giver != user",
}  # fmt: skip


@pytest.mark.parametrize("condition", FILTERS)
def test_keys_are_those_of_the_source(imported: Path, condition: str) -> None:
    line = f'count(orders where {condition} via "user", 20 days) for users where id <= 120'
    (task,) = add_tasks(imported, {"x": Definition(predict=line)}, dry_run=True)
    called = pd.read_parquet(imported / "keys/users.parquet")["id"]
    for split in ("train", "val", "test"):
        for seed, rows in task.labels[split].groupby("timestamp"):
            users = called[rows["id"]]
            assert users.max() <= 120
            expected = counted(frames()["orders"].query(FILTERS[condition]), seed)
            found = dict(zip(users.tolist(), rows["target"], strict=True))
            assert found == {user: expected.get(user, 0) for user in users}


BAD = {
    "giver = 99": "no row of users has that key in the source, where one is 1",
    "item = 'i-9'": "no row of items has that key in the source, where one is 'i-1'",
    "item = 3": "a key of items in the source is such as 'i-1'",
    "giver % 2 = 0": "orders.giver holds numbers that the import gave to the keys of users: only a",
    "giver = no": "only a comparison with values is looked up, such as giver = 1",
    "card = 'C2-2'": "numbers that the import gave to rows of users, in the place of card: filter",
}


@pytest.mark.parametrize("condition", BAD)
def test_what_can_not_be_looked_up(imported: Path, condition: str) -> None:
    line = f'exists(orders where {condition} via "user", 20 days) for users'
    with pytest.raises(InputError) as raised:
        add_tasks(imported, {"x": Definition(predict=line)}, dry_run=True)
    assert BAD[condition] in str(raised.value)
    assert f"the filter {condition!r}: " in str(raised.value)


def test_numbers_of_several_parts(imported: Path) -> None:
    numbered = database_columns(imported).numbered["stock"]
    with pytest.raises(InputError, match="in the place of item, place: filter by other columns"):
        by_rows("primary_key = 1", "stock", numbered)
    assert by_rows("n > 3 and item is not null", "stock", numbered) == "n > 3 and item is not null"


def test_sql_that_compares_keys_is_warned_about(imported: Path) -> None:
    sql = """SELECT t.timestamp, o."user" AS entity, COUNT(*) AS target
        FROM timestamps t JOIN orders o ON o.at > t.timestamp
        AND o.at <= t.timestamp + INTERVAL '{timedelta}' JOIN users u ON u.id = o."user"
        WHERE o.giver > 10 AND o.at > DATE '2020-01-01' GROUP BY ALL"""
    query = Definition(sql=sql, entity="users", window="20 days", type="regression")
    (task,) = add_tasks(imported, {"x": query}, dry_run=True)
    assert [line for line in task.warnings() if "the SQL compares" in line] == [
        "the SQL compares giver with a value: its values are numbers that the import gave to rows, "
        "not keys of the source"
    ]
