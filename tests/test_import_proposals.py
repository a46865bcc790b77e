"""Keys and times proposed for small tables by hand: what must be found, and what must not."""

from pathlib import Path

import pyarrow as pa
import pytest

from rt.importing.names import is_key_name, key_stem, table_stem, words
from rt.importing.plan import KeyPlan, Plan
from rt.importing.propose import propose, with_timestamps
from rt.importing.staging import Staging
from rt.importing.tables import Column, SourceTable

Values = dict[str, list[object]]


def proposed(place: Path, **tables: Values) -> Plan:
    """The plan for tables in memory, proposals of 99 % taken."""
    staging = Staging(place / "work")
    for name, columns in tables.items():
        table = pa.table({column: pa.array(values) for column, values in columns.items()})
        fields = tuple(Column(field.name, field.type) for field in table.schema)
        batches = [
            pa.record_batch(batch.columns, [f"c{i}" for i in range(len(fields))])
            for batch in table.to_batches()
        ]
        staging.add(SourceTable(name, fields), batches, lambda count: None)
    plan = propose(staging, 0.99)
    staging.close()
    return plan


def keys(plan: Plan) -> set[tuple[str, str, str]]:
    return {(t, key.columns[0], key.references) for t, key in plan.references() if key.accept}


def listed(plan: Plan) -> dict[str, KeyPlan]:
    return {f"{table}.{key.columns[0]}": key for table, key in plan.references()}


def moments(*days: int | None) -> list[object]:
    return [None if n is None else pa.scalar(n * 86_400_000_000, pa.timestamp("us")).as_py()
            for n in days]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "stem"),
    [
        ("ArtistId", ("artist",)),
        ("customerID", ("customer",)),
        ("home_team_id", ("home", "team")),
        ("itemid", ("item",)),
        ("spec_itemid", ("spec", "item")),
        ("parkkey", ("park",)),
        ("country_code", ("country",)),
        ("categories_fk", ("category",)),
        ("id", ()),
        ("paid", ("paid",)),
    ],
)
def test_what_a_key_is_called_after(column: str, stem: tuple[str, ...]) -> None:
    assert key_stem(column) == stem


def test_words_of_names() -> None:
    assert words("HTTPServerId") == ("http", "server", "id")
    assert words("Net Total (€)")[:2] == ("net", "total")
    assert table_stem("tbl_OrderDetails") == ("order", "detail")
    assert table_stem("dim_companies") == ("company",)
    assert [is_key_name(name) for name in ("valid", "userid", "zip code", "order")] == [
        *(False, True, True, False),
    ]


def test_words_run_together_and_in_capitals(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        Artist={"ArtistId": [1, 2, 3], "Name": ["a", "b", "c"]},
        Album={"AlbumId": [1, 2, 3, 4], "Title": ["t"] * 4, "ArtistId": [1, 1, 2, 3]},
        PlaylistTrack={"playlistID": [1, 1, 2], "AlbumId": [1, 2, 1]},
        playlists={"ID": [1, 2], "Name": ["x", "y"]},
    )
    assert keys(plan) == {
        ("Album", "ArtistId", "Artist"),
        ("PlaylistTrack", "playlistID", "playlists"),
        ("PlaylistTrack", "AlbumId", "Album"),
    }
    assert {name: table.primary_key for name, table in plan.tables.items()} == {
        "Artist": ("ArtistId",),
        "Album": ("AlbumId",),
        "PlaylistTrack": ("playlistID", "AlbumId"),
        "playlists": ("ID",),
    }


def test_small_numbers_are_no_keys(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        users={"id": list(range(1, 31)), "level": [1, 2, 3] * 10, "units_in_users": [1] * 30},
        orders={
            "id": list(range(1, 61)),
            "user_id": [1 + i % 30 for i in range(60)],
            "quantity": [1 + i % 5 for i in range(60)],
            "line_number": [1 + i % 12 for i in range(60)],
            "status_id": [1 + i % 12 for i in range(60)],
            "reviewer_id": [1 + (7 * i) % 30 for i in range(60)],
        },
    )
    # the reviewer is a user: its values reach from the first to the last; statuses do not
    assert keys(plan) == {("orders", "user_id", "users"), ("orders", "reviewer_id", "users")}
    assert not listed(plan)["orders.status_id"].accept
    assert set(listed(plan)) == {"orders.user_id", "orders.reviewer_id", "orders.status_id"}


def test_references_to_the_own_table_and_by_codes(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        staff={"staff_id": [1, 2, 3], "reports_to": [None, 1, 1], "name": ["a", "b", "c"]},
        airports={"iata": ["AAA", "BBB", "CCC", "DDD"], "name": ["w x", "x y", "y z", "z w"]},
        flights={"origin": ["AAA", "BBB", "CCC"] * 4, "gate": ["A1", "B2", "C3"] * 4},
        profiles={"staff_id": [3, 1], "motto": ["m", "n"]},
    )
    assert keys(plan) == {
        ("staff", "reports_to", "staff"),
        ("flights", "origin", "airports"),
        ("profiles", "staff_id", "staff"),
    }


