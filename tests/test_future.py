"""Nothing later than a target's bound has any influence on its context."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampler_fixtures import make
from store_fixtures import write_store
from test_recipes import NUM_DATABASES, RECIPES
from visibility_oracle import World, random_database, random_tasks

import rustler


def rewritten(world: World, bound: int, rng: np.random.Generator) -> dict[str, Any]:
    """The database with other references and values in all rows later than the bound."""
    database = copy.deepcopy(world.database)
    sizes = {table["name"]: len(table["rows"]) for table in database["tables"]}
    for table in database["tables"]:
        for row in table["rows"]:
            if row["time"] is not None and row["time"] > bound:
                row["parents"] = [
                    (name, int(rng.integers(sizes[name]))) for name, _ in row["parents"]
                ]
                for name, kind in table["columns"].items():
                    if name in row["cells"] and kind != "text":
                        row["cells"][name] = float(rng.integers(-9, 9))
    return database


@pytest.mark.parametrize("name", [*RECIPES, "published"])
def test_the_future_changes_nothing(tmp_path: Path, name: str) -> None:
    """Rows later than the bound may say what they will: contexts stay the same, draw for draw."""
    compared = 0
    for seed in range(NUM_DATABASES):
        rng = np.random.default_rng([seed, 8])
        world = World(random_database(rng))
        bound = int(rng.integers(2, 8))
        stores = [
            write_store(tmp_path / f"{seed}-{i}", database)
            for i, database in enumerate((world.database, rewritten(world, bound, rng)))
        ]
        recipe = rustler.Recipe(name, **RECIPES.get(name, {"width": 3}))
        for spec in random_tasks(rng, world):
            rows = np.arange(*world.table_range(spec.table), dtype=np.uint32)
            past = [r for r in rows if (time := world.time(r)) is not None and time <= bound]
            task = rustler.Task(0, spec.table, spec.column, spec.splits, spec.horizon, spec.hidden)
            found = [
                make([store], tasks=[task], recipes=[recipe], context_length=40).contexts(
                    0, np.array(past, np.uint32), cutoff=bound
                )
                for store in stores
            ]
            compared += len(past)
            for array in ("row_number", "value", "row_part", "row_origin", "parent", "column"):
                assert np.array_equal(found[0][array], found[1][array]), array
    assert compared > 250
