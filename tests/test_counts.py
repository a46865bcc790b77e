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
from hypothesis import given
from random_cases import Case, cases, examples
from sampler_fixtures import autocomplete, published
from sampler_fixtures import shop as small_shop
from store_fixtures import EMBEDDER, write_store
from test_visibility import ask
from visibility_oracle import Oracle

import rustler
from rt.tasks import load_tasks, to_sampler


def expected(oracle: Oracle, row: int) -> dict[str, int]:
    """Visible children of a row by the name of the key."""
    world, counts = oracle.world, Counter[str]()
    for child, of_child in enumerate(world.rows):
        number = world.table_of[child]
        table = world.database["tables"][number]
        keys = zip(table["foreign_keys"], of_child["parents"], strict=True)
        for place, ((key, _), parent) in enumerate(keys):
            refers = parent is not None and world.start[parent[0]] + parent[1] == row
            refers = refers and (number, place) not in oracle.task.hidden_keys
            if refers and table.get("kind") != "task" and oracle.row_allowed(child):
                counts[f"{key} of {table['name']}"] += 1
    return counts


def counted(batch: dict[str, Any], row: int, names: list[str]) -> dict[str, int]:
    """What the batch says of its row of this number; names: the store's texts."""
    span = slice(*batch["count_ptr"][row : row + 2])
    texts = batch["text_embedding"][batch["key_text"][batch["count_key"][span]], 0]
    return {names[int(t)]: int(c) for t, c in zip(texts, batch["count"][span], strict=True)}


def test_counts_are_what_the_oracle_counts() -> None:
    compared = many = cut = 0

    def check(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
        nonlocal compared, many, cut
        for at in range(*batch["context_row_ptr"][b : b + 2]):
            right = expected(oracle, int(batch["row_number"][at]))
            assert counted(batch, at, oracle.world.texts) == right
            compared += 1
            many += sum(right.values()) > 2
        cut += oracle.drops["row of a later split"]

    @examples(max_examples=180)
    @given(cases())
    def every_case(case: Case) -> None:
        ask(case, check, context_length=12, recipes=[published(2)], child_counts=True)

    every_case()
    assert compared > 5000
    assert many > 700
    assert cut > 10


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
