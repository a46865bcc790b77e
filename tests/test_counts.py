"""Counts of visible children against the oracle of visibility, and what they cost."""

import json
import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_hubs
from sampler_fixtures import autocomplete, published
from sampler_fixtures import shop as small_shop
from store_fixtures import EMBEDDER, write_store
from visibility_oracle import Oracle, World, random_database, random_tasks

import rustler
from rt.tasks import load_tasks, to_sampler

ASKED = 6
"""Contexts of each task."""


def keyed_database(rng: np.random.Generator) -> dict[str, Any]:
    """A random database whose tables each have foreign keys, with references to one table each; in
    two of three the rows stand in order of time, as `rt.store` writes them."""
    database = random_database(rng)
    tables = [t for t in database["tables"] if t.get("kind") != "task"]
    in_order = rng.random() < 0.67
    for table in database["tables"]:
        is_task = table.get("kind") == "task"
        keys = rng.integers(len(tables), size=1 if is_task else rng.integers(0, 4))
        table["foreign_keys"] = [(f"k{i}", tables[k]["name"]) for i, k in enumerate(keys)]
        if in_order:
            table["rows"].sort(key=lambda row: (row["time"] is None, row["time"] or 0))
        for row in table["rows"]:
            drawn = [(tables[k]["name"], int(rng.integers(len(tables[k]["rows"])))) for k in keys]
            row["parents"] = [parent if rng.random() < 0.8 else None for parent in drawn]
    return database


def expected(oracle: Oracle, row: int) -> dict[str, int]:
    """Visible children of a row by the name of the key."""
    world, counts = oracle.world, Counter[str]()
    for child, of_child in enumerate(world.rows):
        table = world.database["tables"][world.table_of[child]]
        for (key, _), parent in zip(table["foreign_keys"], of_child["parents"], strict=True):
            refers = parent is not None and world.start[parent[0]] + parent[1] == row
            if refers and table.get("kind") != "task" and oracle.row_allowed(child):
                counts[f"{key} of {table['name']}"] += 1
    return counts


def counted(batch: dict[str, Any], row: int, names: dict[int, str]) -> dict[str, int]:
    """What the batch says of its row of this number; names: of the store's texts."""
    span = slice(*batch["count_ptr"][row : row + 2])
    texts = batch["text_embedding"][batch["key_text"][batch["count_key"][span]], 0]
    return {names[int(t)]: int(c) for t, c in zip(texts, batch["count"][span], strict=True)}


def test_counts_are_what_the_oracle_counts(tmp_path: Path) -> None:
    compared, many, cut = 0, 0, 0
    for seed in range(150):
        rng = np.random.default_rng([seed, 3])
        world = World(keyed_database(rng))
        store = write_store(tmp_path / str(seed), world.database)
        keys = [k for t in json.loads((store / "meta.json").read_text())["tables"]
                for k in [(k, t["name"]) for k in t["foreign_keys"]]]  # fmt: skip
        names = {key["name_text"]: f"{key['column']} of {table}" for key, table in keys}
        specs = random_tasks(rng, world)
        sampler = rustler.Sampler(
            [store],
            [rustler.Task(0, s.table, s.column, s.splits, s.horizon, s.hidden) for s in specs],
            embedder=EMBEDDER, context_length=12, recipes=[published(2)], child_counts=True,
        )  # fmt: skip
        for number, spec in enumerate(specs):
            rows = rng.integers(*world.table_range(spec.table), size=ASKED)
            cutoff = int(rng.integers(-1, 11)) if rng.random() < 0.5 else None
            batch = sampler.contexts(number, rows.astype(np.uint32), cutoff=cutoff)
            for b, target in enumerate(rows.tolist()):
                oracle = Oracle(world, spec, target, cutoff, Counter())
                for at in range(*batch["context_row_ptr"][b : b + 2]):
                    right = expected(oracle, int(batch["row_number"][at]))
                    assert counted(batch, at, names) == right
                    compared += 1
                    many += sum(right.values()) > 2
                cut += oracle.drops["row of a later split"]
    assert compared > 10_000
    assert many > 1000
    assert cut > 100


def test_a_batch_has_no_counts_unless_asked_for(tmp_path: Path) -> None:
    store = write_store(tmp_path / "shop", keyed_shop())
    settings = {"embedder": EMBEDDER, "context_length": 32, "batch_size": 4}
    plain = rustler.Sampler([store], [autocomplete()], **settings)
    counting = rustler.Sampler([store], [autocomplete()], **settings, child_counts=True)
    one, other = plain.batch(3), pickle.loads(pickle.dumps(counting)).batch(3)
    parts = ("count_ptr", "count_key", "count", "key_text")
    assert all(len(one[part]) == 0 for part in parts)
    assert all(len(other[part]) > 0 for part in parts)
    other["text_embedding"] = other["text_embedding"][: len(one["text_embedding"])]
    assert all((one[name] == other[name]).all() for name in one if name not in parts)


def keyed_shop() -> dict[str, Any]:
    shop = small_shop()
    for table in shop["tables"][1:]:
        table["foreign_keys"] = [("user", "users")]
    return shop


def test_stores_without_names_of_keys_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "shop", keyed_shop())
    meta = json.loads((store / "meta.json").read_text())

    def message(**changes: Any) -> str:
        meta["tables"][1]["foreign_keys"] = [{"column": "user", "parent": 0} | changes]
        (store / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(rustler.RustlerError) as error:
            rustler.Sampler([store], [], embedder=EMBEDDER, child_counts=True)
        rustler.Sampler([store], [], embedder=EMBEDDER)
        return str(error.value)

    assert "key 'user' of table 'orders' has no name" in message()
    assert "key 'user' of table 'orders' names text 99 of 46" in message(name_text=99)
    assert "references a table that is not there" in message(name_text=0, parent=9)
    assert "of another table" in message(name_text=0, parent=1)
    meta["tables"][1]["foreign_keys"] = []
    (store / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(rustler.RustlerError, match="'orders' does not say what its keys"):
        rustler.Sampler([store], [], embedder=EMBEDDER, child_counts=True)


def test_a_hub_is_counted_by_a_few_steps(tmp_path: Path) -> None:
    """Two keys reference the users, so their lists are apart; the target sees half of them."""
    store = test_hubs.write(tmp_path, 400_000, 20)
    (task,) = load_tasks(store)
    row = np.array([task.splits["test"][0]], np.uint32)
    least = {}
    for on in (False, True):
        sampler = rustler.Sampler(
            [store], [to_sampler(task, 0)], embedder="hash", context_length=32,
            recipes=[published(8)], child_counts=on,
        )  # fmt: skip
        taken = []
        for seed in range(30):
            start = time.perf_counter()
            batch = sampler.contexts(0, row, seed=seed)
            taken.append(time.perf_counter() - start)
        least[on] = min(taken)
    at = batch["row_number"].tolist().index(0)
    counts = batch["count"][slice(*batch["count_ptr"][at : at + 2])]
    assert counts == pytest.approx([180_000, 180_000], abs=10)
    # a pass over the children takes a hundred times as long as the context
    assert least[True] < test_hubs.FACTOR * least[False]
