"""Where databases come from: folders and names on the Hugging Face Hub, and the stores of them.

A *place* is a store, a folder in RelBench's format, a folder that holds such folders, or a database
of RelBench on the Hub: "rel-f1", or in full "stanford-star/relbench-v1/rel-f1". The stores of
databases in RelBench's format are made below one folder, once: what is complete there is kept.
"""

import fcntl
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from plurel import paths
from plurel.atomic import check_writable
from plurel.errors import InputError
from plurel.manifest import MANIFEST
from plurel.nearest import did_you_mean_path, nearest
from rt.embedding import check_embedder, embed_stores
from rt.meta import META, preprocess_command
from rt.store import tokenise_many

RELBENCH_REPOSITORY = "stanford-star/relbench-v1"


@dataclass(frozen=True)
class Source:
    """A database: its store, which may have to be made yet, and its folder in RelBench's format,
    None if only the store is known."""

    store: Path
    raw: Path | None = None

    @property
    def name(self) -> str:
        """The name of the store's folder."""
        return self.store.name


def find_sources(
    places: Sequence[str], *, pattern: str = "*", pre_dir: str | Path | None = None
) -> list[Source]:
    """The databases of all places, in the order of the places and, within one, of their names with
    numbers read as numbers.

    pattern: the names taken from a folder of databases. pre_dir: where stores of databases in
    RelBench's format are, None for `plurel.paths.pre_dir()`.
    InputError for a place without a database and for two databases of one name.
    """
    stores = Path(pre_dir) if pre_dir is not None else paths.pre_dir()
    sources = [source for place in places for source in _find(place, pattern, stores)]
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other is not source:
            raise InputError(
                f"{_place(other)} and {_place(source)} are two databases of one name: leave one out"
            )
    return sources


def choose(sources: Sequence[Source], names: Iterable[str], key: str) -> list[Source]:
    """The sources of these names; InputError, which calls them the value of `key`, if one is not
    there."""
    by_name = {source.name: source for source in sources}
    chosen = []
    for name in names:
        if name not in by_name:
            near = nearest(name, by_name)
            known = (
                f"did you mean {near}?" if near is not None else f"there are {', '.join(by_name)}"
            )
            raise InputError(f"{key}: no database '{name}'; {known}")
        chosen.append(by_name[name])
    return chosen


def prepare(sources: Sequence[Source], embedder: str, *, show_progress: bool = True) -> None:
    """Make the stores that are not there yet, and the embeddings that they lack. Processes that
    want the same wait for each other."""
    raw = [source for source in sources if source.raw is not None]
    for folder in dict.fromkeys(source.store.parent for source in raw):
        here = [source for source in raw if source.store.parent == folder]
        check_writable(folder)
        with _alone(folder):
            check_embedder([source.store for source in here], embedder)
            stores = tokenise_many(
                [source.raw for source in here if source.raw is not None],
                folder,
                show_progress=show_progress,
            )
            embed_stores(stores, embedder, show_progress=show_progress)


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that reads digits as numbers: db-9 stands before db-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _find(place: str, pattern: str, stores: Path) -> list[Source]:
    folder = Path(place).expanduser()
    if not folder.exists():
        raw = _from_hub(place)
        return [Source(stores / raw.name, raw)]
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder of databases, or one database's")
    own = _source(folder, stores)
    if own is not None:
        return [own]
    inside = sorted(folder.iterdir(), key=lambda path: natural_order(path.name))
    found = [_source(path, stores) for path in inside if fnmatchcase(path.name, pattern)]
    sources = [source for source in found if source is not None]
    if not sources:
        raise InputError(
            f"{folder} holds no store and no folder in RelBench's format that matches {pattern!r}; "
            f"make stores there by {preprocess_command(None, folder / 'name')}, or give another "
            "folder"
        )
    return sources


def _source(folder: Path, stores: Path) -> Source | None:
    if (folder / META).is_file():
        return Source(folder)
    if (folder / MANIFEST).is_file():
        raw = folder.resolve()
        return Source(stores / raw.name, raw)
    return None


def _from_hub(place: str) -> Path:
    """The folder to which a database of the Hub was fetched."""
    name = place if "/" in place else f"{RELBENCH_REPOSITORY}/{place}"
    no_name = not re.fullmatch(r"[\w.-]+/[\w.-]+(/[\w.-]+)*", name) or place.startswith(".")
    here = "" if no_name or "/" not in place else place.split("/")[0]
    if no_name or (here and Path(here).is_dir()):
        hub = f" (the Hugging Face Hub is asked where there is no folder {here})" if here else ""
        raise InputError(
            f"no folder {place}{hub}: give a database in RelBench's format, a store, or a folder "
            f"of them{did_you_mean_path(place)}"
        )
    from relbench import hf  # only here: it takes seconds to import

    try:
        folder = Path(hf.download_dataset_dir(name))
    except Exception as error:  # of many kinds: no network, no such repository, no such folder
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{place}: no such folder, and the Hugging Face Hub does not give {name} ({reason}); "
            "give a folder, or a name that RelBench has"
        ) from None
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{place}: the Hub's {name} is not a database of RelBench")
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is in here for the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _place(source: Source) -> Path:
    return source.raw or source.store
