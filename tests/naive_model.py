"""The architecture written a second time, as slowly and plainly as it can be said: loops over
cells, one vector a cell, in float64. It shares nothing with `rt` but the names of the parameters.

A cell sees, under `col`, the cells of its column; under `feat`, those of its row and of the rows
that its row references; under `nbr`, those of the rows that reference its row.

A variant is on where its parameters are there (docs/model.md says what each computes).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rt.data import Batch
from rt.meta import NO_TIME
from rt.model import RelationalTransformer

KINDS = ("number", "text", "datetime", "boolean")
SCALAR = ("number", "datetime", "boolean")
EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Cell:
    """One cell of one context. column: its store and its number there; children: of its row, how
    many by each foreign key, and the key's name; role: what its row is to the target; labels: of a
    context's own target, the slots of the labels that it sees, else None; classes: of an own text
    target, the texts among which it is scored and its place among them."""

    slot: int
    row: int
    column: tuple[int, int]
    kind: str
    value: float
    text: Tensor | None
    name: Tensor
    is_target: bool
    children: list[tuple[int, Tensor]]
    role: list[float]
    likeness: list[float]
    labels: list[int] | None
    classes: tuple[list[Tensor], int] | None


def read_contexts(arrays: Mapping[str, NDArray[Any]]) -> list[tuple[list[Cell], dict[int, set]]]:
    """Each context's cells, and the rows that each of its rows references."""
    embedding = torch.from_numpy(arrays["text_embedding"].astype(np.float64))
    contexts = []
    for b in range(arrays["row"].shape[0]):
        cells = []
        first, end = arrays["context_row_ptr"][b : b + 2].tolist()
        for slot in np.flatnonzero(~arrays["is_padding"][b]).tolist():
            column, text = arrays["column"][b, slot], arrays["text"][b, slot]
            cells.append(
                Cell(
                    slot,
                    int(arrays["row"][b, slot]),
                    (int(arrays["column_store"][column]), int(arrays["column_number"][column])),
                    KINDS[arrays["semantic_type"][b, slot]],
                    float(arrays["value"][b, slot]),
                    embedding[text] if text >= 0 else None,
                    embedding[arrays["column_text"][column]],
                    bool(arrays["is_target"][b, slot]),
                    children_of(arrays, first + int(arrays["row"][b, slot]), embedding),
                    role_of(arrays, b, slot),
                    likeness_of(arrays, b, slot),
                    labels_of(arrays, b, slot),
                    classes_of(arrays, b, slot, embedding),
                )
            )
        ptr = arrays["parent_ptr"][first : end + 1].tolist()
        parents = {
            row: set(arrays["parent"][ptr[row] : ptr[row + 1]].tolist())
            for row in range(end - first)
        }
        contexts.append((cells, parents))
    return contexts


def children_of(
    arrays: Mapping[str, NDArray[Any]], row: int, embedding: Tensor
) -> list[tuple[int, Tensor]]:
    """Of a row of the batch."""
    if len(arrays["count_ptr"]) == 0:
        return []
    span = slice(*arrays["count_ptr"][row : row + 2].tolist())
    pairs = zip(arrays["count"][span].tolist(), arrays["count_key"][span].tolist(), strict=True)
    return [(count, embedding[arrays["key_text"][key]]) for count, key in pairs]


def role_of(arrays: Mapping[str, NDArray[Any]], b: int, slot: int) -> list[float]:
    """Six numbers, of which that of the part is 1; whether both times are known, the age and its
    square."""
    first = int(arrays["context_row_ptr"][b])
    row = first + int(arrays["row"][b, slot])
    target = first + int(arrays["row"][b, arrays["target_slot"][b]])
    then, now = (int(arrays["row_time"][place]) for place in (row, target))
    part = [1.0 if number == arrays["row_part"][row] else 0.0 for number in range(6)]
    if NO_TIME in (then, now):
        return [*part, 0.0, 0.0, 0.0]
    age = math.log(1 + max(0, now - then) / 3600) / 10
    return [*part, 1.0, age, age**2]


def likeness_of(arrays: Mapping[str, NDArray[Any]], b: int, slot: int) -> list[float]:
    """The likeness of a label row to the powers of 0, 1, 4 and 16, and these times what is told."""
    row = int(arrays["context_row_ptr"][b]) + int(arrays["row"][b, slot])
    alike, told = float(arrays["row_alike"][row]), float(arrays["context_told"][b])
    if alike < 0:
        return [0.0] * 8
    powers = [1.0, alike, alike**4, alike**16]
    return [*powers, *(told * power for power in powers)]


