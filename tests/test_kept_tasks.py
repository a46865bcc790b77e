"""Tasks of a database that is imported again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from relbench.manifest import TaskManifest

from plurel.errors import InputError
from plurel.rng import stream
from rt.defining.definitions import Definition, LabelColumns, read_definitions, write_definitions
from rt.defining.write import add_tasks
from rt.importing.run import Settings, import_database
from tests.raw_folders import listing

SQL = """SELECT t.timestamp AS day, o.user AS who, COUNT(*) AS n
FROM timestamps t JOIN orders o ON o.at > t.timestamp
  AND o.at <= t.timestamp + INTERVAL '{timedelta}' GROUP BY ALL"""
TASKS = {
    "often": Definition(predict="count(orders, 10 days) for users", seeds=2, description="ä"),
    "first": Definition(predict="exists(orders where user < 105, 10 days) for users"),
    "own": Definition(
        sql=SQL, entity="users", columns=LabelColumns("day", "who", "n"), window="10 days",
        type="regression",
    ),
    "price": Definition(complete="orders.price", hide=("orders.tax",)),
}  # fmt: skip


def write_shop(folder: Path, days: int, price: str = "price") -> str:
    """Users from 100 on, and orders of so many days; those of the first days are the same."""
    folder.mkdir(exist_ok=True)
    draws = stream(0, "kept")
    count = 6 * days
    orders = pd.DataFrame({
        "id": 5000 - np.arange(count),
        "user_id": 100 + draws.integers(20, size=count),
        "at": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(count) // 6, "D"),
        price: draws.random(count).round(3),
        "tax": draws.random(count).round(3),
    })  # fmt: skip
    orders = orders.rename(columns={"user_id": "user"})
    orders.to_csv(folder / "orders.csv", index=False)
    pd.DataFrame({"id": 100 + np.arange(20)}).to_csv(folder / "users.csv", index=False)
    return str(folder)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported, with tasks."""
    place = tmp_path_factory.mktemp("kept")
    import_database(write_shop(place / "csv", 120), place / "shop", Settings(accept=0.99))
    add_tasks(place / "shop", TASKS)
    # one from elsewhere, of which only the manifest tells
    (place / "shop/tasks/price/definition.yaml").unlink()
    return place / "shop"


def test_definitions_are_read_as_they_are_written(shop: Path, tmp_path: Path) -> None:
    write_definitions(tmp_path / "tasks.yaml", TASKS)
    assert read_definitions(tmp_path / "tasks.yaml") == TASKS
    for name in ("often", "first", "own"):
        assert read_definitions(shop / f"tasks/{name}/definition.yaml") == {name: TASKS[name]}


def test_their_labels_are_made_for_the_new_rows(shop: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(shop, tmp_path / "shop"))
    longer = write_shop(tmp_path / "csv", 160)
    done = import_database(longer, out, Settings(accept=0.99), overwrite=True)
    told = "labels of the tasks that were there are made again: first, often, own, price"
    assert told in done.messages
    import_database(longer, tmp_path / "new/shop", Settings(accept=0.99))
    add_tasks(tmp_path / "new/shop", TASKS)
    again, new = listing(out / "tasks"), listing(tmp_path / "new/shop/tasks")
    assert again.keys() == new.keys()
    manifests = [{n: yaml.safe_load(f[n]) for n in f if "manifest" in n} for f in (again, new)]
    assert manifests[0] == manifests[1]
    for name in (n for n in new if n.endswith(".parquet")):
        made, expected = pd.read_parquet(out / "tasks" / name), tmp_path / "new/shop/tasks" / name
        keys = list(made.columns[:2])
        pd.testing.assert_frame_equal(
            made.sort_values(keys, ignore_index=True),
            pd.read_parquet(expected).sort_values(keys, ignore_index=True),
        )
    before = pd.read_parquet(shop / "tasks/often/test.parquet")["timestamp"]
    assert pd.read_parquet(out / "tasks/often/test.parquet")["timestamp"].min() > before.max()


def test_what_no_longer_fits_is_left_out_and_can_be_made_again(shop: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(shop, tmp_path / "shop"))
    source = write_shop(tmp_path / "csv", 120, "sum")
    # of this one only SQL is left, with the numbers that rows had
    (out / "tasks/first/definition.yaml").unlink()
    done = import_database(source, out, Settings(accept=0.99), overwrite=True)
    assert not (out / "tasks/price").exists()
    assert (out / "tasks/often/train.parquet").is_file()
    assert "task price: table 'orders' has no column 'price': " in "\n".join(done.messages)
    assert "warning: task first: its SQL compares user with values, which" in str(done.messages)
    assert "task own: its SQL" not in str(done.messages)
    file = out / "tasks_left_out.yaml"
    assert f"scripts/add_tasks.py {out} {file}, or remove the file" in done.messages[-1]
    kept = TASKS["price"]
    assert read_definitions(file)["price"].complete == kept.complete
    assert read_definitions(file)["price"].hide == kept.hide
    # once it fits again, it is there
    write_shop(tmp_path / "csv", 120)
    import_database(source, out, Settings(accept=0.99), overwrite=True)
    assert (out / "tasks/price/manifest.yaml").is_file()
    assert not file.exists()


def test_labels_from_elsewhere_are_not_lost(shop: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(shop, tmp_path / "shop"))
    task = TaskManifest(
        name="given", kind="external", task_type="regression", entity_table="users",
        entity_col="id", target_col="y",
    )  # fmt: skip
    task.save(out / "tasks/given/manifest.yaml")
    before = listing(out)
    with pytest.raises(InputError, match="tasks/given: the labels of this task were made elsewh"):
        import_database(str(shop.parent / "csv"), out, Settings(accept=0.99), overwrite=True)
    assert listing(out) == before
