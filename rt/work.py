"""How a database is tokenised: in threads, with large arrays in files, and a bar that shows it."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from plurel.processes import available_cores
from plurel.spill import Spill

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Each thread holds a column: memory must not grow with the cores of the machine."""


def default_threads() -> int:
    return min(available_cores(), MOST_THREADS)


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    *,
    under_way: int,
    in_order: bool = True,
) -> Iterator[Result]:
    """The results in the order of the items, or else as they become ready; at most `under_way` are
    computed or wait to be asked for. After an error nothing new is begun."""
    pending: list[Future[Result]] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                while any(_failed(future) for future in pending):
                    yield _take(pending, in_order)  # what is ready, then the error
                pending.append(pool.submit(function, item))
                if len(pending) >= under_way:
                    yield _take(pending, in_order)
            while pending:
                yield _take(pending, in_order)
        finally:
            for future in pending:
                future.cancel()


def _take(pending: list[Future[Result]], in_order: bool) -> Result:
    """The result of the first, or of one that is ready first, which is pending no longer; an error
    only when nothing else is ready."""
    first = pending[0]
    if not in_order:
        ready = wait(pending, return_when=FIRST_COMPLETED).done
        first = min(ready, key=_failed)
    pending.remove(first)
    return first.result()


def _failed(future: Future[Result]) -> bool:
    return future.done() and future.exception() is not None


class Progress:
    """A bar of cells; every cell is read, then written, and each counts as half of it."""

    def __init__(self, name: str, show: bool) -> None:
        self._name = name
        # on a terminal only: a log has the line that each database gets in the end
        hide = None if show else True
        self._bar = tqdm(unit="cell", unit_scale=True, disable=hide, leave=False)

    def expect(self, cells: int) -> None:
        """How many cells the bar stands for, as far as is known yet."""
        self._bar.total = cells

    def stage(self, stage: str) -> None:
        self._bar.set_description(f"{self._name}, {stage}")

    def half(self, cells: int) -> None:
        """So many cells went through one of the two stages."""
        self._bar.update(cells / 2)

    def close(self) -> None:
        self._bar.close()


@dataclass(frozen=True)
class Work:
    threads: int
    spill: Spill
    progress: Progress

    def ordered(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """The results in the order of the items; few are computed before they are asked for."""
        if self.threads == 1:
            return map(function, items)
        return in_threads(function, items, self.threads, under_way=self.threads + 1)
