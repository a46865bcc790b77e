"""Folders and files that are complete or not there.

A folder is filled under a hidden name beside its place, `.<name>.partial`, which its writer keeps
locked; then it is synced to disk and renamed. What a killed run leaves behind is locked by no one,
and the next run that writes the same folder removes it.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plurel.errors import InputError

_PARTIAL, _REPLACED = ".partial", ".replaced"


@contextmanager
def new_folder(path: str | Path, *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty folder to fill; on success it stands at `path`, on an error nothing does.

    marker: a file that every complete folder of this kind holds. A folder at `path` is replaced
    only with `overwrite` and only if it holds the marker, so that a mistyped path costs nothing.
    Raises InputError otherwise, if another process is writing it, or if the place can't be written.
    """
    path = Path(path).absolute()
    check_place(path, marker, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, lock = _locked_partial(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        yield partial
        if not (partial / marker).exists():
            raise RuntimeError(f"a folder of this kind needs a file {marker}")
        _sync_tree(partial)
        check_place(path, marker, overwrite)
        _swap_in(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary neighbour, which replaces the file when the block ends without an error.

    Folders above it are made. Raises InputError if the place can't be written.
    """
    target = Path(path).absolute()
    check_file_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".tmp", f".{target.name}.", target.parent)
    except OSError as error:
        raise cannot_write(target, error) from None
    os.close(descriptor)
    temporary = Path(name)
    try:
        temporary.chmod(0o644)
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yields a place for a file and its side files in a hidden folder, which no other process gets
    and which the next run removes if this one is killed; on success the file replaces `path`.

    Raises InputError if another process is writing it, or if the place can't be written.
    """
    target = Path(path).absolute()
    check_file_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, lock = _locked_partial(target)
    except OSError as error:
        raise cannot_write(target, error) from None
    try:
        yield partial / target.name
        sync(partial / target.name)
        (partial / target.name).replace(target)
        sync(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def check_writable(folder: str | Path) -> None:
    """Raise InputError, before long work, if nothing can be written to `folder`, which need not be
    there yet."""
    folder = Path(folder).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file, not a folder; choose another place")
    reason = _obstacle(there, folder)
    if reason:
        where = f" ({there})" if there != folder else ""
        raise InputError(
            f"can't write to {folder}: {os.strerror(reason)}{where}; "
            f"{'check its rights or ' if reason == errno.EACCES else ''}choose another place"
        )


def _obstacle(there: Path, folder: Path) -> int:
    """Why nothing can be made in the folder `there`, on the way to `folder`; 0 if it can."""
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        return errno.EROFS if read_only else errno.EACCES
    if there != folder:  # some places, as /proc, grant the right and take no folder all the same
        try:
            Path(tempfile.mkdtemp(prefix=".plurel-", dir=there)).rmdir()
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def check_file_place(path: str | Path) -> None:
    """Raise InputError, before long work, if no file can be written at `path`."""
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder, not a file; choose another place")
    check_writable(Path(path).absolute().parent)


def cannot_write(path: Path, error: OSError) -> InputError:
    """One line for a file or folder that the system does not let us write."""
    # libraries put words of their own around the system's
    reason = os.strerror(error.errno) if error.errno else str(error)
    other = error.filename is not None and not _is_ours(Path(os.fsdecode(error.filename)), path)
    where = f" ({os.fsdecode(error.filename)})" if other else ""
    return InputError(f"can't write {path}: {reason}{where}; check the rights and the space there")


def _is_ours(named: Path, path: Path) -> bool:
    """Whether an error names `path`, or what is in it or in the neighbour that becomes it."""
    return any(p == path or p.name.startswith(f".{path.name}.") for p in (named, *named.parents))


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed runs left beside `path`; what a living process holds stays."""
    for suffix in (_PARTIAL, _REPLACED):
        leftover = _hidden(Path(path).absolute(), suffix)
        lock = _try_lock(leftover)
        if lock is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def is_hidden(path: Path) -> bool:
    """True for the name of a folder that is being written, or was left behind."""
    return path.name.startswith(".") and path.name.endswith((_PARTIAL, _REPLACED))


def check_place(path: Path, marker: str, overwrite: bool) -> None:
    """InputError if `new_folder` would not write there."""
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a folder; choose another place")
    if (path / marker).exists():
        if not overwrite:
            raise InputError(f"{path} exists already; give --overwrite or choose another place")
    elif any(path.iterdir()):
        raise InputError(f"{path} exists and holds no {marker}; choose another place")


def _hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _locked_partial(path: Path) -> tuple[Path, int]:
    """A fresh hidden folder and the descriptor that keeps it locked while its writer lives."""
    partial = _hidden(path, _PARTIAL)
    while True:
        remove_leftovers(path)
        try:
            partial.mkdir()
        except FileExistsError:
            raise InputError(f"{path} is being written by another process; wait for it") from None
        lock = _try_lock(partial)
        if lock is None:
            continue
        # another run may have taken the folder for a leftover before it was locked
        if partial.exists() and os.fstat(lock).st_ino == partial.stat().st_ino:
            return partial, lock
        os.close(lock)


def _try_lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock, or None if another process holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            sync(Path(parent) / name)
        sync(Path(parent))


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap_in(partial: Path, path: Path) -> None:
    """Rename into place; what stood there is moved to a hidden name first, then removed."""
    old = _hidden(path, _REPLACED)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)
