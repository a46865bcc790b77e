"""Keys of SQL schemas: composite, shared, circular and self references, nulls, unique sets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sql_databases import Frames, config, from_text, load_into_sqlite

from plurel.choices import Choices
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.sql_keys import match
from plurel.sql_unique import Member, repeated, separate, spread


def accepted(text: str, folder: Path, **options: object) -> Frames:
    """Generated, checked, and inserted into SQLite, which declares the same keys and checks."""
    frames = from_text(text, folder, **options)  # type: ignore[arg-type]
    load_into_sqlite(text, frames)
    return frames


ORDERS = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL);
CREATE TABLE lines (
  order_id INTEGER NOT NULL REFERENCES orders, number SMALLINT NOT NULL, price REAL,
  PRIMARY KEY (order_id, number)
);
CREATE TABLE returns (
  id INTEGER PRIMARY KEY, order_id INTEGER, number SMALLINT, reason TEXT,
  FOREIGN KEY (order_id, number) REFERENCES lines (order_id, number)
);
"""


def test_composite_keys_are_columns_beside_a_key_for_relbench(tmp_path: Path) -> None:
    frames = accepted(ORDERS, tmp_path)
    lines, returns = frames["lines"], frames["returns"]
    assert list(lines) == ["row_idx", "order_id", "number", "price"]
    assert list(returns) == ["foreign_row_0", "id", "order_id", "number", "reason"]
    assert lines["row_idx"].tolist() == list(range(len(lines)))
    # lines of an order are counted from 1
    counted = lines.groupby("order_id")["number"].agg(["min", "max", "count"])
    assert (counted["min"] == 1).all()
    assert (counted["max"] == counted["count"]).all()
    rows = returns["foreign_row_0"]
    whole = returns[["order_id", "number"]].isna().sum(axis=1)
    assert set(whole) == {0, 2}
    assert (rows.isna() == (whole == 2)).all()
    there = lines.loc[rows.dropna().astype(int)]
    assert (there["number"].to_numpy() == returns["number"].dropna().to_numpy()).all()


def test_tenants_agree_in_all_keys_of_a_row(tmp_path: Path) -> None:
    text = """
    CREATE TABLE tenant (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE person (
      tenant INTEGER NOT NULL REFERENCES tenant, id INTEGER NOT NULL, boss INTEGER,
      PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, boss) REFERENCES person (tenant, id)
    );
    CREATE TABLE project (
      tenant INTEGER NOT NULL REFERENCES tenant, id INTEGER NOT NULL, title VARCHAR(30) NOT NULL,
      PRIMARY KEY (tenant, id), UNIQUE (tenant, title)
    );
    CREATE TABLE work (
      tenant INTEGER NOT NULL REFERENCES tenant, person INTEGER NOT NULL, project INTEGER NOT NULL,
      since DATE NOT NULL, hours REAL,
      FOREIGN KEY (tenant, person) REFERENCES person (tenant, id),
      FOREIGN KEY (tenant, project) REFERENCES project (tenant, id),
      PRIMARY KEY (tenant, person, project, since)
    );
    """
    frames = accepted(text, tmp_path, rows=80, num_rows={"tenant": 5})
    person, work = frames["person"], frames["work"]
    bosses = person.dropna(subset="boss")
    assert 0.3 < len(bosses) / len(person) < 1
    # a row references an earlier one: nobody is above himself
    assert (bosses["foreign_row_1"].astype(int) < bosses.index).all()
    assert (
        person.loc[bosses["foreign_row_1"].astype(int), "tenant"].to_numpy() == bosses["tenant"]
    ).all()
    projects = frames["project"].loc[work["foreign_row_2"], "tenant"]
    assert (projects.to_numpy() == work["tenant"].to_numpy()).all()
    assert work["tenant"].nunique() > 2
    assert work["since"].is_monotonic_increasing


