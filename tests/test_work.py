"""Items worked on in threads: in which order results come, and how many are under way."""

import threading
import time
from collections.abc import Iterator
from itertools import count
from operator import neg
from pathlib import Path

import pytest

from plurel.spill import Spill
from rt.work import Progress, Work, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(10)
        if item == 1:
            second.set()
        return 10 * item

    assert list(in_threads(work, range(5), 2, under_way=3)) == [0, 10, 20, 30, 40]


def test_or_as_they_become_ready() -> None:
    last = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert last.wait(10)
        return item

    found = []
    for result in in_threads(work, range(4), 2, under_way=2, in_order=False):
        found.append(result)
        if result == 3:
            last.set()
    assert found == [1, 2, 3, 0]


@pytest.mark.parametrize("in_order", [True, False])
def test_endless_items_are_taken_as_results_are(in_order: bool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in count():
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items(), 2, under_way=4, in_order=in_order)
    assert {next(results) for _ in range(10)} <= set(range(13))
    assert len(taken) == 13
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 13


@pytest.mark.parametrize("in_order", [True, False])
def test_nothing_is_begun_after_an_error(in_order: bool) -> None:
    begun, failed = [], threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise ValueError("no")
        assert failed.wait(10)

    results = in_threads(work, range(9), 2, under_way=5, in_order=in_order)
    with pytest.raises(ValueError, match="no"):
        release_after(results, failed)
    assert set(begun) <= {0, 1, 2}


def release_after(results: Iterator[None], event: threading.Event) -> None:
    """The next result; what waits for the event goes on a moment after."""
    timer = threading.Timer(0.5, event.set)
    timer.start()
    try:
        next(results)
    finally:
        timer.join()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_work_of_a_store_is_ordered(tmp_path: Path, threads: int) -> None:
    work = Work(threads, Spill(tmp_path), Progress("store", show=False))
    assert list(work.ordered(neg, range(20))) == list(range(0, -20, -1))


def test_what_is_ready_comes_before_an_error_and_nothing_is_begun_after_it() -> None:
    """The consumer is slow: all is over when it asks."""
    for _ in range(20):
        over, begun = threading.Event(), []

        def work(item: int, over: threading.Event = over, begun: list[int] = begun) -> int:
            begun.append(item)
            if item == 2:
                over.set()
                raise KeyError
            return item

        results = in_threads(work, range(9), 1, under_way=3, in_order=False)
        found = [next(results)]
        assert over.wait(10)
        time.sleep(0.005)  # the error is raised after the event is set
        with pytest.raises(KeyError):
            found.extend(results)
        assert sorted(found) == [0, 1]
        assert begun == [0, 1, 2]
