"""The corpus and the stream of batches."""

import itertools
import multiprocessing
import os
import pickle
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from small_stores import write_stores

import rustler
from plurel.errors import InputError
from rt.config import from_dict
from rt.corpus import (
    Corpus,
    DataConfig,
    _with_drawn_columns,
    build_sampler,
    open_corpus,
    text_width,
)
from rt.data import Batch
from rt.heldout import HeldoutSet
from rt.loader import BatchStream, Loader, Share
from rt.packing import pack, unpack


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stores(tmp_path_factory.mktemp("loader"), 4)


def config(pre: Path, **changes: object) -> DataConfig:
    values = {"root": str(pre), "heldout_dbs": 1, "embedder": "hash", "context_length": 16}
    return from_dict(
        DataConfig,
        values | {"batch_size": 6, "recipes": {"published": {"width": 8}}} | changes,
        "data",
    )


def stream_of(pre: Path, share: Share | None = None, start: int = 0) -> BatchStream:
    data = config(pre)
    sampler = build_sampler(open_corpus(data).train, data, extra_target_share=(0.0, 0.3), seed=3)
    return BatchStream(sampler, share or Share(), start)


def take(stream: BatchStream, count: int, workers: int = 0) -> list[Batch]:
    with closing(Loader(stream, workers, prefetch=2)) as loader:
        return [next(loader) for _ in range(count)]


def assert_same(first: Batch, second: Batch) -> None:
    for field in fields(Batch):
        if field.name != "plan":
            one, other = getattr(first, field.name), getattr(second, field.name)
            assert torch.equal(one, other), field.name
    assert torch.equal(first.plan.cell, second.plan.cell)
    assert torch.equal(first.plan.feat.key, second.plan.feat.key)


def damaged() -> NoReturn:
    raise rustler.RustlerError("the store is damaged")


def die() -> NoReturn:
    os._exit(1)


@pytest.mark.parametrize(
    ("workers", "fail", "line"),
    [
        (0, damaged, "rank 0, batch of step 1: the store is damaged"),
        (1, damaged, "rank 0, batch of step 1: the store is damaged"),
        (1, die, "a process that prepares batches for rank 0 died: is there enough memory"),
    ],
)
def test_a_batch_that_cannot_be_had_is_one_line_and_leaves_no_process(
    pre: Path, monkeypatch: pytest.MonkeyPatch, workers: int, fail: Any, line: str
) -> None:
    item = BatchStream.item

    def item_or_fail(self: BatchStream, number: int) -> Batch:
        return item(self, number) if number < 2 else fail()

    monkeypatch.setattr(BatchStream, "item", item_or_fail)
    loader = Loader(stream_of(pre, Share(micro_batches=2)), workers, prefetch=1)
    # the error is kept: its traceback holds what the workers belong to
    with pytest.raises(InputError) as caught, closing(loader):
        [next(loader) for _ in range(3)]
    assert line in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not multiprocessing.active_children()


def test_the_stream_is_the_same_for_any_number_of_workers(pre: Path) -> None:
    alone = take(stream_of(pre), 5)
    for workers in (1, 2):
        for one, other in zip(alone, take(stream_of(pre), 5, workers), strict=True):
            assert_same(one, other)
    assert not torch.equal(alone[0].target_row, alone[1].target_row)


def test_a_stream_from_a_later_step_is_the_rest(pre: Path) -> None:
    alone = take(stream_of(pre), 5)
    for one, other in zip(alone[3:], take(stream_of(pre, start=3), 2, workers=2), strict=True):
        assert_same(one, other)


def targets(batch: Batch) -> list[tuple[int, int]]:
    pairs = zip(batch.context_task.tolist(), batch.target_row.tolist(), strict=True)
    return [(task, row) for task, row in pairs]