def test_several_keys_to_one_table_are_independent(tmp_path: Path) -> None:
    text = """
    CREATE TABLE airport (id INTEGER PRIMARY KEY, city TEXT);
    CREATE TABLE flight (id INTEGER PRIMARY KEY, origin INTEGER NOT NULL REFERENCES airport,
      dest INTEGER NOT NULL REFERENCES airport (id), via INTEGER REFERENCES airport);
    """
    flight = accepted(text, tmp_path)["flight"]
    assert (flight["origin"] != flight["dest"]).mean() > 0.8
    assert flight[["origin", "dest"]].notna().all(axis=None)
    assert flight["via"].isna().any()


def test_self_references_lead_to_earlier_rows(tmp_path: Path) -> None:
    text = """
    CREATE TABLE free (id INTEGER PRIMARY KEY, up INTEGER REFERENCES free, x REAL);
    CREATE TABLE bound (id INTEGER PRIMARY KEY, up INTEGER NOT NULL REFERENCES bound (id));
    CREATE TABLE chain (id INTEGER PRIMARY KEY, next INTEGER UNIQUE REFERENCES chain (id));
    CREATE TABLE code (code VARCHAR(8) PRIMARY KEY, up VARCHAR(8) REFERENCES code);
    """
    frames = accepted(text, tmp_path)
    up = frames["free"]["up"]
    assert pd.isna(up[0])
    assert (up.dropna() < up.dropna().index).all()
    assert up.nunique() > 10
    bound = frames["bound"]["up"]
    assert bound[0] == 0
    assert (bound[1:] < bound.index[1:]).all()
    chain = frames["chain"]["next"].dropna()
    assert (chain == chain.index - 1).all()
    code = frames["code"].dropna()
    assert (frames["code"]["code"].reindex(code["foreign_row_0"]).to_numpy() == code["up"]).all()


def test_nullable_keys_take_the_drawn_share(tmp_path: Path) -> None:
    text = """
    CREATE TABLE a (id INTEGER PRIMARY KEY);
    CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a,
      must INTEGER NOT NULL REFERENCES a);
    """
    share = {"kind": "set", "value": [0.25]}
    b = accepted(text, tmp_path, null_key_choices=share)["b"]
    assert b["a"].isna().sum() == 30
    assert b["must"].notna().all()
    none = {"kind": "set", "value": [0.0]}
    assert accepted(text, tmp_path, null_key_choices=none)["b"]["a"].notna().all()
    assert isinstance(config("x").sql_params.null_key_choices, Choices)


def test_a_circle_of_tables_breaks_at_a_nullable_key(tmp_path: Path) -> None:
    text = """
    CREATE TABLE dept (id INTEGER PRIMARY KEY, head INTEGER REFERENCES emp, size INTEGER);
    CREATE TABLE emp (id INTEGER PRIMARY KEY, dept INTEGER NOT NULL REFERENCES dept, age INTEGER);
    CREATE TABLE badge (id INTEGER PRIMARY KEY, emp INTEGER NOT NULL REFERENCES emp);
    """
    frames = accepted(text, tmp_path)
    schema = SyntheticDataset(0, config(tmp_path / "schema.sql")).make_schema()
    assert [table.name for table in schema.tables] == ["dept", "emp", "badge"]
    assert not schema.by_name["dept"].foreign_keys[0].read
    assert schema.by_name["emp"].foreign_keys[0].read
    assert frames["dept"]["head"].nunique() > 5


def test_values_that_depend_on_themselves_are_refused_with_the_circle(tmp_path: Path) -> None:
    text = """
    CREATE TABLE a (id INTEGER PRIMARY KEY REFERENCES b (id));
    CREATE TABLE b (id INTEGER PRIMARY KEY REFERENCES a (id));
    """
    with pytest.raises(InputError, match=r"line 2: the keys a\.id -> b\.id -> a\.id take their"):
        from_text(text, tmp_path)


