"""One row from a relbench folder to a score, with every expected value written out by hand.

The database: two customers, five orders, and the forecast "does this customer order in the next
two days?". The row that is followed is the second training label: customer 0 on January 5th,
answer no. Days are days of January 2020.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench
import torch
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest
from safetensors.numpy import load_file

import rustler
from rt.checkpoint import Settings, load_settings, save_pretrained
from rt.data import Batch
from rt.model import ModelConfig, RelationalTransformer
from rt.predictions import ContextSettings, predict
from rt.store import open_meta, preprocess
from rt.tasks import load_tasks, to_sampler
from rt.unpack import read_arrays

DAY = 86_400
NEW_YEAR = 1_577_836_800  # 2020-01-01 00:00 UTC


def day(number: int) -> pd.Timestamp:
    return pd.Timestamp(2020, 1, number)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database as a relbench folder, written with pandas alone."""
    folder = tmp_path_factory.mktemp("follow") / "shop"
    (folder / "db").mkdir(parents=True)
    pd.DataFrame({"customer_id": [0, 1], "age": [30, 50], "city": ["Oslo", "Rome"]}).to_parquet(
        folder / "db" / "customers.parquet"
    )
    pd.DataFrame(
        {
            "order_id": [0, 1, 2, 3, 4],
            "customer_id": [0, 0, 1, 0, 1],
            "date": [day(2), day(3), day(4), day(12), day(22)],
            "amount": [10.0, 30.0, 20.0, 60.0, 5.0],
            "paid": [True, False, True, True, False],
        }
    ).to_parquet(folder / "db" / "orders.parquet")
    DatasetManifest(
        name="shop",
        val_timestamp="2020-01-10",
        test_timestamp="2020-01-20",
        tables={
            "customers": TableSpec(pkey="customer_id"),
            "orders": TableSpec("order_id", "date", {"customer_id": "customers"}),
        },
    ).save(folder / "manifest.yaml")
    task = folder / "tasks" / "customer-buys"
    TaskManifest(
        name="customer-buys",
        kind="forecast",
        task_type="binary_classification",
        entity_table="customers",
        entity_col="customer_id",
        target_col="buys",
        time_col="timestamp",
        timedelta="2 days",
        sql="""
            SELECT t.timestamp, c.customer_id, CAST(COUNT(o.order_id) > 0 AS INTEGER) AS buys
            FROM timestamps t CROSS JOIN customers c
            LEFT JOIN orders o ON o.customer_id = c.customer_id
              AND o.date > t.timestamp AND o.date <= t.timestamp + INTERVAL '{timedelta}'
            GROUP BY t.timestamp, c.customer_id
        """,
    ).save(task / "manifest.yaml")
    labels = {
        "train": [(2, 0, 1), (5, 0, 0), (6, 1, 0)],
        "val": [(10, 0, 1)],
        "test": [(20, 0, 0), (20, 1, 1)],
    }
    for split, rows in labels.items():
        frame = pd.DataFrame(rows, columns=["timestamp", "customer_id", "buys"])
        frame["timestamp"] = [day(number) for number in frame["timestamp"]]
        frame.to_parquet(task / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def store(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preprocess(raw, tmp_path_factory.mktemp("pre") / "shop", embedder="hash")


# Global row numbers of the store: customers 0-1, orders 2-6, labels 7-9 / 10 / 11-12.
CUSTOMER_0, ORDER_0, ORDER_1, LABEL_0, TARGET = 0, 2, 3, 7, 8
AGE, CITY, DATE, AMOUNT, PAID, SEED_TIME, BUYS = range(7)

# Statistics, fitted on rows up to January 10th and on training labels (deviations of the
# population): amounts 10, 30, 20; paid yes, no, yes; labels 1, 0, 0; ages 30, 50; and over all
# datetimes at once the days 2, 3, 4 of orders and 2, 5, 6 of training labels.
AMOUNT_STD = math.sqrt(200 / 3)
THIRD_STD = math.sqrt(2) / 3
TIME_MEAN, TIME_STD = 22 / 6, math.sqrt(20) / 3


def time_z(number: int) -> float:
    return (number - TIME_MEAN) / TIME_STD


def test_relbench_reads_the_folder(raw: Path) -> None:
    task = relbench.load_dataset(raw).load_task("customer-buys")
    assert task.evaluate(np.array([0.1, 0.9])) == {"roc_auc": 1.0}


def test_store(store: Path) -> None:
    meta = open_meta(store)
    assert [(t.name, t.kind, tuple(t.rows)) for t in meta.tables] == [
        ("customers", "database", (0, 2)),
        ("orders", "database", (2, 7)),
        ("customer-buys", "task", (7, 13)),
    ]
    assert [(c.name, c.type) for c in meta.columns] == [
        ("age", "number"),
        ("city", "text"),
        ("date", "datetime"),
        ("amount", "number"),
        ("paid", "boolean"),
        ("timestamp", "datetime"),
        ("buys", "boolean"),
    ]
    stats = {c.name: (c.mean, c.std) for c in meta.columns if c.type != "text"}
    assert stats["age"] == pytest.approx((40, 10))
    assert stats["amount"] == pytest.approx((20, AMOUNT_STD))
    assert stats["paid"] == pytest.approx((2 / 3, THIRD_STD))
    assert stats["buys"] == pytest.approx((1 / 3, THIRD_STD))
    seconds = (NEW_YEAR - DAY + TIME_MEAN * DAY, TIME_STD * DAY)
    assert stats["date"] == pytest.approx(seconds)
    assert stats["timestamp"] == pytest.approx(seconds)

    arrays = read_arrays(store)
    begin, end = arrays["cell_ptr"][TARGET : TARGET + 2]
    assert arrays["cell_column"][begin:end].tolist() == [SEED_TIME, BUYS]
    values = arrays["cell_value"][begin:end].view(np.float32)
    assert values == pytest.approx([time_z(5), -1 / 3 / THIRD_STD], rel=1e-6)
    assert arrays["row_time"][TARGET] == NEW_YEAR + 4 * DAY
    assert arrays["row_time"][CUSTOMER_0] == rustler.NO_TIME
    begin, end = arrays["parent_ptr"][TARGET : TARGET + 2]
    assert arrays["parent_row"][begin:end].tolist() == [CUSTOMER_0]
    begin, end = arrays["child_ptr"][CUSTOMER_0 : CUSTOMER_0 + 2]
    # Orders of days 2, 3, 12 and labels of days 2, 5, 10, 20 of customer 0, by (time, row).
    assert arrays["child_row"][begin:end].tolist() == [2, 7, 3, 8, 10, 5, 11]


def test_the_targets_record(store: Path) -> None:
    # Labels are the last table: six records of a seed time in four bytes and a label in one, the
    # place of 0 behind 1, as 1 comes first; then four zeros. No label is null: no bits for that.
    stored = load_file(store / "store.safetensors")
    label_table = open_meta(store).tables[2]
    assert (label_table.record_bytes, label_table.packed, label_table.num_parents) == (30, False, 1)
    record = stored["records"][-34:-4][(TARGET - LABEL_0) * 5 :][:5]
    assert record[:4].view(np.float32) == pytest.approx(time_z(5), rel=1e-6)
    assert record[4] == 1
    distinct = stored["dictionary"][-2:].view(np.float32)
    assert distinct == pytest.approx([2 / 3 / THIRD_STD, -1 / 3 / THIRD_STD], rel=1e-6)
    # days 2, 3, 4, 5, 6, 10, 12, 20, 22
    assert stored["row_rank"][TARGET] == 4
    assert stored["time_value"][3] == NEW_YEAR + 4 * DAY
    # places for parents: none for customers, one for each order and label
    assert stored["parent_row"][5:].tolist() == [0, 0, 1, 0, 0, 1]


@pytest.fixture(scope="module")
def arrays(store: Path) -> dict[str, np.ndarray]:
    (task,) = load_tasks(store)
    assert task.splits == {"train": (7, 10), "val": (10, 11), "test": (11, 13)}
    assert task.horizon == 2 * DAY
    sampler = rustler.Sampler(
        [store], [to_sampler(task, 0, 1.0)], embedder="hash", context_length=16
    )
    return sampler.contexts(0, np.array([TARGET], dtype=np.uint32))


def cells(arrays: dict[str, np.ndarray]) -> dict[tuple[int, int], int]:
    """{(row of the store, column of the store): slot}"""
    column = arrays["column_number"]
    return {
        (int(arrays["row_number"][row]), int(column[col])): slot
        for slot, (row, col) in enumerate(zip(arrays["row"][0], arrays["column"][0], strict=True))
        if row >= 0
    }


EXPECTED = {
    (TARGET, SEED_TIME): time_z(5),
    (TARGET, BUYS): -1 / 3 / THIRD_STD,
    (CUSTOMER_0, AGE): -1.0,
    (CUSTOMER_0, CITY): 0.0,
    (ORDER_0, DATE): time_z(2),
    (ORDER_0, AMOUNT): -10 / AMOUNT_STD,
    (ORDER_0, PAID): 1 / 3 / THIRD_STD,
    (ORDER_1, DATE): time_z(3),
    (ORDER_1, AMOUNT): 10 / AMOUNT_STD,
    (ORDER_1, PAID): -2 / 3 / THIRD_STD,
    # The label of day 2 looks two days ahead, so on day 5 it is known.
    (LABEL_0, SEED_TIME): time_z(2),
    (LABEL_0, BUYS): 2 / 3 / THIRD_STD,
}


def test_context(arrays: dict[str, np.ndarray]) -> None:
    slots = cells(arrays)
    assert {key: arrays["value"][0, slot] for key, slot in slots.items()} == pytest.approx(
        EXPECTED, rel=1e-6
    )
    assert np.flatnonzero(arrays["is_target"][0]).tolist() == [slots[TARGET, BUYS]]
    assert arrays["target_slot"].tolist() == [slots[TARGET, BUYS]]
    assert arrays["is_padding"][0].tolist() == [False] * 12 + [True] * 4
    rows = arrays["row_number"].tolist()
    assert rows[:2] == [TARGET, CUSTOMER_0]
    assert sorted(rows[2:]) == [ORDER_0, ORDER_1, LABEL_0]
    assert arrays["row_depth"].tolist() == [0, 1, 2, 2, 2]
    # Every row but the customer's own points at the customer, who is row 1 of the context.
    assert np.diff(arrays["parent_ptr"]).tolist() == [1, 0, 1, 1, 1]
    assert arrays["parent"].tolist() == [1, 1, 1, 1]


def groups_of(groups, slots: dict[tuple[int, int], int]) -> set[tuple[frozenset, frozenset]]:
    """{(queries, keys)} with slots named as (row, column)"""
    name = {slot: key for key, slot in slots.items()}

    def parts(pointer: torch.Tensor, index: torch.Tensor) -> Iterator[frozenset]:
        for begin, end in zip(pointer[:-1].tolist(), pointer[1:].tolist(), strict=True):
            yield frozenset(name[slot] for slot in index[begin:end].tolist())

    return set(
        zip(parts(groups.query_ptr, groups.query), parts(groups.key_ptr, groups.key), strict=True)
    )


def test_who_attends_to_whom(arrays: dict[str, np.ndarray]) -> None:
    slots, plan = cells(arrays), Batch.from_arrays(arrays).plan

    def of_row(*rows: int) -> frozenset:
        return frozenset(key for key in EXPECTED if key[0] in rows)

    def of_column(column: int) -> frozenset:
        return frozenset(key for key in EXPECTED if key[1] == column)

    columns = [of_column(column) for column in range(7)]
    assert groups_of(plan.col, slots) == {(column, column) for column in columns}
    assert groups_of(plan.feat, slots) == {
        (of_row(CUSTOMER_0), of_row(CUSTOMER_0)),
        *((of_row(row), of_row(row, CUSTOMER_0)) for row in (TARGET, ORDER_0, ORDER_1, LABEL_0)),
    }
    assert groups_of(plan.nbr, slots) == {
        (of_row(CUSTOMER_0), of_row(TARGET, ORDER_0, ORDER_1, LABEL_0))
    }


@pytest.fixture(scope="module")
def model() -> RelationalTransformer:
    """A model that answers 0.5 for every boolean, whatever it sees."""
    torch.manual_seed(0)
    model = RelationalTransformer(
        ModelConfig(num_blocks=1, d_model=16, num_heads=2, d_ff=32, d_text=64)
    )
    with torch.no_grad():
        model.dec_dict["boolean"].weight.zero_()
        model.dec_dict["boolean"].bias.fill_(0.5)
    return model


def test_loss(arrays: dict[str, np.ndarray], model: RelationalTransformer) -> None:
    """The answer is no: the cross-entropy of the logit 0.5 is log(1 + e^0.5) = 0.974077."""
    batch = Batch.from_arrays(arrays)
    assert model.loss(batch).item() == pytest.approx(0.974077, abs=1e-6)


def test_score(raw: Path, store: Path, model: RelationalTransformer, tmp_path: Path) -> None:
    """The same answer for everybody: probability 1 / (1 + e^-0.5) = 0.622459, AUROC one half."""
    settings = Settings(embedder="hash", context={"context_length": 16})
    save_pretrained(model, tmp_path / "model", settings)
    model = RelationalTransformer.from_pretrained(tmp_path / "model")
    loaded = load_settings(tmp_path / "model")
    assert loaded == settings
    (task,) = load_tasks(store)
    rows = np.arange(*task.splits["test"], dtype=np.uint32)
    context = ContextSettings(embedder="hash", **loaded.context)
    predictions = predict(model, store, task, rows, settings=context, progress=None)
    assert predictions == pytest.approx([0.622459, 0.622459], abs=1e-6)
    scores = relbench.load_dataset(raw).load_task("customer-buys").evaluate(predictions)
    assert scores == {"roc_auc": 0.5}