def labels_of(arrays: Mapping[str, NDArray[Any]], b: int, slot: int) -> list[int] | None:
    """Slots of the visible cells of the column of a context's own target; None of other cells."""
    if slot != arrays["target_slot"][b]:
        return None
    number = arrays["column_number"]
    shown = np.flatnonzero(~arrays["is_padding"][b] & ~arrays["is_target"][b]).tolist()
    column = number[arrays["column"][b, slot]]
    return [other for other in shown if number[arrays["column"][b, other]] == column]


def classes_of(
    arrays: Mapping[str, NDArray[Any]], b: int, slot: int, embedding: Tensor
) -> tuple[list[Tensor], int] | None:
    """None for a cell that is not the context's own target or is none of its task's classes."""
    number, text = int(arrays["context_classes"][b]), int(arrays["text"][b, slot])
    if slot != arrays["target_slot"][b] or number < 0:
        return None
    first, end = arrays["class_ptr"][number : number + 2].tolist()
    texts = arrays["class_text"][first:end].tolist()
    return ([embedding[t] for t in texts], texts.index(text)) if text in texts else None


class NaiveModel:
    """Parameters by their published names, float64."""

    def __init__(self, parameters: Mapping[str, Tensor], num_heads: int) -> None:
        self.parameters, self.num_heads = parameters, num_heads

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = self.parameters[f"{name}.weight"] @ x
        bias = self.parameters.get(f"{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: Tensor) -> Tensor:
        return x / (x.square().mean() + EPS).sqrt() * self.parameters[f"{name}.weight"]

    def name(self, embedding: Tensor) -> Tensor:
        """A column's or a key's."""
        return self.norm("norm_dict.col_name", self.linear("enc_dict.col_name", embedding))

    def embed(self, cell: Cell) -> Tensor:
        name = self.name(cell.name)
        if "w_count.weight" in self.parameters:
            for count, key in cell.children:
                name = name + math.log(1 + count) / 4 * self.linear("w_count", self.name(key))
        if "w_role.weight" in self.parameters:
            name = name + self.linear("w_role", torch.tensor(cell.role, dtype=torch.float64))
        if "w_alike.weight" in self.parameters:
            alike = torch.tensor(cell.likeness, dtype=torch.float64)
            name = name + self.linear("w_alike", alike)
        if cell.is_target:
            return name + self.parameters[f"mask_embs.{cell.kind}"]
        value = torch.tensor([cell.value], dtype=torch.float64)
        shown = value if cell.text is None else cell.text
        return name + self.norm(
            f"norm_dict.{cell.kind}", self.linear(f"enc_dict.{cell.kind}", shown)
        )

    def attend(
        self, name: str, xs: list[Tensor], seen: list[list[int]], cells: list[Cell]
    ) -> list[Tensor]:
        """The attention sub-layer `name` of every cell; seen: the cells that each one sees."""
        width = len(xs[0])
        dim = width // self.num_heads
        heads = range(self.num_heads)
        qs, ks, vs = ([self.linear(f"{name}.w{w}", x).split(dim) for x in xs] for w in "qkv")
        qs, ks = (
            [[self.norm(f"{name}.{n}_norm", part[h]) for h in heads] for part in parts]
            for n, parts in (("q", qs), ("k", ks))
        )
        out = []
        for i in range(len(xs)):
            parts = []
            for h in heads:
                sharpness = self.sharpness(name, h, len(seen[i]))
                powers = [
                    (sharpness * qs[i][h].dot(ks[j][h]) / math.sqrt(dim)).exp() for j in seen[i]
                ]
                total = sum(powers) if powers else 1.0
                mean = torch.zeros(dim, dtype=torch.float64)
                for power, j in zip(powers, seen[i], strict=True):
                    mean = mean + power / total * vs[j][h]
                parts.append(self.gated(name, h, xs[i], mean))
            added = self.linear(f"{name}.wo", torch.cat(parts))
            if f"{name}.wo_sum.weight" in self.parameters:
                times = [self.times(name, h, cells[i]) for h in heads]
                scaled = [t * part for t, part in zip(times, parts, strict=True)]
                added = added + self.linear(f"{name}.wo_sum", torch.cat(scaled))
            out.append(added)
        return out

    def sharpness(self, name: str, head: int, keys: int) -> Tensor | float:
        """What the scores of a query with so many keys are multiplied by."""
        scale = self.parameters.get(f"{name}.key_scale")
        return 1.0 if scale is None or keys == 0 else scale[head] * math.log(keys)

    def gated(self, name: str, head: int, x: Tensor, mean: Tensor) -> Tensor:
        """A head's output times its gate, if it has one, or one for each of its channels."""
        if f"{name}.w_gate.weight" not in self.parameters:
            return mean
        gates = self.linear(f"{name}.w_gate", x).sigmoid()
        per_head = len(gates) // self.num_heads
        return mean * gates[head * per_head : (head + 1) * per_head]

    def times(self, name: str, head: int, cell: Cell) -> Tensor:
        """How many children a head counts, on the scale of logarithms."""
        total = torch.zeros((), dtype=torch.float64)
        for count, key in cell.children:
            share = self.linear(f"{name}.w_key", self.name(key))[head].sigmoid()
            total = total + math.log(1 + count) / 4 * share
        return total

    def answer(
        self, asking: Tensor, kind: str, labels: list[tuple[float, Tensor]]
    ) -> tuple[Tensor, float]:
        """What the labels say, and the spread of a number, or of a time."""
        boolean = kind == "boolean"
        values = [float(value > 0) if boolean else value for value, _ in labels]
        dim = len(asking) // self.num_heads
        queries = self.linear("label_attention.wq", asking).split(dim)
        normed = [self.norm("label_attention.norm", x) for _, x in labels]
        keys = [self.linear("label_attention.wk", x).split(dim) for x in normed]
        shares = self.linear("label_attention.w_share", asking)
        answer, squares = torch.zeros((), dtype=torch.float64), 0.0
        for h in range(self.num_heads):
            powers = [(queries[h].dot(key[h]) / math.sqrt(dim)).exp() for key in keys]
            weights = [power / sum(powers) for power in powers]
            mean = sum((w * v for w, v in zip(weights, values, strict=True)), 0 * answer)
            for weight, value in zip(weights, values, strict=True):
                squares += weight.item() * (value - mean.item()) ** 2 / self.num_heads
            if boolean:
                chance = (mean * len(values) + 0.5) / (len(values) + 1)
                mean = (chance / (1 - chance)).log()
            answer = answer + shares[h] * mean
        count = len(values)
        return answer, 1.0 if boolean else math.sqrt((squares * count + 0.1) / (count + 0.1))

    def feed_forward(self, name: str, x: Tensor) -> Tensor:
        gate = self.linear(f"{name}.w1", x)
        return self.linear(f"{name}.w2", gate * gate.sigmoid() * self.linear(f"{name}.w3", x))

    def outputs(self, cells: list[Cell], parents: dict[int, set]) -> list[dict[str, Tensor]]:
        """The scalar heads' outputs of each cell of a context."""
        xs = [self.embed(cell) for cell in cells]
        block, before = 0, xs
        while f"blocks.{block}.norms.ffn.weight" in self.parameters:
            at, before = f"blocks.{block}", xs
            for mask in ("col", "feat", "nbr"):
                seen = [
                    [j for j, other in enumerate(cells) if sees(mask, cell, other, parents)]
                    for cell in cells
                ]
                normed = [self.norm(f"{at}.norms.{mask}", x) for x in xs]
                added = self.attend(f"{at}.attns.{mask}", normed, seen, cells)
                xs = [x + y for x, y in zip(xs, added, strict=True)]
            xs = [x + self.feed_forward(f"{at}.ffn", self.norm(f"{at}.norms.ffn", x)) for x in xs]
            block += 1
        xs = [self.norm("norm_out", x) for x in xs]
        found = [{kind: self.linear(f"dec_dict.{kind}", x)[0] for kind in SCALAR} for x in xs]
        if "label_attention.wq.weight" in self.parameters:
            for cell, outputs, x in zip(cells, found, xs, strict=True):
                if cell.labels is not None and cell.kind != "text":
                    labels = [i for i, other in enumerate(cells) if other.slot in cell.labels]
                    shown = [(cells[i].value, before[i]) for i in labels]
                    answer, spread = self.answer(x, cell.kind, shown)
                    outputs[cell.kind] = answer + spread * outputs[cell.kind]
        if "class_scale" in self.parameters:
            scale = self.parameters["class_scale"].exp().clamp(max=100)
            for outputs, x in zip(found, xs, strict=True):
                text = self.linear("dec_dict.text", x)
                outputs["text"] = scale * text / text.norm()
        return found


def sees(mask: str, cell: Cell, other: Cell, parents: dict[int, set]) -> bool:
    """Whether `cell` may attend to `other` under a mask."""
    if mask == "col":
        return cell.column == other.column
    if mask == "feat":
        return cell.row == other.row or other.row in parents[cell.row]
    return cell.row in parents[other.row]


def is_scored(cell: Cell, outputs: dict[str, Tensor]) -> bool:
    """Whether a cell is a target with a loss."""
    if cell.kind == "text":
        return cell.is_target and cell.classes is not None and "text" in outputs
    return cell.is_target


def loss_of(cell: Cell, outputs: dict[str, Tensor]) -> Tensor:
    """Huber loss of a number or a date, cross-entropy of whether a boolean is above 0, and of a
    text among its classes."""
    if cell.classes is not None and cell.kind == "text":
        texts, right = cell.classes
        powers = [(outputs["text"].dot(text) / text.norm()).exp() for text in texts]
        return -(powers[right] / sum(powers)).log()
    if cell.kind == "boolean":
        probability = outputs["boolean"].sigmoid()
        return -(probability if cell.value > 0 else 1 - probability).log()
    error = (outputs[cell.kind] - cell.value).abs()
    return error**2 / 2 if error < 1 else error - 0.5


def naive_loss(contexts: list, outputs: list[list[dict[str, Tensor]]]) -> Tensor:
    """The mean over contexts, as far as they have any, of the mean over a context's targets."""
    means = []
    for (cells, _), found in zip(contexts, outputs, strict=True):
        losses = [
            loss_of(cell, out)
            for cell, out in zip(cells, found, strict=True)
            if is_scored(cell, out)
        ]
        if losses:
            means.append(sum(losses, torch.zeros((), dtype=torch.float64)) / len(losses))
    return sum(means, torch.zeros((), dtype=torch.float64)) / max(len(means), 1)


@dataclass(frozen=True)
class Proof:
    """outputs: of each context's cells, by kind; gradients: by parameter, 0 where there is none."""

    outputs: list[list[dict[str, Tensor]]]
    loss: Tensor
    gradients: dict[str, Tensor]


def run_naive(
    state: Mapping[str, Tensor], num_heads: int, arrays: Mapping[str, NDArray[Any]]
) -> Proof:
    """Outputs, loss and gradients for the parameters `state`, by plain loops."""
    parameters = {name: p.detach().double().requires_grad_() for name, p in state.items()}
    naive, contexts = NaiveModel(parameters, num_heads), read_contexts(arrays)
    outputs = [naive.outputs(cells, parents) for cells, parents in contexts]
    loss = naive_loss(contexts, outputs)
    loss.backward()
    zero = torch.zeros((), dtype=torch.float64)
    gradients = {name: zero if p.grad is None else p.grad for name, p in parameters.items()}
    return Proof(outputs, loss.detach(), gradients)


def assert_agreement(model: RelationalTransformer, batch: Batch, proof: Proof) -> None:
    """The model's outputs and loss within 1e-5 of the proof's, its gradients within 1e-4."""
    found = model(batch)
    for b, cells in enumerate(proof.outputs):
        slots = torch.nonzero(~batch.is_padding[b])[:, 0]
        for kind in SCALAR:
            expected = torch.stack([cell[kind] for cell in cells]).float()
            of_kind = getattr(found, kind)[b, slots]
            torch.testing.assert_close(of_kind, expected, rtol=1e-5, atol=1e-5)
    model.zero_grad()
    loss = model.loss(batch)
    torch.testing.assert_close(loss, proof.loss.float(), rtol=1e-5, atol=1e-6)
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = proof.gradients[name]
        if not parameter.requires_grad:
            assert not gradient.any(), name
            continue
        assert parameter.grad is not None, name
        # where a query has one key, only rounding makes its gradient other than 0
        error = (parameter.grad - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert error < 1e-4, f"{name}: relative error {error}"