def test_one_to_one_and_full_tables(tmp_path: Path) -> None:
    text = """
    CREATE TABLE user (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE profile (user_id INTEGER PRIMARY KEY REFERENCES user, bio TEXT);
    CREATE TABLE day (day INTEGER PRIMARY KEY CHECK (day BETWEEN 1 AND 7));
    CREATE TABLE plan (user_id INTEGER REFERENCES user, day INTEGER REFERENCES day,
      kind TEXT CHECK (kind IN ('am', 'pm')), PRIMARY KEY (user_id, day, kind));
    """
    frames = accepted(text, tmp_path, num_rows={"user": 9, "plan": 9 * 7 * 2})
    assert sorted(frames["profile"]["user_id"]) == list(range(9))
    assert frames["day"]["day"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert list(frames["day"]) == ["row_idx", "day"]
    assert len(frames["plan"]) == 126
    with pytest.raises(
        InputError, match=r"num_rows\.plan: 127 rows, but its unique key .* for 126"
    ):
        from_text(text, tmp_path, num_rows={"user": 9, "plan": 127})


@pytest.mark.parametrize("kind", ["VARCHAR(4)", "CHAR(12)", "UUID", "DATE", "NUMERIC(8,3)", "TEXT"])
def test_keys_of_any_type_are_copied(kind: str, tmp_path: Path) -> None:
    text = f"""
    CREATE TABLE a (k {kind} NOT NULL PRIMARY KEY, x REAL);
    CREATE TABLE b (id INTEGER PRIMARY KEY, k {kind} NOT NULL, FOREIGN KEY (k) REFERENCES a (k));
    """
    frames = accepted(text, tmp_path, dialect="postgres")
    a, b = frames["a"], frames["b"]
    assert a["k"].is_unique
    assert (a["k"].loc[b["foreign_row_0"]].to_numpy() == b["k"].to_numpy()).all()


def test_references_to_unique_columns(tmp_path: Path) -> None:
    text = """
    CREATE TABLE a (id INTEGER PRIMARY KEY, mail VARCHAR(40) UNIQUE, n INTEGER UNIQUE);
    CREATE TABLE b (id INTEGER PRIMARY KEY, mail VARCHAR(40) REFERENCES a (mail), n INTEGER,
      FOREIGN KEY (n) REFERENCES a (n));
    """
    frames = accepted(text, tmp_path)
    assert frames["a"]["mail"].notna().all()
    assert frames["b"]["mail"].isin([*frames["a"]["mail"], None]).all()


# the parts, by hand


def test_match_takes_the_next_row_of_the_group() -> None:
    parents = np.array([0, 1, 0, -1, 1])
    children = np.array([0, 0, 1, 1, 2, -1])
    wanted = np.array([1, 4, 0, 4, 1, 1])
    assert match(parents, children, wanted).tolist() == [0, 2, 1, 4, -1, -1]


def test_spread_moves_as_little_as_it_must() -> None:
    groups = np.array([0, 0, 0, 1, 1, 0])
    wanted = np.array([5, 5, 2, 9, 9, 5])
    found = spread(groups, wanted, 10)
    assert found is not None
    assert found.tolist() == [5, 6, 2, 8, 9, 7]
    assert spread(np.zeros(4, int), np.zeros(4, int), 3) is None
    full = spread(np.zeros(4, int), np.full(4, 3), 4)
    assert full is not None
    assert sorted(full) == [0, 1, 2, 3]


def test_separate_fills_a_table_to_the_last_tuple() -> None:
    rng = np.random.default_rng(0)
    left, right = Member(rng.integers(8, size=40), 8), Member(rng.integers(5, size=40), 5)
    assert len(repeated([left.codes(), right.codes()])) > 5
    assert separate([[left, right]], rng)
    assert len({*zip(left.states.tolist(), right.states.tolist(), strict=True)}) == 40
    # nulls don't count, and what can't move stays
    nulls = Member(np.array([-1, -1, 0]), 3)
    assert separate([[nulls]], rng)
    assert nulls.states.tolist() == [-1, -1, 0]
    assert not separate([[Member(np.array([1, 1]), 3, movable=False)]], rng)


def test_moves_stay_in_their_group() -> None:
    group = np.array([0, 1, 0, 1, 1])
    member = Member(np.array([0, 1, 3, 4]), 5, group=group)
    before = group[member.states]
    member.move(np.arange(4), np.array([1, 2, 5, 7]))
    assert (group[member.states] == before).all()
    assert member.states.tolist() == [2, 4, 1, 1]
