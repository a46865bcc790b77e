"""What a prediction owes to the parts of its context."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table
from relbench.manifest import TaskManifest

from plurel.errors import InputError
from plurel.folder import write_folder
from plurel.rng import stream
from rt.checkpoint import load_model, load_settings
from rt.config import from_dict
from rt.data import Batch
from rt.explain import BY, parts_of, plot_explanation, without
from rt.heads import Head
from rt.meta import open_meta
from rt.predict import Predictor
from rt.predictions import Contexts, ContextSettings
from rt.store import preprocess
from rt.tasks import load_tasks
from rt.train import run
from rt.train_config import TrainConfig

NUM_ITEMS, NUM_ORDERS = 60, 900


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whether an order is late is in one column of its item, and in nothing else."""
    draws = stream(0, "explain")
    slow = draws.random(NUM_ITEMS) < 0.5
    item = draws.integers(NUM_ITEMS, size=NUM_ORDERS)
    items = pd.DataFrame({
        "item": np.arange(NUM_ITEMS),
        "weight": draws.normal(size=NUM_ITEMS),
        "delay": np.where(slow, 5.0, 1.0) + 0.3 * draws.normal(size=NUM_ITEMS),
        "fragile": draws.random(NUM_ITEMS) < 0.5,
    })  # fmt: skip
    users = pd.DataFrame({"user": np.arange(20), "age": draws.normal(size=20)})
    orders = pd.DataFrame({
        "order": np.arange(NUM_ORDERS),
        "at": pd.date_range("2020-01-01", periods=NUM_ORDERS, freq="h"),
        "item": item,
        "user": draws.integers(20, size=NUM_ORDERS),
        "price": draws.normal(size=NUM_ORDERS),
        "late": slow[item],
    })  # fmt: skip
    tables = {
        "items": Table(items, {}, "item", None),
        "users": Table(users, {}, "user", None),
        "orders": Table(orders, {"item": "items", "user": "users"}, "order", "at"),
    }
    late = TaskManifest(
        name="late", kind="autocomplete", task_type="binary_classification",
        entity_table="orders", target_col="late",
    )  # fmt: skip
    return write_folder(
        tmp_path_factory.mktemp("explain") / "raw" / "shop", database=Database(tables),
        name="shop", val_timestamp="2020-01-30", test_timestamp="2020-02-03", tasks=[late],
    )  # fmt: skip


@pytest.fixture(scope="module")
def predictor(shop: Path) -> Predictor:
    """A small model that has learned the task, from the order's own row and its parents alone."""
    root = shop.parent.parent
    pre = preprocess(shop, root / "pre" / "shop", embedder="hash", show_progress=False).parent
    values = {
        "model": {"num_blocks": 2, "d_model": 32, "num_heads": 2, "d_ff": 64},
        "data": {
            "root": [str(shop)], "pre_dir": str(pre), "task": "shop/late", "heldout": "rows",
            "embedder": "hash", "context_length": 16, "batch_size": 64, "num_workers": 0,
            "recipes": {"published": {"width": 0}},
        },
        "optim": {"lr": 0.01},
        "trainer": {
            "run_dir": str(root / "run"), "steps": 60, "precision": "fp32", "threads": 1,
            "eval_every": 60, "save_every": 60,
        },
        "logger": {"progress": False},
    }  # fmt: skip
    folder = run(from_dict(TrainConfig, values))
    model = load_model(folder / "best")
    settings = ContextSettings.of(load_settings(folder / "best"), batch_size=4)
    return Predictor(model, settings, pre)


def asked(predictor: Predictor, shop: Path) -> int:
    """The test order that is predicted to be late with most certainty."""
    found = predictor.predict(shop, "late", show_progress=False)
    truth = pd.read_parquet(shop / "db/orders.parquet").late[found.order]
    late = found.prediction[truth.to_numpy()]
    assert late.mean() > 0.8 > 0.3 > found.prediction[~truth.to_numpy()].mean()
    return int(found.order[late.idxmax()])