@pytest.mark.parametrize(("ranks", "micro_batches"), [(2, 1), (1, 3), (3, 2)])
def test_ranks_and_micro_batches_share_one_global_batch(
    pre: Path, ranks: int, micro_batches: int
) -> None:
    whole = targets(take(stream_of(pre), 2)[1])
    parts = []
    for rank in range(ranks):
        share = Share(rank, ranks, micro_batches)
        parts += take(stream_of(pre, share, start=1), micro_batches)
    assert {batch.num_contexts for batch in parts} == {6 // ranks // micro_batches}
    assert sorted(pair for batch in parts for pair in targets(batch)) == sorted(whole)
    # ranks, and a rank's micro-batches, follow each other in order of tasks
    for before, after in itertools.pairwise(parts):
        assert max(targets(before))[0] <= min(targets(after))[0]


def test_a_share_that_cannot_be_equal_is_refused() -> None:
    Share(0, 2, 3).check(12)
    with pytest.raises(InputError, match=r"data.batch_size 8 is not a multiple of 6"):
        Share(0, 2, 3).check(8)


def test_waiting_is_measured(pre: Path) -> None:
    loader = Loader(stream_of(pre))
    assert loader.waited == 0
    next(loader)
    first = loader.waited
    next(loader)
    assert 0 < first < loader.waited


def names(corpus: Corpus) -> tuple[list[str], list[str]]:
    return corpus.names()["train"], corpus.names()["heldout"]


def test_training_and_heldout_databases_are_disjoint_and_stable(pre: Path) -> None:
    every = [f"rel-synthetic-{seed}" for seed in range(4)]
    assert names(open_corpus(config(pre))) == (every[:3], every[3:])
    assert names(open_corpus(config(pre, num_dbs=1))) == (every[:1], every[3:])
    two = config(pre, heldout_dbs=2, num_dbs=2)
    assert names(open_corpus(two)) == (every[:2], every[2:])


def test_stores_can_be_named_one_by_one(pre: Path) -> None:
    stores = [str(pre / "rel-synthetic-2"), str(pre / "rel-synthetic-0")]
    corpus = open_corpus(config(pre, root=tuple(stores)))
    assert names(corpus) == (["rel-synthetic-2"], ["rel-synthetic-0"])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num_dbs": 4}, r"4 databases with tasks, but data.num_dbs \+ data.heldout_dbs need 5"),
        (
            {"pattern": "x-*"},
            "matches 'x-\\*'; make stores there by python scripts/preprocess.py RAW",
        ),
        ({"root": ("/no/such",)}, "no folder /no/such"),
    ],
)
def test_missing_databases_are_named(pre: Path, changes: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        open_corpus(config(pre, **changes))


def test_a_missing_embedder_is_named(pre: Path) -> None:
    assert text_width(pre / "rel-synthetic-0", "hash") == 64
    with pytest.raises(InputError, match=r"text.other.safetensors is missing: preprocess"):
        text_width(pre / "rel-synthetic-0", "other")


def test_databases_have_equal_weight_whatever_their_number_of_tasks(pre: Path) -> None:
    data = config(pre, batch_size=300)
    first, second, *_ = open_corpus(data).train
    narrow = type(first)(first.path, first.meta, first.tasks[:1])
    sampler = build_sampler((narrow, second), data, extra_target_share=(0, 0), seed=0)
    tasks = sampler.batch(0)["context_task"]
    # 300 draws with p = 1/2: 5 standard deviations are 43
    assert abs((tasks == 0).sum() - 150) < 43
    assert set(tasks.tolist()) == {0, 1, 2, 3, 4}


def test_heldout_rows_have_values_and_depend_on_the_seed_alone(pre: Path) -> None:
    data = config(pre, heldout_dbs=2, heldout_tasks=3, heldout_rows=4)
    databases = open_corpus(data).heldout
    drawn = HeldoutSet(databases, data, seed=1)
    assert len(drawn.batches) == 6
    tasks = [task for database in databases for task in database.tasks]
    for batch in drawn.batches:
        task = tasks[batch.task]
        start, end = task.splits["val"]
        assert len(batch.rows) <= 4
        assert all(start <= row < end for row in batch.rows)
        contexts = Batch.from_arrays(drawn.sampler.contexts(batch.task, batch.rows, seed=1))
        assert contexts.is_target.sum() == len(batch.rows)
    again = pickle.loads(pickle.dumps(HeldoutSet(databases, data, seed=1).batches))
    for one, other in zip(drawn.batches, again, strict=True):
        assert one.task == other.task
        assert np.array_equal(one.rows, other.rows)
    others = HeldoutSet(databases, data, seed=2).batches
    assert any(
        one.task != other.task or not np.array_equal(one.rows, other.rows)
        for one, other in zip(drawn.batches, others, strict=True)
    )


def test_a_null_target_is_never_held_out(pre: Path) -> None:
    data = config(pre, heldout_rows=1000, heldout_split="train")
    database = open_corpus(data).heldout[0]
    (number,) = [i for i, task in enumerate(database.tasks) if task.name == "orders.price"]
    store = rustler.Store(database.path)
    task = database.tasks[number]
    start, end = task.splits["train"]
    filled = [
        row
        for row in range(start, end)
        if task.column in [cell[0] for cell in store.row(row)["cells"]]
    ]
    assert 0 < len(filled) < end - start
    (batch,) = [b for b in HeldoutSet((database,), data, seed=0).batches if b.task == number]
    assert batch.rows.tolist() == filled


@dataclass(frozen=True)
class Inner:
    flags: torch.Tensor
    label: str


@dataclass(frozen=True)
class Outer:
    odd: torch.Tensor
    inner: Inner
    empty: torch.Tensor
    wide: torch.Tensor
    scalar: torch.Tensor


def test_a_packed_batch_comes_back_from_one_block() -> None:
    value = Outer(
        torch.arange(3, dtype=torch.int16),
        Inner(torch.tensor([[True, False], [False, True]]), "as it is"),
        torch.empty(0, 4, dtype=torch.float16),
        torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
        torch.tensor(7),
    )
    packed = pickle.loads(pickle.dumps(pack(value)))
    assert packed.block.dtype == torch.uint8
    again = unpack(packed)
    assert again.inner.label == "as it is"
    for one, other in (
        (value.odd, again.odd),
        (value.inner.flags, again.inner.flags),
        (value.empty, again.empty),
        (value.wide, again.wide),
        (value.scalar, again.scalar),
    ):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("mix", ["database", "task", "row"])
def test_databases_tasks_or_rows_are_drawn_equally_often(pre: Path, mix: str) -> None:
    settings = config(pre, mix=mix)
    databases = open_corpus(settings).train
    sampler = build_sampler(databases, settings, extra_target_share=(0.0, 0.0), seed=0)
    (_, tasks), _ = sampler.__getnewargs_ex__()
    weights = iter([task.__getnewargs__()[6] for task in tasks])
    for database in databases:
        mine = [next(weights) for _ in database.tasks]
        rows = [task.splits["train"][1] - task.splits["train"][0] for task in database.tasks]
        expected = {"database": [1 / len(mine)] * len(mine), "task": [1.0] * len(mine), "row": rows}
        assert mine == pytest.approx(expected[mix])


@pytest.mark.parametrize("mix", ["database", "task", "row"])
def test_declared_tasks_have_the_share_that_they_are_given(pre: Path, mix: str) -> None:
    def weights(share: float | None) -> list[list[float]]:
        settings = config(pre, mix=mix, tasks="both", declared_share=share)
        databases = open_corpus(settings).train
        # the stores declare none: the first of each plays it, and one has none but such
        numbers = [1, len(databases[1].tasks), 0]
        databases = tuple(
            replace(database, num_declared=number)
            for database, number in zip(databases, numbers, strict=True)
        )
        sampler = build_sampler(databases, settings, extra_target_share=(0.0, 0.0), seed=0)
        (_, tasks), _ = sampler.__getnewargs_ex__()
        found = iter([task.__getnewargs__()[6] for task in tasks])
        return [[next(found) for _ in database.tasks] for database in databases]

    plain, shared = weights(None), weights(0.75)
    assert shared[1:] == plain[1:]
    assert sum(shared[0]) == pytest.approx(sum(plain[0]))
    assert shared[0][0] == pytest.approx(0.75 * sum(plain[0]))
    others = [one / other for one, other in zip(shared[0][1:], plain[0][1:], strict=True)]
    assert others == pytest.approx([others[0]] * len(others))
    with pytest.raises(InputError, match=r"data.tasks must be both with data.declared_share"):
        config(pre, declared_share=0.5)
    with pytest.raises(InputError, match=r"data.declared_share must be above 0 and below 1"):
        config(pre, tasks="both", declared_share=1.0)


def test_of_each_database_some_columns_are_drawn(pre: Path) -> None:
    """Declared tasks stay; each window of databases, and each seed, has a draw of its own."""
    every = open_corpus(config(pre)).train

    def drawn(window: int, seed: int = 0, most: int = 2) -> list[list[str]]:
        settings = config(pre, columns_drawn=most)
        databases = tuple(replace(database, num_declared=1) for database in every)
        found = _with_drawn_columns(databases, settings, seed, window)
        return [[task.name for task in database.tasks] for database in found]

    assert [len(names) for names in drawn(0)] == [min(3, len(d.tasks)) for d in every]
    for names, database in zip(drawn(0), every, strict=True):
        in_order = [task.name for task in database.tasks]
        assert names[0] == in_order[0]
        assert names == sorted(names, key=in_order.index)
    assert drawn(0) == drawn(0)
    several = [str(drawn(window, seed)) for window in range(4) for seed in range(2)]
    assert len(set(several)) > 4
    assert drawn(0, most=1000) == [[task.name for task in d.tasks] for d in every]
    train = open_corpus(config(pre, columns_drawn=1)).train
    assert [len(database.tasks) for database in train] == [1] * len(train)
    with pytest.raises(InputError, match=r"data.columns_drawn must be null unless columns are"):
        config(pre, columns_drawn=1, tasks="declared")
    with pytest.raises(InputError, match=r"data.columns_drawn must be 1 or more"):
        config(pre, columns_drawn=0)
