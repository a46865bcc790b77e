"""The loss on databases that a run never trains on, over a fixed set of tasks and rows.

Tasks and rows are a function of the seed and the databases' names, and the loss is summed batch by
batch in one order, so that it does not depend on the number of ranks. Beside it stands the loss of
a constant: 0 (the mean of the train rows) for numbers, the train rows' rate for booleans.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import rustler
from plurel.errors import InputError
from plurel.rng import stream
from rt.corpus import Database, DataConfig, build_sampler
from rt.data import BOOLEAN, Batch
from rt.losses import target_losses
from rt.precision import autocast
from rt.ranks import Ranks
from rt.tasks import Task

RATE_MARGIN = 0.01
"""A constant's rate stays this far from 0 and 1, where its loss would be unbounded."""


@dataclass(frozen=True)
class HeldoutBatch:
    """Rows of one task that are evaluated together. rate: of the train rows, for booleans."""

    task: int
    rows: NDArray[np.uint32]
    rate: float


@dataclass(frozen=True)
class HeldoutLoss:
    """Means over contexts: of all, and of those with a number or a boolean as target."""

    loss: float
    number: float | None
    boolean: float | None
    constant: float
    constant_number: float | None
    constant_boolean: float | None
    contexts: int

    def record(self) -> dict[str, float | None]:
        """The values by their names in metrics.jsonl."""
        return {
            "heldout_loss": self.loss,
            "heldout_loss_number": self.number,
            "heldout_loss_boolean": self.boolean,
            "constant_loss": self.constant,
            "constant_loss_number": self.constant_number,
            "constant_loss_boolean": self.constant_boolean,
        }


class HeldoutSet:
    """Draws the tasks and rows once and evaluates models on them."""

    def __init__(
        self,
        databases: tuple[Database, ...],
        config: DataConfig,
        seed: int,
        child_counts: bool = False,
    ) -> None:
        self.sampler = build_sampler(
            databases,
            config,
            extra_target_share=(0.0, 0.0),
            seed=seed,
            child_counts=child_counts,
        )
        self.seed = seed
        self.batches = _draw(databases, config, seed)
        if not self.batches:
            raise InputError(
                f"no held-out task has a row with a value in the split {config.heldout_split}: "
                "choose another data.heldout_split"
            )

    def evaluate(self, model: nn.Module, ranks: Ranks, precision: str) -> HeldoutLoss:
        """The loss of the model; each rank computes every world_size-th batch."""
        sums = torch.zeros(len(self.batches), 6, dtype=torch.float64)
        training = model.training
        model.eval()
        with torch.no_grad():  # what shards gather in inference mode is of no use to autograd
            for number, counts in ranks.turns(len(self.batches)):
                heldout = self.batches[number]
                arrays = self.sampler.contexts(heldout.task, heldout.rows, seed=self.seed)
                batch = Batch.from_arrays(arrays).to(ranks.device)
                with autocast(ranks.device, precision):
                    outputs = model(batch, targets_only=True)
                losses, _ = target_losses(outputs, batch)
                own = losses.gather(1, batch.target_slot.long()[:, None])[:, 0]
                if counts:
                    sums[number] = _sums(batch, own, heldout.rate)
        model.train(training)
        return _means(ranks.total(sums))


def _draw(databases: Sequence[Database], config: DataConfig, seed: int) -> list[HeldoutBatch]:
    drawn, first_task = [], 0
    for database in databases:
        rows_of = rustler.Store(database.path)
        chosen = stream(seed, "heldout", database.path.name, "tasks").permutation(
            len(database.tasks)
        )
        found = 0
        for number in map(int, chosen):
            task = database.tasks[number]
            rows = _draw_rows(rows_of, database, task, config, seed)
            if len(rows) and found < config.heldout_tasks:
                found += 1
                rate = database.meta.columns[task.column].mean
                rate = min(max(rate, RATE_MARGIN), 1 - RATE_MARGIN)
                drawn.append(HeldoutBatch(first_task + number, rows, rate))
        first_task += len(database.tasks)
    return drawn


def _draw_rows(
    store: rustler.Store, database: Database, task: Task, config: DataConfig, seed: int
) -> NDArray[np.uint32]:
    """Up to `heldout_rows` rows of the split whose target is not null, in rising order."""
    start, end = task.splits[config.heldout_split]
    order = stream(seed, "heldout", database.path.name, task.name).permutation(end - start)
    rows = (start + int(offset) for offset in order)
    with_value = (row for row in rows if _has_value(store, row, task.column))
    taken = [row for row, _ in zip(with_value, range(config.heldout_rows), strict=False)]
    return np.array(sorted(taken), dtype=np.uint32)


def _has_value(store: rustler.Store, row: int, column: int) -> bool:
    return any(cell[0] == column for cell in store.row(row)["cells"])


def _sums(batch: Batch, own: Tensor, rate: float) -> Tensor:
    """f64[6]: loss, constant's loss and count of the number targets, then of the boolean ones."""
    value = batch.target_value.double()
    is_boolean = batch.target_type == BOOLEAN
    truth = (value > 0).double()
    by_rate = F.binary_cross_entropy(torch.full_like(truth, rate), truth, reduction="none")
    by_zero = F.huber_loss(torch.zeros_like(value), value, reduction="none")
    columns = []
    for chosen, constant in ((~is_boolean, by_zero), (is_boolean, by_rate)):
        mask = chosen.double()
        columns += [(own.double() * mask).sum(), (constant * mask).sum(), mask.sum()]
    return torch.stack(columns).cpu()


def _means(sums: Tensor) -> HeldoutLoss:
    # added one by one in order of the batches: the same on any number of ranks
    number_loss, number_constant, numbers, boolean_loss, boolean_constant, booleans = (
        sum(column) for column in zip(*sums.tolist(), strict=True)
    )

    def mean(total: float, count: float) -> float | None:
        return total / count if count else None

    count = numbers + booleans
    return HeldoutLoss(
        loss=(number_loss + boolean_loss) / count,
        number=mean(number_loss, numbers),
        boolean=mean(boolean_loss, booleans),
        constant=(number_constant + boolean_constant) / count,
        constant_number=mean(number_constant, numbers),
        constant_boolean=mean(boolean_constant, booleans),
        contexts=int(count),
    )
