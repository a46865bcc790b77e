"""A head fitted on a frozen model: a linear model of the vectors that it gives to targets.

Numbers are fitted by ridge regression, booleans and classes by logistic regression, on standardised
vectors; how much is penalised is chosen on validation rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from plurel.atomic import complete_file
from plurel.errors import InputError

Floats = NDArray[np.float64]
Kind = Literal["binary_classification", "regression", "multiclass_classification"]
PENALTIES = tuple(10.0**power for power in range(-2, 5))
MOST_STEPS = 1000


@dataclass(frozen=True)
class Head:
    """weight f64[F, C], bias f64[C] of vectors (x - mean) / scale, all f64[F]; C is 1 but for
    classes, whose names are `classes`. task: "<database>/<task>" that it was fitted on;
    model: the fingerprint of the model whose vectors they were; contexts: what these were read
    from, as `rt.recipes.facts_of` has it, {} in heads that do not say."""

    task: str
    kind: Kind
    mean: Floats
    scale: Floats
    weight: Floats
    bias: Floats
    classes: tuple[str, ...] = ()
    model: str = ""
    contexts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, vectors: Floats) -> Floats:
        """f64[N] probabilities or values, or f64[N, C] probabilities of classes."""
        scores = ((vectors - self.mean) / self.scale) @ self.weight + self.bias
        if self.kind == "multiclass_classification":
            return np.asarray(softmax(scores, axis=1))
        return np.asarray(
            expit(scores[:, 0]) if self.kind == "binary_classification" else scores[:, 0]
        )

    def check(self, task: str, kind: str, model: str, contexts: Mapping[str, Any]) -> None:
        """InputError unless the head is for a task of this name and type, for this model, and for
        vectors of such contexts."""
        if (self.task.rpartition("/")[2], self.kind) != (task, kind):
            raise InputError(f"the head was fitted on {self.task}, not on {task}: fit another one")
        if self.model != model:
            raise InputError(
                f"the head for {task} was fitted on another model, whose vectors mean other things:"
                " fit it again"
            )
        names = [n for n in self.contexts if n in contexts and self.contexts[n] != contexts[n]]
        if names:
            others = ", ".join(f"{n} {self.contexts[n]}, not {contexts[n]}" for n in names)
            raise InputError(
                f"the head for {task} was fitted on contexts of {others}: give the same, or fit it "
                "again"
            )

    def save(self, path: str | Path) -> None:
        """Write the head to a safetensors file."""
        arrays = {
            n: np.ascontiguousarray(getattr(self, n)) for n in ("mean", "scale", "weight", "bias")
        }
        facts = {
            "task": self.task, "kind": self.kind, "classes": json.dumps(self.classes),
            "model": self.model, "contexts": json.dumps(dict(self.contexts)),
        }  # fmt: skip
        with complete_file(Path(path)) as file:
            save_file(arrays, file, metadata=facts)

    @classmethod
    def load(cls, path: str | Path) -> "Head":
        """Read what `save` wrote."""
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata()
                arrays = {n: file.get_tensor(n) for n in ("mean", "scale", "weight", "bias")}
            classes = tuple(json.loads(facts["classes"]))
            contexts = json.loads(facts.get("contexts", "{}"))  # older heads do not say
            return cls(
                facts["task"], facts["kind"], classes=classes, model=facts["model"],
                contexts=contexts, **arrays,
            )  # fmt: skip
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: no saved head ({error}); fit it again") from None


@dataclass(frozen=True)
class Labelled:
    """Vectors f64[N, F] of rows and their labels: numbers, 0 and 1, or texts."""

    vectors: Floats
    labels: NDArray[np.generic]


def different(task: str, labels: NDArray[np.generic]) -> NDArray[np.generic]:
    """The different labels in order; InputError for fewer than two, of which no head can be
    fitted."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise InputError(
            f"task {task}: all {len(labels)} labels to fit on are {classes[0].item()!r}"
        )
    return classes


def fit_head(task: str, kind: Kind, train: Labelled, val: Labelled) -> Head:
    """The head of the penalty that predicts the validation rows best: least absolute error, or
    least cross-entropy. InputError where the train rows have fewer than two different labels."""
    classes = different(task, train.labels)
    mean, scale = train.vectors.mean(0), train.vectors.std(0)
    scale = np.where(scale > 1e-6 * scale.max(initial=1e-6), scale, np.inf)
    inputs = (train.vectors - mean) / scale
    heads = []
    for penalty in PENALTIES:
        weight, bias = _fitted(kind, inputs, train.labels, penalty)
        names = tuple(map(str, classes)) if kind == "multiclass_classification" else ()
        heads.append(Head(task, kind, mean, scale, weight, bias, names))
    return min(heads, key=lambda head: _error(head, val, classes))


def _fitted(
    kind: Kind, inputs: Floats, labels: NDArray[np.generic], penalty: float
) -> tuple[Floats, Floats]:
    """Weights [F, C] and biases [C]."""
    if kind == "regression":
        values = labels.astype(np.float64)
        center, spread = values.mean(), values.std()
        ridge = Ridge(alpha=penalty).fit(inputs, (values - center) / spread)
        return spread * ridge.coef_[:, None], np.array([spread * ridge.intercept_ + center])
    logistic = LogisticRegression(C=1 / penalty, max_iter=MOST_STEPS).fit(inputs, labels)
    weight, bias = logistic.coef_.T, logistic.intercept_
    if kind == "multiclass_classification" and len(logistic.classes_) == 2:
        return np.hstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    return weight, bias


def _error(head: Head, val: Labelled, classes: NDArray[np.generic]) -> float:
    """Of a head on validation rows; classes that no train row has count for nothing."""
    found = head(val.vectors)
    if head.kind == "regression":
        return float(np.abs(found - val.labels.astype(np.float64)).mean())
    if head.kind == "binary_classification":
        truth = val.labels.astype(bool)
        chance = np.where(truth, found, 1 - found)
    else:
        known = np.isin(val.labels, classes)
        place = np.searchsorted(classes, val.labels[known])
        chance = found[known, place]
    return float(-np.log(np.maximum(chance, 1e-12)).mean()) if len(chance) else 0.0
