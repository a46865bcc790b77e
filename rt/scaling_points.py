"""The forms of a scaling law, and the runs that they are fitted to (`rt.scaling`)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt.power_law import Array

TOKENS = 1e9
"""The unit of S."""


@dataclass(frozen=True)
class Form:
    """letters: of each term's size, exponent and resource."""

    name: str
    letters: tuple[tuple[str, str, str], ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the order of `rt.power_law`."""
        return (*(name for size, a, _ in self.letters for name in (size, a)), "C")

    @property
    def text(self) -> str:
        """The formula."""
        terms = [f"{size} {resource}^-{a}" for size, a, resource in self.letters]
        return f"L = {' + '.join(terms)} + C"

    def log_resources(self, databases: Array, tokens: Array) -> Array:
        """log N and log S, where the form has them, f64[T, P]."""
        of = {"N": databases, "S": tokens / TOKENS}
        return np.log(np.stack([of[resource] for *_, resource in self.letters]))


_N, _S = ("A", "a", "N"), ("B", "b", "S")
FORMS = (Form("N", (_N,)), Form("S", (_S,)), Form("joint", (_N, _S)))


@dataclass(frozen=True)
class Points:
    """Runs, one entry each: databases f64[P], tokens f64[P], loss f64[P] > 0, seed (integers of
    any size); budget i64[P]: the number of the run's budget, in the order of the tokens spent."""

    databases: Array
    tokens: Array
    loss: Array
    seed: NDArray[np.object_]
    budget: NDArray[np.int64]

    @classmethod
    def of(cls, runs: Iterable[tuple[int, str, int, int, float]]) -> "Points":
        """From (databases, name of the budget, tokens, seed, loss) of each run, in any order."""
        runs = sorted(runs, key=lambda run: (run[0], run[2], run[3], run[4], run[1]))
        spent: dict[str, list[int]] = {}
        for _, name, tokens, *_ in runs:
            spent.setdefault(name, []).append(tokens)
        order = sorted(spent, key=lambda name: (sum(spent[name]) / len(spent[name]), name))
        return cls(
            databases=np.array([run[0] for run in runs], dtype=np.float64),
            tokens=np.array([run[2] for run in runs], dtype=np.float64),
            loss=np.array([run[4] for run in runs], dtype=np.float64),
            seed=np.array([run[3] for run in runs], dtype=object),
            budget=np.array([order.index(run[1]) for run in runs], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.loss)

    def chosen(self, mask: NDArray[np.bool_]) -> "Points":
        """Those where the mask is true."""
        return Points(*(values[mask] for values in vars(self).values()))

    def budget_tokens(self) -> dict[int, float]:
        """Mean tokens of the runs of each budget, rising."""
        return {
            int(budget): float(self.tokens[self.budget == budget].mean())
            for budget in np.unique(self.budget)
        }

    def cells(self) -> list[NDArray[np.int64]]:
        """The runs of each (N, budget)."""
        pairs = np.stack([self.databases, self.budget])
        _, cell = np.unique(pairs, axis=1, return_inverse=True)
        return [np.flatnonzero(cell == number) for number in np.unique(cell)]


def not_a_bottleneck(points: Points, form: Form) -> Points:
    """The points that a form is fitted to."""
    if form.name == "N":
        return points.chosen(points.budget == points.budget.max(initial=0))
    if form.name == "S":
        return points.chosen(points.databases == points.databases.max(initial=0))
    return points
