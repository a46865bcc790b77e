"""Recipes of contexts: what the sampler puts around a target, by config.

A context has named parts, in this order, each with a budget: the target's row and its ancestors;
label rows of the same entity, bare and latest first; label rows of others, each with a small
neighbourhood; the target's neighbourhood, breadth-first. The recipe `published` (Relational
Transformer, arXiv 2510.06377) has the first and the last only. Numbers are lists: every batch
draws one value of each, a prediction takes the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import rustler
from plurel.errors import InputError
from rt.config import from_dict, to_dict, unknown_key

Order = Literal["recency", "walks", "random", "telling", "fitted"]
OwnOrder = Literal["recency", "telling"]


@dataclass(frozen=True)
class Recipe:
    """One recipe; the defaults are the published one.

    weight: share of the training contexts, relative to the other recipes of a run.
    ancestors, own_labels, other_labels: the share of the context's cells that the target's
    ancestors, label rows of the same entity, and label rows of others with their neighbourhoods may
    fill; what they leave goes on. (Without the latter two, `ancestors` bounds nothing.)
    own_order: `recency`, or `telling`: of a table with several foreign keys first the rows that
    share the parents whose labels told most of each other in the training split. own_columns: with
    how many of the columns that tell most of the training labels own label rows come, beside time
    and label. other_columns: the same of others, and of what they reference, in the place of their
    neighbourhood (for forecasts, before it); 1,000,000 for whole rows. (`rustler.Recipe`)
    other_order: `recency`; `walks`: by how often `walks` random walks of `walk_length` steps from
    the target visit a row; `random`; `telling`: by how much they are like the target in the cells
    and facts that tell most of the training labels, each weighing as much as it tells; or `fitted`:
    likewise, by weights that are fitted to the training labels, which takes up to a second a task.
    other_cells: most cells of one such row with its neighbourhood; other_width: most children of a
    row in it.
    width: most children of a row that are followed, counted for each table if `width_per_table`.
    parent_levels: levels of ancestors that come with a row. recency: share of the rows whose
    children are taken latest first, not at random. with_labels: false hides all labels but the
    target's own, which is hidden anyway: a model's answer for the first row of its kind.
    """

    weight: float = 1.0
    ancestors: tuple[float, ...] = (1.0,)
    own_labels: tuple[float, ...] = (0.0,)
    own_order: tuple[OwnOrder, ...] = ("recency",)
    own_columns: tuple[int, ...] = (0,)
    other_labels: tuple[float, ...] = (0.0,)
    other_order: tuple[Order, ...] = ("recency",)
    other_cells: tuple[int, ...] = (16,)
    other_width: tuple[int, ...] = (4,)
    other_columns: tuple[int, ...] = (1_000_000,)
    walks: tuple[int, ...] = (10_000,)
    walk_length: tuple[int, ...] = (20,)
    width: tuple[int, ...] = (128,)
    parent_levels: tuple[int, ...] = (1_000_000,)
    recency: tuple[float, ...] = (0.0,)
    width_per_table: bool = False
    with_labels: bool = True

    @classmethod
    def preset(cls, name: str) -> dict[str, Any]:
        """The fields in which the recipe of this name differs from the published one."""
        return PRESETS.get(name, {})

    def to_sampler(self, name: str) -> "rustler.Recipe":
        """The recipe as the sampler takes it; RustlerError for values out of range."""
        return rustler.Recipe(name, **to_dict(self))


def facts_of(length: int, recipe: Recipe) -> dict[str, Any]:
    """What the contexts of predictions depend on, as plain values by name."""
    fields = {name: value for name, value in vars(recipe).items() if name != "weight"}
    first = {name: v[0] if isinstance(v, tuple) else v for name, v in fields.items()}
    return {"context_length": length, **first}


_LABELS: dict[str, Any] = {
    "ancestors": (0.2,),
    "own_labels": (0.125,),
    "other_labels": (0.375,),
    "other_cells": (24,),
    "width": (16,),
    "width_per_table": True,
    "parent_levels": (2,),
}
_NEAREST = _LABELS | {
    "own_order": ("telling",),
    "other_order": ("telling",),
    "other_columns": (4,),
}
_ALIKE = _NEAREST | {"own_labels": (0.05,), "other_labels": (0.7,), "other_cells": (3,)}
PRESETS: dict[str, dict[str, Any]] = {
    "published": {},
    "labels": _LABELS,
    "walks": _LABELS | {"other_order": ("walks",)},
    "nearest": _NEAREST,
    "alike": _ALIKE,
    "fitted": _ALIKE | {"other_order": ("fitted",)},
    "unlabelled": {**_LABELS, "own_labels": (0.0,), "other_labels": (0.0,), "with_labels": False},
}
"""Recipes by name. A recipe of another name starts from the published one. What a checkpoint leaves
out is filled in from here, so that a preset must not change: new contexts have a new name."""


def named(name: str) -> Recipe:
    """The recipe of a name in `PRESETS`."""
    return Recipe(**PRESETS[name])


@dataclass(frozen=True)
class _Trained:
    """What a checkpoint says of contexts."""

    context_length: tuple[int, ...]
    recipes: dict[str, Recipe]


def context_of(
    trained: Mapping[str, Any], length: int | None = None, name: str | None = None
) -> tuple[int, Recipe]:
    """The context length and the recipe to predict with, from a checkpoint's settings of contexts
    (`rt.checkpoint.Settings.context`): the first of each, unless a length or a name is given.
    InputError for a name that is neither of the checkpoint's nor in `PRESETS`, and for settings
    that are none."""
    settings = {
        "context_length": trained.get("context_length") or 1024,
        "recipes": trained.get("recipes") or {"published": {}},
    }
    found = from_dict(_Trained, settings, "the checkpoint's context")
    recipes = found.recipes
    if name is None:
        name = next(iter(recipes))
    elif name not in recipes and name not in PRESETS:
        raise InputError(unknown_key(f"recipe.{name}", {*recipes, *PRESETS}))
    chosen = recipes[name] if name in recipes else named(name)
    return found.context_length[0] if length is None else length, chosen