@pytest.mark.parametrize("by", BY)
def test_the_column_that_decides_is_found(predictor: Predictor, shop: Path, by: str) -> None:
    order = asked(predictor, shop)
    found = predictor.explain(shop, "late", order, by=by)  # type: ignore[arg-type]
    item = pd.read_parquet(shop / "db/orders.parquet").item[order]
    wanted = {"table": "items", "column": "items.delay", "row": f"items, row {item}"}[by]
    assert found.part[0] == wanted
    assert found.effect[0] > 0.2
    assert found.effect[0] > 3 * found.effect[1:].abs().max()
    whole = predictor.predict(shop, "late", [order], show_progress=False).prediction[0]
    assert (found.without + found.effect).tolist() == pytest.approx([whole] * len(found), abs=1e-3)
    assert (found.contexts == 4).all()


def test_what_a_head_says_is_explained(
    predictor: Predictor, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = asked(predictor, shop)
    head = predictor.fit_head(shop, "late", num_rows=200, show_progress=False)
    found = predictor.explain(shop, "late", order, by="table", head=head)
    assert found.part[0] == "items"
    assert found.effect[0] > 0.2
    whole = predictor.predict(shop, "late", [order], head=head, show_progress=False).prediction[0]
    assert (found.without + found.effect).tolist() == pytest.approx([whole] * len(found), abs=1e-3)
    # of classes, which the model alone has no answer for, the likeliest one's
    classes = replace(
        head, kind="multiclass_classification", classes=("no", "yes"),
        weight=np.hstack([-head.weight / 2, head.weight / 2]),
        bias=np.concatenate([-head.bias / 2, head.bias / 2]),
    )  # fmt: skip
    with pytest.raises(InputError, match="fitted on shop/late, not on late"):
        predictor.explain(shop, "late", order, head=classes)
    monkeypatch.setattr(Head, "check", lambda *_: None)
    same = predictor.explain(shop, "late", order, by="table", head=classes)
    assert same.effect.tolist() == pytest.approx(found.effect.tolist(), abs=1e-6)


@pytest.mark.parametrize("by", BY)
def test_parts_are_all_cells_but_the_target_each_once(
    predictor: Predictor, shop: Path, by: str
) -> None:
    store = shop.parent.parent / "pre" / "shop"
    (task,) = load_tasks(store, ["late"])
    rows = np.array([task.splits["test"][0] + 3], np.uint32)
    settings = ContextSettings("hash", context_length=60)
    arrays = Contexts(store, [task], settings, child_counts=False).arrays(task, rows, None, 0)
    parts = parts_of(arrays, open_meta(store), by)  # type: ignore[arg-type]
    counted = np.sum([part.cells for part in parts], axis=0)
    expected = ~arrays["is_padding"][0]
    expected[arrays["target_slot"][0]] = False
    assert counted.tolist() == expected.astype(int).tolist()
    assert len({part.name for part in parts}) == len(parts)
    batch = Batch.from_arrays(without(arrays, parts))
    whole = Batch.from_arrays(arrays)
    assert batch.num_cells == sum(whole.num_cells - part.cells.sum() for part in parts)
    # without no part at all a batch is what it was, several times
    nothing = [type(parts[0])("", np.zeros_like(parts[0].cells))] * 3
    same = Batch.from_arrays(without(arrays, nothing))
    model = predictor.model
    with torch.no_grad():
        one, three = (model(b, targets_only=True).boolean for b in (whole, same))
    assert three.numpy() == pytest.approx(np.repeat(one.numpy(), 3, axis=0), abs=1e-5)


@pytest.mark.parametrize(("by", "names"), [
    ("table", ["visits", "visits (labels)"]),
    ("column", ["visits.time", "visits (labels).time"]),
])  # fmt: skip
def test_labels_of_a_task_called_like_a_table(by: str, names: list[str]) -> None:
    tables = [SimpleNamespace(name="visits", kind=kind) for kind in ("database", "task")]
    columns = [SimpleNamespace(name="time", table=table) for table in (0, 1)]
    arrays = {
        "is_padding": np.zeros((1, 3), bool), "target_slot": np.array([0]),
        "row": np.array([[0, 1, 2]]), "row_table": np.array([1, 0, 1]),
        "column": np.array([[1, 0, 1]]), "column_number": np.array([0, 1]),
    }  # fmt: skip
    meta = SimpleNamespace(tables=tables, columns=columns)
    found = parts_of(arrays, meta, by)  # type: ignore[arg-type]
    assert [part.name for part in found] == names


def test_rows_are_called_by_their_keys(predictor: Predictor, shop: Path) -> None:
    """Orders of a table whose rows stand in the store behind those of others."""
    wide = Predictor(predictor.model, ContextSettings("hash", context_length=40), predictor.pre_dir)
    found = wide.explain(shop, "late", 850, by="row", num_contexts=1)
    orders = pd.read_parquet(shop / "db/orders.parquet")
    names = found.part[found.part.str.startswith("orders, row")]
    assert len(names) > 2
    for name in names:
        key, time = name.removeprefix("orders, row ").split(" of ")
        order = orders.iloc[int(key)]
        assert f"{order['at']:%Y-%m-%d %H:%M}" == time
        assert order["item"] == orders["item"][850] or order["user"] == orders["user"][850]


def test_rows_are_called_by_the_keys_of_the_source(
    predictor: Predictor, shop: Path, tmp_path: Path
) -> None:
    """Where the row is asked for by its own: of one column, and of two for the items."""
    raw = Path(shutil.copytree(shop, tmp_path / shop.name))
    (raw / "keys").mkdir()
    keys = np.arange(NUM_ORDERS) + 5000
    pd.DataFrame({"order": keys}).to_parquet(raw / "keys/orders.parquet")
    items = pd.DataFrame({"shelf": ["a"] * NUM_ITEMS, "place": np.arange(NUM_ITEMS) + 700})
    items.to_parquet(raw / "keys/items.parquet")

    def parts(row: int, key: str | None) -> set[str]:
        found = predictor.explain(raw, "late", row, key=key, by="row", num_contexts=1)
        return {name.split(" of ")[0] for name in found.part}

    item = int(pd.read_parquet(raw / "db/orders.parquet")["item"][850])
    assert f"items, row a,{700 + item}" in parts(5850, "original")
    assert f"items, row {item}" in parts(850, "order")
    wide = Predictor(predictor.model, ContextSettings("hash", context_length=40), predictor.pre_dir)
    found = wide.explain(raw, "late", 5850, key="original", by="row", num_contexts=1)
    orders = [name for name in found.part if name.startswith("orders, row")]
    assert len(orders) > 2
    assert all(int(name.removeprefix("orders, row ").split()[0]) >= 5000 for name in orders)


def test_the_effects_are_of_one_class(
    predictor: Predictor, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the one that all contexts together find likeliest."""
    answers = iter([[0.4, 0.6], [0.9, 0.1]])

    class Stub:
        def __init__(self, *_: object) -> None: ...

        def __call__(self, batch: Batch) -> torch.Tensor:
            values = next(answers, [0.25, 0.75])
            return torch.tensor([values] * batch.num_contexts, dtype=torch.float64)

    monkeypatch.setattr("rt.predict.Answer", Stub)
    found = predictor.explain(shop, "late", 3, by="table", num_contexts=2)
    assert found.without.tolist() == pytest.approx([0.25] * len(found))
    assert found.effect.tolist() == pytest.approx([0.65 - 0.25] * len(found))


def test_a_picture(predictor: Predictor, shop: Path, tmp_path: Path) -> None:
    found = predictor.explain(shop, "late", asked(predictor, shop), num_contexts=1)
    plot_explanation(found, tmp_path / "explained.png", "late")
    assert (tmp_path / "explained.png").stat().st_size > 5000


def test_bad_questions(predictor: Predictor, shop: Path) -> None:
    with pytest.raises(InputError, match="by must be table, column, row, not 'cell'"):
        predictor.explain(shop, "late", 3, by="cell")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="explain is for one row, not 2"):
        predictor.explain(shop, "late", [3, 4])
    with pytest.raises(InputError, match="num_contexts must be 1 or more, not 0"):
        predictor.explain(shop, "late", 3, num_contexts=0)
    with pytest.raises(InputError, match="no row has the order 9999"):
        predictor.explain(shop, "late", 9999)
