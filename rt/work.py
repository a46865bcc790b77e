"""How a database is tokenised: in threads, with large arrays in files, and a bar that shows it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from plurel.processes import available_cores
from plurel.spill import Spill

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Each thread holds a column: memory must not grow with the cores of the machine."""


def default_threads() -> int:
    return min(available_cores(), MOST_THREADS)


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
            yield from map(function, items)
            return
        pending: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for item in items:
                    pending.append(pool.submit(function, item))
                    if len(pending) > self.threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
