"""Baselines against means computed by hand on a database of a few rows."""

import numpy as np
import pandas as pd
import pytest
from relbench.load import build_task
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from plurel.errors import InputError
from rt.baselines import Labels, baselines, known_means, known_medians, label_baselines
from rt.databases import FrameDataset
from rt.scores import relbench_score

DAY = 86_400


def test_known_means_counts_only_the_entitys_labels_known_by_the_bound():
    labels = Labels(
        known_at=np.array([10, 20, 20, 30, 5]),
        value=np.array([1.0, 2.0, 6.0, 9.0, 100.0]),
        entity=np.array([0, 0, 0, 0, 1]),
    )
    entity = np.array([0, 0, 0, 0, 1, 1, 2, -1])
    bound = np.array([9, 10, 25, 30, 4, 5, 99, 99])
    expected = [np.nan, 1.0, 3.0, 4.5, np.nan, 100.0, np.nan, np.nan]
    np.testing.assert_allclose(known_means(labels, entity, bound), expected)


def test_the_mean_of_the_last_labels_and_the_median_of_all_that_are_known():
    labels = Labels(
        known_at=np.array([30, 10, 20, 20, 5]),
        value=np.array([9.0, 1.0, 2.0, 6.0, 100.0]),
        entity=np.array([0, 0, 0, 0, 1]),
    )
    entity, bound = np.array([0, 0, 0, 1, 2]), np.array([10, 25, 30, 99, 99])
    found = known_means(labels, entity, bound, latest=2)
    # ties keep the order of the labels: the last two on day 25 are 2 and 6
    np.testing.assert_allclose(found, [1.0, 4.0, 7.5, 100.0, np.nan])
    medians = known_medians(labels, np.array([4, 5, 10, 20, 30]))
    np.testing.assert_allclose(medians, [np.nan, 100, 50.5, 4, 6])


def test_baselines_of_labels_by_name():
    dataset = _dataset()
    task = _forecast(dataset)
    found = label_baselines(dataset, task, "test", horizon=2 * DAY)
    assert list(found) == ["global_mean", "global_median", "entity_mean", "entity_last_10"]
    # sales 3 to 12 (train and val seeds), known on day 14
    np.testing.assert_allclose(found["global_median"].prediction, 8.5)
    binary = _forecast(dataset, "MAX(s.big)::INT", "binary_classification")
    assert "global_median" not in label_baselines(dataset, binary, "test", horizon=2 * DAY)


def _timestamps(*days):
    return pd.to_datetime([f"2020-01-{day:02}" for day in days]).astype("datetime64[us]")


def _dataset() -> FrameDataset:
    """Two shops, sales on days 1..20 of January; `day` odd sells in shop 0."""
    shops = pd.DataFrame({"shop": [0, 1]})
    days = list(range(1, 21))
    sales = pd.DataFrame(
        {
            "sale": range(20),
            "day": _timestamps(*days),
            "shop": pd.array([0 if d % 2 else 1 for d in days], dtype="Int64"),
            "clerk": pd.array([d % 3 for d in days], dtype="Int64"),
            "amount": [float(d) for d in days],
            "big": [d % 2 == 1 for d in days],
        }
    )
    sales.loc[0, "clerk"] = pd.NA
    manifest = DatasetManifest(
        "shops",
        "2020-01-10",
        "2020-01-14",
        tables={
            "shops": TableSpec("shop"),
            "clerks": TableSpec("clerk"),
            "sales": TableSpec("sale", "day", {"shop": "shops", "clerk": "clerks"}),
        },
    )
    return FrameDataset(
        {"shops": shops, "clerks": pd.DataFrame({"clerk": [0, 1, 2]}), "sales": sales}, manifest
    )


def _forecast(dataset, sql_target="AVG(s.amount)", task_type="regression"):
    manifest = TaskManifest(
        name="next-days",
        kind="forecast",
        task_type=task_type,
        entity_table="shops",
        entity_col="shop",
        target_col="value",
        time_col="time",
        timedelta="2 days",
        num_eval_timestamps=2,
        sql=f"SELECT t.timestamp AS time, s.shop AS shop, {sql_target} AS value FROM timestamps t "
        "JOIN sales s ON s.day > t.timestamp AND s.day <= t.timestamp + INTERVAL '{timedelta}' "
        "GROUP BY t.timestamp, s.shop",
    )
    return build_task(dataset, manifest)


def _autocomplete(dataset):
    manifest = TaskManifest(
        name="big", kind="autocomplete", task_type="binary_classification",
        entity_table="sales", target_col="big",
    )  # fmt: skip
    return build_task(dataset, manifest)


