"""Recipes as settings: lists, mixtures, config, and what is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampler_fixtures import autocomplete, make
from test_recipes import OWN, timed_shop

import rustler
from plurel.errors import InputError
from rt.config import from_dict
from rt.recipes import PRESETS, Recipe, context_of, named

# ---------------------------------------------------------------- lists, mixtures, errors


def test_lists_are_redrawn_for_every_batch(tmp_path: Path) -> None:
    path = timed_shop(tmp_path)
    recipe = rustler.Recipe("r", width=[1, 8], own_labels=[0.0, 0.5])
    make_one = {"tasks": [autocomplete()], "recipes": [recipe], "context_length": [16, 64]}
    sampler = make([path], **make_one, batch_size=4)
    shapes = [sampler.batch(step)["row"].shape for step in range(40)]
    assert set(shapes) == {(4, 64), (16, 16)}
    own = [(sampler.batch(step)["row_part"] == OWN).any() for step in range(40)]
    assert 5 < sum(own) < 35
    again = make([path], **make_one, batch_size=4)
    assert all(
        np.array_equal(again.batch(s)["row_number"], sampler.batch(s)["row_number"])
        for s in range(5)
    )
    rows = np.array([100, 101], np.uint32)
    assert sampler.contexts(0, rows)["row"].shape == (2, 16)
    assert not (sampler.contexts(0, rows)["row_part"] == OWN).any()


def test_ranks_share_batches_of_any_length(tmp_path: Path) -> None:
    path = timed_shop(tmp_path)
    recipes = [
        rustler.Recipe("one", weight=3.0),
        rustler.Recipe("two", own_labels=0.5),
        rustler.Recipe("never", weight=0.0),
    ]
    sampler = make([path], tasks=[autocomplete()], recipes=recipes, context_length=[8, 32])
    kinds: Counter[int] = Counter()
    for step in range(30):
        whole = sampler.batch(step)
        halves = [sampler.batch(step, rank=rank, world_size=2) for rank in (0, 1)]
        for rank, half in enumerate(halves):
            # of one task, so the first half is the first rank's
            for name in ("target_row", "context_recipe"):
                assert np.array_equal(half[name], np.split(whole[name], 2)[rank])
            assert half["row"].shape[1] == whole["row"].shape[1]
        kinds.update(whole["context_recipe"].tolist())
    assert set(kinds) == {0, 1}
    share = kinds[0] / kinds.total()
    assert abs(share - 0.75) < 3.5 * np.sqrt(0.75 * 0.25 / kinds.total())


def test_a_recipe_of_a_mixture_can_be_asked_for(tmp_path: Path) -> None:
    recipes = [rustler.Recipe("one"), rustler.Recipe("two", own_labels=0.5)]
    sampler = make([timed_shop(tmp_path)], tasks=[autocomplete()], recipes=recipes)
    rows = np.array([300], np.uint32)
    for number in (0, 1):
        batch = sampler.contexts(0, rows, recipe=number)
        assert batch["context_recipe"].tolist() == [number]
        assert (batch["row_part"] == OWN).any() == bool(number)
    with pytest.raises(rustler.RustlerError, match="no recipe 2"):
        sampler.contexts(0, rows, recipe=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"own_labels": 1.5}, "'r': own_labels must hold shares from 0 to 1"),
        ({"other_cells": 0}, "'r': other_cells must hold whole numbers from 1 on"),
        ({"width": []}, "'r': width must hold whole numbers"),
        ({"width": -1}, "width must be a number in range"),
        ({"other_order": "nearest"}, "'nearest' is none of recency, walks, random"),
        ({"walks": 10**9}, "steps a context, more than"),
        ({"weight": float("nan")}, "weight NaN"),
        ({"colour": 1}, "no field 'colour'"),
        ({"with_labels": "perhaps"}, "with_labels must not be perhaps"),
    ],
)
def test_wrong_recipes_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(rustler.RustlerError, match=message):
        rustler.Recipe("r", **fields)


# ---------------------------------------------------------------- recipes by config


def test_every_preset_makes_a_recipe() -> None:
    for name in PRESETS:
        assert isinstance(named(name).to_sampler(name), rustler.Recipe)


def test_recipes_of_a_checkpoint() -> None:
    trained = {"context_length": [64, 32], "recipes": {"mine": {"width": [3]}, "labels": {}}}
    assert context_of(trained) == (64, Recipe(width=(3,)))
    assert context_of(trained, 16, "walks") == (16, named("walks"))
    assert context_of({}) == (1024, Recipe())
    with pytest.raises(InputError, match=r"did you mean recipe\.labels"):
        context_of(trained, None, "label")


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        ({"context_length": "x"}, r"context_length\[0\] must be an integer, not 'x'"),
        ({"context_length": 256.5}, r"context_length\[0\] must be an integer, not 256.5"),
        ({"context_length": [64, "y"]}, r"context_length\[1\] must be an integer, not 'y'"),
        ({"recipes": 3}, "recipes must be a group of named entries, not 3"),
        ({"recipes": {"mine": {"widht": 3}}}, "recipes.mine.widht is not known: did you mean"),
    ],
)
def test_settings_of_a_damaged_checkpoint(trained: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"the checkpoint's context.{message}"):
        context_of(trained)


def test_a_named_recipe_starts_from_its_preset() -> None:
    recipe = from_dict(Recipe, Recipe.preset("labels") | {"width": 3})
    assert recipe.width == (3,)
    assert recipe.own_labels == named("labels").own_labels