def test_shares_decide_and_are_told(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        shops={"shop_id": [10, 20, 30]},
        sales={"shop_id": [10, 20, 30, 40], "shop_code": [1, 2, 3, 4], "old_shop_id": [None] * 4},
    )
    found = listed(plan)
    assert (found["sales.shop_id"].share, found["sales.shop_id"].accept) == (0.75, False)
    assert "sales.shop_code" not in found


def test_a_number_beside_the_key_that_all_others_use(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        people={"ID": [1, 2, 3], "playerID": ["aa", "bb", "cc"]},
        batting={"playerID": ["aa", "aa", "bb", "cc"], "runs": [1, 2, 3, 4]},
        pitching={"playerID": ["cc", "cc"], "outs": [4, 5]},
    )
    assert plan.tables["people"].primary_key == ("playerID",)
    assert keys(plan) == {("batting", "playerID", "people"), ("pitching", "playerID", "people")}


def test_a_key_with_few_doubles_is_told(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        classes={"class_id": [1, 2, 3, 4, 4], "title": ["a", "b", "c", "d", "d"]},
        rooms={"id": [1, 2, 2, 3, 3], "size": [1, 2, 3, 4, 5]},
        visits={"visit_id": [1, 2, 3], "class_id": [1, 4, 4]},
        item={"item_id": [1, 2, 3]},
        items_more={"item_id": [1, 2, 3]},
        sales={"sale_id": [1, 2, 3], "item_id": [1, 1, 2]},
    )
    assert [plan.tables[name].why_key for name in ("item", "items_more")] == [
        *("unique, and named so", ""),
    ]
    assert plan.tables["classes"].primary_key == ()
    assert plan.tables["classes"].why_key == "class_id is unique but for 4"
    assert plan.tables["rooms"].why_key == ""
    assert plan.tables["visits"].primary_key == ("visit_id",)


def test_times_are_those_at_which_a_row_became_known(tmp_path: Path) -> None:
    days = moments(1, 2, 3)
    plan = proposed(
        tmp_path,
        users={"id": [1, 2, 3], "updated_at": days, "created_at": days},
        people={"id": [1, 2, 3], "dob": days, "last_modified": days},
        visits={"id": [1, 2, 3], "dischtime": days, "admittime": days},
        orders={"id": [1, 2, 3], "required_date": days, "order_date": days, "shipped": days},
        standings={"id": [1, 2, 3], "end_date": days},
        constants={"id": [1, 2, 3], "date": moments(1, 1, 1)},
        rare={"id": [1, 2, 3], "date": moments(1, None, None)},
        order_lines={"order_id": [1, 1, 2], "price": [1.0, 2.0, 3.0]},
        carts={"user_id": [1, 2, 2], "price": [1.0, 2.0, 3.0]},
    )
    found = {name: table.time_column for name, table in plan.tables.items()}
    assert found == {
        "users": "created_at",
        "people": None,
        "visits": "admittime",
        "orders": "order_date",
        "standings": "end_date",
        "constants": None,
        "rare": None,
        "order_lines": None,
        "carts": None,
    }
    # lines are parts of their order; a cart is no part of its user
    assert plan.tables["order_lines"].time_from == (("order_id",),)
    assert plan.tables["carts"].time_from == ()
    assert "last_modified says when the row was changed" in plan.tables["people"].why_time
    assert "dob is a birthday" in plan.tables["people"].why_time
    assert "date is missing in too many rows" in plan.tables["rare"].why_time


def test_pairs_have_the_times_of_both(tmp_path: Path) -> None:
    plan = proposed(
        tmp_path,
        films={"film_id": [1, 2, 3, 4], "released_at": moments(2, 3, 4, 5)},
        cinemas={"cinema_id": [10, 20, 30], "opened_at": moments(11, 12, 1)},
        film_cinemas={"film_id": [1, 2, 3, 4], "cinema_id": [10, 20, 30, 10]},
    )
    pairs = plan.tables["film_cinemas"]
    assert pairs.primary_key == ("film_id", "cinema_id")
    assert pairs.time_from == (("film_id",), ("cinema_id",))
    assert "its rows are parts of those of films and cinemas" in pairs.why_time


@pytest.mark.parametrize(
    ("days", "val", "test"),
    [
        (list(range(100)), "1970-03-22 00:00:00", "1970-04-01 00:00:00"),
        ([0, 0, 0, 0, 0, 1, 2], "1970-01-01 00:00:00", "1970-01-02 00:00:00"),
    ],
)
def test_timestamps_leave_times_for_every_split(
    tmp_path: Path, days: list[int], val: str, test: str
) -> None:
    staging = Staging(tmp_path)
    table = SourceTable("t", (Column("at", pa.timestamp("us")),))
    staging.add(table, [pa.record_batch([pa.array(moments(*days))], ["c0"])], lambda count: None)
    plan = with_timestamps(propose(staging, 0.99), staging)
    assert (plan.val_timestamp, plan.test_timestamp) == (val, test)
    staging.close()