def test_forecast_under_split_uses_labels_known_by_the_timestamp():
    dataset = _dataset()
    task = _forecast(dataset)
    # train seeds: days 8, 6, 4, 2; the label of seed d is the shop's one sale of d+1, d+2
    result = baselines(dataset, task, "val", horizon=2 * DAY)
    frame = task.get_table("val", mask_input_cols=False).df
    # shop 0 sold on days 9, 7, 5, 3; shop 1 on days 10, 8, 6, 4: all known on day 10
    expected = np.where(frame["shop"] == 0, 6.0, 7.0)
    np.testing.assert_allclose(result["entity_mean"].prediction, expected)
    np.testing.assert_allclose(result["global_mean"].prediction, 6.5)
    assert result["entity_mean"].entity_column == "shop"
    assert result["global_mean"].entity_column is None


def test_a_label_whose_window_is_open_at_the_timestamp_is_not_known():
    dataset = _dataset()
    task = _forecast(dataset)
    result = baselines(dataset, task, "val", horizon=4 * DAY)
    # with 4 days to wait, the seeds of day 8 (sales 9 and 10) are not known on day 10
    np.testing.assert_allclose(np.unique(result["entity_mean"].prediction), [5.0, 6.0])


def test_forecast_under_rolling_sees_earlier_test_labels():
    dataset = _dataset()
    task = _forecast(dataset)
    frame = task.get_table("test", mask_input_cols=False).df
    assert list(frame["time"].dt.day) == [14, 14, 16, 16]
    rolling = baselines(dataset, task, "test", horizon=2 * DAY, protocol="rolling")
    split = baselines(dataset, task, "test", horizon=2 * DAY, protocol="split")
    # shop 0: sales 3, 5, 7, 9 (train), 11, 13 (val), then 15 (the test seed of day 14)
    np.testing.assert_allclose(split["entity_mean"].prediction, [8.0, 9.0, 8.0, 9.0])
    np.testing.assert_allclose(rolling["entity_mean"].prediction, [8.0, 9.0, 9.0, 10.0])


def test_autocomplete_chooses_the_parent_by_validation_and_falls_back_for_null_keys():
    dataset = _dataset()
    task = _autocomplete(dataset)
    result = baselines(dataset, task, "test", horizon=None)
    # `big` is a function of the shop, so the shop wins over the clerk
    assert result["entity_mean"].entity_column == "shop"
    frame = task.get_table("test", mask_input_cols=False).df
    np.testing.assert_allclose(result["entity_mean"].prediction, frame["big"].astype(float))
    # 14 labels are on or before day 14, the last of them not strictly before: 7 of 13 are big
    np.testing.assert_allclose(result["global_mean"].prediction, 7 / 13)
    assert relbench_score(task, task.get_table("test", mask_input_cols=False),
                          result["entity_mean"].prediction) == ("roc_auc", 1.0)  # fmt: skip


def test_test_labels_change_nothing_under_split():
    dataset = _dataset()
    before = baselines(dataset, _autocomplete(dataset), "test", horizon=None)
    changed = _dataset()
    changed._frames["sales"].loc[14:, "big"] = ~changed._frames["sales"].loc[14:, "big"]
    after = baselines(changed, _autocomplete(changed), "test", horizon=None)
    for name in before:
        np.testing.assert_array_equal(before[name].prediction, after[name].prediction)


def test_bad_requests_are_refused():
    dataset = _dataset()
    task = _forecast(dataset)
    with pytest.raises(InputError, match="choose val or test"):
        baselines(dataset, task, "train", horizon=0)
    with pytest.raises(InputError, match="unknown protocol"):
        baselines(dataset, task, "test", horizon=0, protocol="other")
    with pytest.raises(InputError, match="no label is known"):
        baselines(dataset, task, "test", horizon=400 * DAY)


def test_scores_that_are_not_defined_are_refused():
    dataset = _dataset()
    one_class = _forecast(dataset, "1", "binary_classification")
    table = one_class.get_table("test", mask_input_cols=False)
    with pytest.raises(InputError, match="one class"):
        relbench_score(one_class, table, np.zeros(len(table.df)))
    task = _forecast(dataset)
    table = task.get_table("test", mask_input_cols=False)
    with pytest.raises(InputError, match="row 1 is not finite"):
        relbench_score(task, table, np.array([0.0, np.nan, 0.0, 0.0]))
    with pytest.raises(InputError, match="predictions for 4 labels"):
        relbench_score(task, table, np.zeros(3))
    # MAE of |15-10|, |16-10|, |17-10|, |18-10| = 6.5 over the train labels' deviation
    std = np.std([9, 10, 7, 8, 5, 6, 3, 4], ddof=1)
    name, value = relbench_score(task, table, np.full(4, 10.0))
    assert name == "nmae"
    assert value == pytest.approx(6.5 / std)
