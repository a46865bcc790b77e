"""New tasks by a few lines: their labels against the definition worked out row by row."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import relbench
import yaml
from relbench.base import Database, Table

from plurel.errors import InputError
from plurel.folder import write_folder
from plurel.manifest import TableKeys
from plurel.rng import stream
from rt.defining.definitions import Definition, kinds_of, read_definitions
from rt.defining.forecast_sql import DatabaseColumns, forecast_labels, paths
from rt.defining.language import parse_forecast
from rt.defining.leaks import later, names_rows, telling
from rt.defining.write import add_tasks, describe
from rt.labels import SPLITS
from rt.store import preprocess
from rt.tasks import load_tasks

NUM_CUSTOMERS, NUM_ORDERS, NUM_LINES = 12, 320, 300
START, DAYS = pd.Timestamp("2020-01-01"), 400
VAL, TEST = START + pd.Timedelta(days=260), START + pd.Timedelta(days=330)


def tables() -> dict[str, pd.DataFrame]:
    """Customers who join some day, one of them unknown; orders with ties in time; lines without a
    time of their own."""
    draws = stream(0, "defining")
    joined = pd.Series(START + pd.to_timedelta(np.sort(draws.integers(0, 200, NUM_CUSTOMERS)), "D"))
    joined.iloc[-1] = pd.NaT  # not known to have joined
    customers = pd.DataFrame({
        "customer": np.arange(NUM_CUSTOMERS),
        "joined": joined,
        "country": draws.choice(["DE", "FR"], NUM_CUSTOMERS),
    })  # fmt: skip
    at = START + pd.to_timedelta(np.sort(draws.integers(0, DAYS, NUM_ORDERS)), "D")
    channel = draws.choice(["web", "shop", "it's"], NUM_ORDERS).astype(object)
    channel[draws.random(NUM_ORDERS) < 0.2] = None
    late = draws.random(NUM_ORDERS) < 0.4
    amount = pd.Series(draws.integers(-5, 9, NUM_ORDERS))
    orders = pd.DataFrame({
        "order": np.arange(NUM_ORDERS),
        "at": at,
        "buyer": draws.integers(NUM_CUSTOMERS, size=NUM_ORDERS),
        "giver": draws.integers(NUM_CUSTOMERS, size=NUM_ORDERS),
        "amount": amount.where(draws.random(NUM_ORDERS) > 0.2),
        "channel": channel,
        "paid": draws.random(NUM_ORDERS) < 0.5,
        "late": late,
        "delivered": pd.Series(at) + pd.to_timedelta(np.where(late, 9, 2), "D"),
        "complaint": np.where(late, "where is it", None),
        "noise": draws.normal(size=NUM_ORDERS),
    })  # fmt: skip
    lines = pd.DataFrame({
        "line": np.arange(NUM_LINES),
        "order": draws.integers(NUM_ORDERS, size=NUM_LINES),
        "product": draws.integers(5, size=NUM_LINES),
    })  # fmt: skip
    return {"customers": customers, "orders": orders, "lines": lines}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = tables()
    database = Database({
        "customers": Table(frames["customers"], {}, "customer", "joined"),
        "orders": Table(
            frames["orders"], {"buyer": "customers", "giver": "customers"}, "order", "at"
        ),
        "lines": Table(frames["lines"], {"order": "orders"}, "line", None),
    })  # fmt: skip
    return write_folder(
        tmp_path_factory.mktemp("defining") / "shop", database=database, name="shop",
        val_timestamp=VAL, test_timestamp=TEST,
    )  # fmt: skip


Rows = pd.DataFrame
Value = Callable[[Rows], Any]


def worked_out(
    split: str, days: int, events: Rows, value: Value, keep: Callable[[Any, Any], bool]
) -> dict[tuple[pd.Timestamp, int], Any]:
    """Labels by (seed time, customer), one by one from the events [customer, at, ...] in the window
    after each seed time; None is no label."""
    customers, window = tables()["customers"], pd.Timedelta(days=days)
    # the train seeds go back from a window before VAL, to the first time in the database
    first = min(customers.joined.min(), tables()["orders"]["at"].min())
    seeds = {
        "train": pd.date_range(VAL - window, first, freq=-window), "val": [VAL], "test": [TEST],
    }[split]  # fmt: skip
    found = {}
    for seed in seeds:
        for row in customers.itertuples():
            inside = (events["at"] > seed) & (events["at"] <= seed + window)
            label = value(events[(events.customer == row.customer) & inside])
            if row.joined <= seed and keep(row, seed) and label is not None:
                found[seed, row.customer] = label
    return found


def labels_of(folder: Path, task: str, split: str) -> dict[tuple[pd.Timestamp, int], Any]:
    """The same from the label file that was written."""
    frame = pd.read_parquet(folder / "tasks" / task / f"{split}.parquet")
    return {
        (pd.Timestamp(t), int(c)): v for t, c, v in zip(*(frame[n] for n in frame), strict=True)
    }


def bought() -> Rows:
    """Orders, by who bought."""
    return tables()["orders"].rename(columns={"buyer": "customer"})


def lines_bought() -> Rows:
    """Lines, with the time and the buyer of their order."""
    return tables()["lines"].merge(bought()[["order", "at", "customer"]], on="order")


def had_orders(days: int, fewest: int = 1) -> Callable[[Any, Any], bool]:
    """Whether a customer bought so often in the days up to a seed time."""

    def keep(customer: Any, seed: Any) -> bool:
        at = bought().query("customer == @customer.customer")["at"]
        return int(((at <= seed) & (at > seed - pd.Timedelta(days=days))).sum()) >= fewest

    return keep


def last(column: str) -> Value:
    """The value of the latest row, of ties the one of the largest key."""

    def value(rows: Rows) -> Any:
        return None if rows.empty else rows.sort_values(["at", "order"])[column].iloc[-1]

    return value


def always(customer: Any, seed: Any) -> bool:
    return True


CASES: dict[str, tuple[str, int, Callable[[], Rows], Value, Callable[[Any, Any], bool]]] = {
    "count": ("count(orders via buyer, 30 days) for customers", 30, bought, len, always),
    "compared": (
        "count(orders via buyer, 2 weeks) >= 1 for customers", 14, bought,
        lambda rows: int(len(rows) >= 1), always,
    ),
    "exists": (
        "exists(orders where paid and channel <> 'it''s' via buyer, 30 days) for customers", 30,
        lambda: bought().query("paid and channel.notna() and channel != \"it's\""),
        lambda rows: int(len(rows) > 0), always,
    ),
    "absent": (
        "exists(orders via buyer, 2 weeks) = false for customers", 14, bought,
        lambda rows: int(rows.empty), always,
    ),
    "share": (
        "mean(orders.paid via buyer, 30 days) for customers", 30, bought,
        lambda rows: None if rows.empty else float(rows.paid.mean()), always,
    ),
    "sum": (
        "sum(orders.amount via buyer, 30 days) for customers", 30, bought,
        lambda rows: float(rows.amount.sum()), always,
    ),
    "mean": (
        "mean(orders.amount where amount > 0 via buyer, 30 days) for customers", 30,
        lambda: bought().query("amount > 0"),
        lambda rows: None if rows.amount.dropna().empty else float(rows.amount.mean()), always,
    ),
    "largest": (
        "max(orders.amount via giver, 30 days) for customers", 30,
        lambda: tables()["orders"].rename(columns={"giver": "customer"}),
        lambda rows: None if rows.amount.dropna().empty else float(rows.amount.max()), always,
    ),
    "least": (
        "min(orders.amount via buyer, 30 days) for customers", 30, bought,
        lambda rows: None if rows.amount.dropna().empty else float(rows.amount.min()), always,
    ),
    "earliest": (
        "first(orders.noise via buyer, 30 days) for customers", 30, bought,
        lambda rows: None if rows.empty else rows.sort_values(["at", "order"]).noise.iloc[0],
        always,
    ),
    "chain": (
        "distinct(lines.product via order.buyer, 30 days) for customers "
        "if exists(orders via buyer, past 60 days)",
        30, lines_bought, lambda rows: rows["product"].nunique(), had_orders(60),
    ),
    "often": (
        "count(lines where product in (1, 2) via order.buyer, 30 days) for customers "
        "where country = 'DE' if count(orders via buyer, past 90 days) >= 3",
        30, lambda: lines_bought().query("product in (1, 2)"), len,
        lambda customer, seed: customer.country == "DE" and had_orders(90, 3)(customer, seed),
    ),
    "latest": (
        "last(orders.channel where channel is not null via buyer, 40 days) for customers", 40,
        lambda: bought().query("channel.notna()"), last("channel"), always,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def defined(shop: Path) -> Path:
    add_tasks(shop, {name: Definition(predict=case[0]) for name, case in CASES.items()})
    return shop


@pytest.mark.parametrize("name", CASES)
def test_labels_are_what_the_line_says(defined: Path, name: str) -> None:
    _, days, events, value, keep = CASES[name]
    for split in SPLITS:
        expected = worked_out(split, days, events(), value, keep)
        found = labels_of(defined, name, split)
        assert len(expected) > 1
        assert found.keys() == expected.keys()
        assert [found[key] for key in expected] == pytest.approx(list(expected.values()))


def test_relbench_makes_them_again_and_a_store_has_them(defined: Path, tmp_path: Path) -> None:
    dataset = relbench.load_dataset(str(defined))
    for name in ("mean", "often", "latest"):
        task = dataset.load_task(name, regenerate=True)
        for split in SPLITS:
            made = task.get_table(split, mask_input_cols=False).df
            read = pd.read_parquet(defined / "tasks" / name / f"{split}.parquet")
            pd.testing.assert_frame_equal(made, read, check_dtype=False)
    store = preprocess(defined, tmp_path / "store", embedder="hash", show_progress=False)
    types = {task.name: task.task_type for task in load_tasks(store)}
    assert types["exists"] == types["compared"] == "binary_classification"
    assert {types[name] for name in ("count", "sum", "mean", "largest", "chain")} == {"regression"}
    assert "latest" not in types  # a multiclass task, for which RelBench has no metric


def test_columns_to_complete_and_what_gives_them_away(shop: Path) -> None:
    late = Definition(complete="orders.late")
    (task,) = add_tasks(shop, {"late": late})
    assert not (shop / "tasks/late/train.parquet").exists()
    leaks = {leak.column: leak.reason for leak in task.leaks}
    assert leaks.keys() == {"delivered", "complaint"}
    assert leaks["delivered"] == "lies after the row's own time in 100% of label rows"
    assert "by being null predicts the labels alone" in leaks["complaint"]
    assert "warning: orders.delivered lies after" in describe(task)
    hidden = Definition(complete="orders.late", hide=("orders.delivered", "orders.complaint"))
    (task,) = add_tasks(shop, {"late": hidden}, overwrite=True)
    assert not task.leaks
    manifest = yaml.safe_load((shop / "tasks/late/manifest.yaml").read_text())
    assert manifest["remove_columns"] == [["orders", "delivered"], ["orders", "complaint"]]


def test_the_decisive_sign_comes_first(tmp_path: Path) -> None:
    """A time that is later than the row, and there only where the answer is yes."""
    orders = tables()["orders"][["order", "at", "late"]]
    orders["returned_on"] = (orders["at"] + pd.Timedelta(days=5)).where(orders["late"])
    folder = write_folder(
        tmp_path / "shop", database=Database({"orders": Table(orders, {}, "order", "at")}),
        name="shop", val_timestamp=VAL, test_timestamp=TEST,
    )  # fmt: skip
    (task,) = add_tasks(folder, {"late": Definition(complete="orders.late")})
    (line,) = [str(leak) for leak in task.leaks]
    assert line.startswith("orders.returned_on by being null predicts the labels alone")
    assert "and lies after the row's own time in 100% of label rows: hide it" in line


def test_a_column_has_one_type(tmp_path: Path) -> None:
    """Zeros and ones are numbers unless a task says otherwise, and then for all tasks."""
    orders = tables()["orders"][["order", "at", "late", "amount"]].astype({"late": int})
    folder = write_folder(
        tmp_path / "shop", database=Database({"orders": Table(orders, {}, "order", "at")}),
        name="shop", val_timestamp=VAL, test_timestamp=TEST,
    )  # fmt: skip
    late = Definition(complete="orders.late")
    (task,) = add_tasks(folder, {"late": late})
    assert task.manifest.task_type == "regression"
    assert "all labels are 0 and 1: with type: binary it is a yes or no" in task.warnings()
    binary = replace(late, type="binary")
    with pytest.raises(InputError) as raised:
        add_tasks(folder, {"other": binary}, dry_run=True)
    assert str(raised.value) == (
        "task other: complete: orders.late is completed by task late as regression, and a database "
        "can't have it as binary classification as well: make late again with that type, or "
        f"remove {folder / 'tasks/late'}"
    )
    with pytest.raises(InputError, match=r"task a: complete: orders\.late .*: give both one type"):
        add_tasks(folder, {"late": binary, "a": late}, overwrite=True)
    both = add_tasks(folder, {"late": binary, "more": binary}, overwrite=True)
    assert [task.manifest.task_type for task in both] == ["binary_classification"] * 2
    assert not [line for task in both for line in task.warnings() if "0 and 1" in line]


def test_the_file_of_definitions(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(
        "refunds:\n  sql: |\n    SELECT t.timestamp AS day, o.buyer AS who, COUNT(*) AS n\n"
        "    FROM timestamps t JOIN orders o ON o.at > t.timestamp\n"
        "      AND o.at <= t.timestamp + INTERVAL '{timedelta}' GROUP BY ALL\n"
        "  entity: customers\n  columns: {time: day, entity: who, target: n}\n"
        "  window: 30 days\n  type: regression\n  seeds: 2\n  description: orders\n"
    )
    (task,) = add_tasks(shop, read_definitions(path), dry_run=True)
    assert not (shop / "tasks/refunds").exists()
    events = bought()
    expected = worked_out("train", 30, events, len, always)
    found = {(r.day, r.who): r.n for r in task.labels["train"].itertuples()}
    assert {key: n for key, n in expected.items() if n > 0}.items() <= found.items()
    assert task.labels["val"].day.nunique() == 2


BUYER = "count(orders via buyer, 30 days) for customers"
BAD = {
    "count(orders, 30 days) for customers": "write orders via buyer or via giver",
    "count(orders via byer, 30 days) for customers": "did you mean 'buyer'",
    "count(orders via buyer, 30 days) for orders": "to 'customers', not to 'orders'",
    "count(customers, 30 days) for orders": "no foreign keys lead from 'customers' to 'orders'",
    "count(order, 30 days) for customers": "no table 'order': did you mean 'orders'",
    "sum(orders.amonut via buyer, 30 days) for customers": "did you mean 'amount'",
    "sum(orders.channel via buyer, 30 days) for customers": "its values are texts",
    "last(orders.delivered via buyer, 30 days) for customers": "times are not predicted",
    "mean(orders.giver via buyer, 30 days) for customers": "giver is a key, whose values are no nu",
    "max(orders.order via buyer, 30 days) for customers": "take distinct, or count or exists of",
    "last(orders.giver via buyer, 30 days) = 3 for customers": "orders where giver = ...",
    f"{BUYER} if first(orders.giver via buyer, past 9 days) > 3": "giver is a key",
    "count(orders where amout > 1 via buyer, 30 days) for customers": "did you mean 'amount'",
    "count(orders where amount > via buyer, 30 days) for customers": "is not SQL",
    "count(orders where exists (select 1) via buyer, 9 days) for customers": "no other SELECT",
    "count(orders where lines.product = 1 via buyer, 9 days) for customers": "only columns of",
    "count(orders where amount > 1 -- x\nvia buyer, 9 days) for customers": "without comments",
    "count(orders where amount > 1; via buyer, 9 days) for customers": "without comments",
    "count(orders where amount > 1 limit 3 via buyer, 9 days) for customers": "without limit",
    "count(orders via buyer, 1 second) for customers": "choose a longer one",
    "count(orders via buyer, 1 month) for customers": "write days",
    "count(orders via buyer, past 30 days) for customers": "without past",
    f"{BUYER} if exists(orders via buyer, 30 days)": "expected 'past'",
    f"{BUYER} if count(orders via buyer, past 9 days)": "compare it with",
    "count(orders via buyer, 300000 days) for customers": "the window '300000 days' is longer than",
    "count(orders via buyer, 100000 days) for customers": "timedelta cannot be larger",
    "count(orders where when > 3 via buyer, 30 days) for customers": "'when > 3' is not SQL (",
    "count(lines where order = 3 via order.buyer, 9 days) for customers": '): write "order", in',
    "count(orders via buyer, 300 days) for customers": "timedelta cannot be larger",
    "count(orders where amount > 99 via buyer, 30 days) for customers": "nothing to learn",
    "mean(orders.amount where amount > 99 via buyer, 9 days) for customers": "no labels in train",
    "coumt(orders via buyer, 30 days) for customers": "expected count, perhaps",
    "count(orders via buyer 30 days) for customers": "position 24: expected ','",
    "count(orders via buyer, 30 days) for": "expected a table, found the end",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_lines(shop: Path, line: str) -> None:
    with pytest.raises(InputError) as raised:
        add_tasks(shop, {"bad": Definition(predict=line)})
    assert BAD[line] in str(raised.value)
    assert str(raised.value).isprintable()  # one line, without codes for colours
    assert not (shop / "tasks/bad").exists()


QUERY = "  entity: orders\n  window: 3 days\n  type: binary\n"
LABEL = "SELECT timestamp, 1 AS entity, 0 AS target"
LATER = "timestamp + INTERVAL 1 DAY AS timestamp,"
BAD_FILES = {
    "x:\n  predict: 3\n": "task x: predict must be text",
    "x:\n  pedict: a\n": "did you mean predict?",
    "x: {}\n": "task x: give one of predict, complete and sql",
    "x:\n  sql: a\n": "entity belongs to sql: give it",
    "x:\n  complete: orders.late\n  window: 3 days\n": "window belongs to sql",
    "x:\n  complete: orders.late\n  type: binry\n": "type must be one of",
    "x:\n  complete: orders.lat\n": "did you mean 'late'",
    "x:\n  complete: ordrs.late\n": "did you mean 'orders'",
    "x:\n  complete: late\n": "must be <table>.<column>",
    "x:\n  complete: orders.buyer\n": "is a key or the time",
    "x:\n  complete: lines.product\n": "name one in the plan of the import",
    "x:\n  complete: orders.delivered\n": "which are not predicted",
    "x:\n  complete: orders.late\n  hide: [orders.x]\n": "has no column 'x'",
    f"x:\n  sql: SELECT 1\n{QUERY.replace('days', 'moons')}": "such as 30 days",
    f"x:\n  sql: SELECT 1\n{QUERY.replace('3 days', '300000 days')}":
        "task x: the window '300000 days' is longer than",
    f"x:\n  sql: SELECT t.timestamp FROM timestamps t\n{QUERY}": "gives no column entity, target",
    f"x:\n  sql: SELEC\n{QUERY}": "is no SQL of DuckDB",
    f"x:\n  sql: SELECT 1; SELECT 2\n{QUERY}": "must be one SELECT",
    f"x:\n  sql: COPY orders TO 'orders.csv'\n{QUERY}": "must be one SELECT",
    f"x:\n  sql: SELECT * FROM nowhere\n{QUERY}": "labels can't be made",
    f"x:\n  sql: {LABEL}, 5 AS more FROM timestamps\n{QUERY}": "also gives more",
    f"x:\n  sql: {LABEL.replace('AS entity', '+ 900 AS entity')} FROM timestamps\n{QUERY}":
        "= 901, which is no key of orders",
    f"x:\n  sql: {LABEL.replace('1 AS entity', 'NULL AS entity')} FROM timestamps\n{QUERY}":
        "which is no key of orders",
    f"x:\n  sql: {LABEL.replace('timestamp,', LATER)} FROM timestamps\n{QUERY}":
        "which is no seed time",
    f"x:\n  sql: {LABEL.replace('0 AS', '3 AS')} FROM timestamps\n{QUERY}":
        "binary task must be 0 and 1, not 3",
    f"x:\n  sql: {LABEL.replace('0 AS', '[0] AS')} FROM timestamps\n"
    f"{QUERY.replace('binary', 'multiclass')}": "must be texts or numbers",
    "../x:\n  complete: orders.late\n": "must be that of a folder",
    "a 13:\n  complete: orders.late\n": "must be that of a folder: letters, digits",
    "Orders:\n  complete: orders.late\n": "task Orders: there is a table of that name",
    "x:\n  complete: orders.amount\n  type: multiclass\n":
        "holds numbers: its type can be regression or binary, not multiclass",
    "x:\n  complete: orders.channel\n  type: regression\n": "can be multiclass, not regression",
    "x:\n  complete: orders.late\n  hide: [orders.at]\n": "orders.at is a key or the time",
    "x:\n  complete: orders.late\n  hide: [lines.order]\n": "lines.order is a key or the time",
    "x:\n  complete: orders.late\n  hide: [orders.late]\n": "is hidden anyway",
    "x:\n  predict: last(orders.channel via buyer, 40 days) for customers\n  type: regression\n":
        "labels of a regression must be finite numbers",
    "- x\n": "must hold keys and values",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_FILES)
def test_bad_files(shop: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        add_tasks(shop, read_definitions(path))
    assert BAD_FILES[text] in str(raised.value)


def test_a_task_that_is_there_is_kept(defined: Path) -> None:
    before = (defined / "tasks/count/manifest.yaml").read_text()
    other = {"new": Definition(complete="orders.paid"), "count": Definition(complete="orders.late")}
    with pytest.raises(InputError, match="overwrite"):
        add_tasks(defined, other)
    assert (defined / "tasks/count/manifest.yaml").read_text() == before
    assert not (defined / "tasks/new").exists()


def test_the_command(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.add_tasks import main

    def command(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["add_tasks.py", *arguments])
        main()
        return capsys.readouterr().out

    line = "exists(orders via giver, 30 days) for customers"
    out = command(str(shop), "--name", "gives", "--predict", line, "--dry-run")
    assert "binary classification of customers" in out
    assert 'SELECT t.timestamp AS "timestamp", e."customer" AS "customer"' in out
    assert "nothing was written" in out
    assert not (shop / "tasks/gives").exists()
    out = command(
        str(shop), "--name", "paid", "--complete", "orders.paid", "--hide", "orders.noise"
    )
    assert out.endswith(f"made again by python scripts/preprocess.py {shop} --overwrite\n")
    assert (shop / "tasks/paid/manifest.yaml").is_file()
    with pytest.raises(InputError, match="give the task a --name"):
        command(str(shop), "--predict", line)
    with pytest.raises(InputError, match="--name and --hide are of one task"):
        command(str(shop), "tasks.yaml", "--name", "gives")
    with pytest.raises(InputError, match="give a YAML file of tasks, or one task"):
        command(str(shop))


def test_names_that_sql_reads_as_others(tmp_path: Path) -> None:
    """A key called like a seed time, columns with quotes and braces, a table that hides them."""
    frames = tables()
    orders = frames["orders"].rename(columns={"buyer": 'who "ever"', "amount": "{x} of it"})
    customers = frames["customers"].rename(columns={"customer": "Timestamp"})
    kept = orders[["order", "at", 'who "ever"', "{x} of it"]]

    def written(name: str) -> Path:
        parts = {
            "customers": Table(customers, {}, "Timestamp", "joined"),
            name: Table(kept, {'who "ever"': "customers"}, "order", "at"),
        }
        return write_folder(
            tmp_path / name, database=Database(parts), name=name, val_timestamp=VAL,
            test_timestamp=TEST,
        )  # fmt: skip

    line = 'sum("a b"."{x} of it" where "{x} of it" > 0, 30 days) for customers'
    (task,) = add_tasks(written("a b"), {"x": Definition(predict=line)})
    assert task.labels["val"].columns.tolist() == ["timestamp_", "Timestamp", "target"]
    expected = worked_out(
        "val", 30, bought().query("amount > 0"), lambda r: float(r.amount.sum()), always
    )
    found = {(r[1], r[2]): r[3] for r in task.labels["val"].itertuples()}
    assert found == pytest.approx(expected)
    with pytest.raises(InputError, match="rename it in the database"):
        add_tasks(
            written("Timestamps"), {"x": Definition(predict=line.replace("a b", "Timestamps"))}
        )


def test_signs_of_leaks(shop: Path) -> None:
    """A name of each row is none; few labels are said not to have been looked at."""
    definition = Definition(predict="exists(orders via buyer, 30 days) for customers")
    (task,) = add_tasks(shop, {"few": definition}, dry_run=True)
    assert any("too few to look for leaks" in line for line in task.warnings())
    names = pd.Series([f"person {i}" for i in range(40)])
    assert names_rows(names)
    assert not names_rows(names.where(names.index < 20))
    assert not names_rows(pd.Series(np.arange(40)))
    assert not names_rows(pd.Series(["yes", "no"] * 20))
    labels = pd.DataFrame({"at": pd.date_range("2020-01-01", periods=40)})
    for shift, found in ((1, True), (-1, False)):
        days = labels["at"] + pd.Timedelta(days=shift)
        for values in (days, days.dt.date, days.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")):
            assert (later((values, values), (labels, labels), "at") is not None) == found
    half = labels["at"] + pd.to_timedelta(np.arange(40) % 2, "D")
    assert later((half, half), (labels, labels), "at") is None  # not most of them
    truth = (np.arange(400) % 2).astype(float)
    wrong = pd.Series(np.where(np.arange(400) % 100 < 4, 1 - truth, truth))
    assert telling((wrong, wrong), (truth, truth)) is not None  # all but some
    worse = pd.Series(np.where(np.arange(400) % 100 < 8, 1 - truth, truth))
    assert telling((worse, worse), (truth, truth)) is None


def test_ways_through_a_database() -> None:
    """Staff who report to staff, orders by them and for their team, which staff belong to."""
    keys = {
        "teams": TableKeys("team", None, {"led_by": "staff"}),
        "staff": TableKeys("person", None, {"boss": "staff", "team": "teams"}),
        "orders": TableKeys("order", "at", {"seller": "staff"}),
    }
    columns = {name: {"x": "number"} for name in keys}
    database = DatabaseColumns(keys, columns)  # type: ignore[arg-type]
    assert list(paths("orders", "teams", database)) == [("seller", "team")]
    assert list(paths("orders", "staff", database)) == [("seller",)]
    assert list(paths("staff", "staff", database)) == [("boss",), ("team", "led_by")]
    keys["orders"].foreign_keys["team"] = "teams"
    assert list(paths("orders", "teams", database)) == [("team",), ("seller", "team")]
    # the shortest way is taken, any other has to be named
    near = forecast_labels(parse_forecast("count(orders, 3 days) < -2 for teams"), database)
    assert 'r0."team" AS entity' in near.sql
    assert "< -2" in near.sql
    line = "count(orders via seller.boss.boss.team, 3 days) for teams"
    far = forecast_labels(parse_forecast(line), database)
    assert 'r3."team" AS entity' in far.sql
    assert far.sql.count("JOIN") - near.sql.count("JOIN") == 3


def test_a_parent_gives_the_answer_away(tmp_path: Path) -> None:
    items = pd.DataFrame({"item": np.arange(20), "slow": np.arange(20) % 3 == 0})
    item = stream(0, "leaks").integers(20, size=600)
    orders = pd.DataFrame({
        "order": np.arange(600), "at": pd.date_range(START, periods=600, freq="D"), "item": item,
        "late": items.slow[item].to_numpy(), "noise": np.arange(600) % 7,
    })  # fmt: skip
    database = Database({
        "items": Table(items, {}, "item", None),
        "orders": Table(orders, {"item": "items"}, "order", "at"),
    })  # fmt: skip
    folder = write_folder(
        tmp_path / "x", database=database, name="x", val_timestamp=VAL, test_timestamp=TEST
    )
    (task,) = add_tasks(folder, {"late": Definition(complete="orders.late")})
    assert [(leak.table, leak.column) for leak in task.leaks] == [("items", "slow")]


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        (pa.bool_(), "boolean"),
        (pa.bool8(), "boolean"),
        (pa.uint8(), "number"),
        (pa.decimal128(9, 2), "number"),
        (pa.dictionary(pa.int8(), pa.date32()), "time"),
        (pa.timestamp("ms", "UTC"), "time"),
        (pa.dictionary(pa.int8(), pa.string()), "text"),
        (pa.list_(pa.int64()), "text"),
        # SQL has no sums or means of them
        (pa.duration("s"), "text"),
        (pa.time64("us"), "text"),
    ],
)
def test_what_values_of_a_column_are(kind: pa.DataType, called: str) -> None:
    assert kinds_of(pa.schema([("x", kind)])) == {"x": called}


@pytest.mark.parametrize("tail", ["heavy", "growing"])
def test_copies_of_numbers_are_found(tail: str) -> None:
    """Whatever the distribution of the labels: few of them very large, or all beyond train's."""
    draws = stream(1, "copies")
    target = draws.lognormal(sigma=2.5, size=1200)
    if tail == "growing":
        target = target.clip(max=9) + 10 * np.arange(1200)
    copy, noise = pd.Series(1.2 * target), pd.Series(draws.lognormal(sigma=2.5, size=1200))
    truth = target[:1000], target[1000:]
    sign = telling((copy[:1000], copy[1000:].reset_index(drop=True)), truth)
    assert sign is not None
    assert "predicts the labels alone" in sign
    assert telling((noise[:1000], noise[1000:].reset_index(drop=True)), truth) is None
    some = copy.where(np.arange(1200) % 3 > 0)  # a third unknown, which says nothing
    assert (telling((some[:1000], some[1000:].reset_index(drop=True)), truth) or "").endswith(")")
