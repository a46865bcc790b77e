"""Models of the Hugging Face Hub: OWNER/NAME[@REVISION][/PATH].

A repository holds a folder as `rt.checkpoint.save_pretrained` writes it, at its top or at PATH, or,
as the published models are laid out, bare `.pt` files side by side: PATH then names one of them,
and need not if there is only one. Where a folder OWNER is here, a name without REVISION is a path.
Only these files are fetched, into the cache that `huggingface_hub` keeps for all programs; without
a network, or with HF_HUB_OFFLINE=1, what is there is used.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plurel.errors import InputError

MODEL_FOLDER = ("model.safetensors", "config.yaml")
_PATIENCE = 10.0
"""Seconds that the Hub may take to answer at all."""
_WORD = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(
    rf"(?P<repository>{_WORD}/{_WORD})"
    rf"(@(?P<revision>refs/pr/\d+|{_WORD}))?"
    rf"(/(?P<path>{_WORD}(/{_WORD})*))?"
)


@dataclass(frozen=True)
class Reference:
    """A model on the Hub; path: "" for the top of the repository."""

    name: str
    repository: str
    revision: str | None
    path: str

    @property
    def hidden(self) -> bool:
        """Whether the name begins as a folder of this machine does, and names no revision: then it
        is a path, maybe a mistyped one."""
        return self.revision is None and Path(self.repository.split("/")[0]).is_dir()

    def at(self, revision: str) -> str:
        """The name of the same model at a revision."""
        return f"{self.repository}@{revision}" + (f"/{self.path}" if self.path else "")


def parse(name: str) -> Reference | None:
    """The model that a name means; None for one that can only be a path of this machine."""
    match = _NAME.fullmatch(name)
    if match is None or (match["path"] is None and match["repository"].endswith(".pt")):
        return None
    return Reference(name, match["repository"], match["revision"], match["path"] or "")


def fetch(reference: Reference) -> Path:
    """The folder or the `.pt` file on this machine, downloaded if it is not there.

    InputError if there is no such repository, revision or model, or no way to get it.
    """
    # late: it takes part of a second to import, and most models come from this machine
    from huggingface_hub import snapshot_download

    repository, revision = reference.repository, reference.revision
    try:
        chosen = choose(reference, _files(reference))
        folder = snapshot_download(repository, revision=revision, allow_patterns=list(chosen))
    except InputError:
        raise
    except _client_errors() as error:
        raise InputError(_explained(reference, error)) from None
    place = Path(folder) / chosen[0]
    return place if len(chosen) == 1 else place.parent


def choose(reference: Reference, files: Iterable[str]) -> tuple[str, ...]:
    """Which of a repository's files make up the model: those of a model's folder, or a `.pt`."""
    files, path = sorted(files), reference.path
    folder = tuple(f"{path}/{name}" if path else name for name in MODEL_FOLDER)
    if set(folder) <= set(files):
        return folder
    if path.endswith(".pt") and path in files:
        return (path,)
    bare = [name for name in files if name.endswith(".pt")]
    if len(bare) == 1 and not path:
        return (bare[0],)
    start = reference.name.removesuffix(f"/{path}")
    wanted = path if path.endswith(".pt") else " and ".join(folder)
    held = f"its .pt files are {', '.join(bare)}" if bare else "nor any .pt file"
    raise InputError(
        f"{start}: this repository of the Hub has no {wanted}; {held}; "
        f"name a model in it as {start}/PATH, or give another repository"
    )


def fetch_folder(repository: str, patterns: Sequence[str], needed: Sequence[str]) -> Path:
    """The folder of a whole repository in the cache, its files of these patterns downloaded unless
    all that are needed are there; "a|b" needs one of the two.

    InputError, in seconds and without advice, if there is no way to get it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import logging

    try:
        folder = _cached(repository, None)
        if all(any((folder / name).is_file() for name in names.split("|")) for names in needed):
            return folder
    except LocalEntryNotFoundError:
        pass
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it tells each of its retries
    try:
        # without a network this ends at once, the download after a minute of retries
        HfApi().model_info(repository, timeout=_PATIENCE)
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except _client_errors() as error:
        raise InputError(
            f"{repository} is not in the cache of the Hub and cannot be fetched ({_reason(error)})"
        ) from None
    finally:
        logging.set_verbosity(verbosity)


def _cached(repository: str, revision: str | None) -> Path:
    """The folder of what is in the cache, without asking if it is all."""
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository, revision=revision, allow_patterns=[], local_files_only=True
    )
    return Path(folder)


def _files(reference: Reference) -> list[str]:
    """The names of a repository's files; of those in the cache, if the Hub can't be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

    repository, revision = reference.repository, reference.revision
    try:
        info = HfApi().model_info(repository, revision=revision)
        return [file.rfilename for file in info.siblings or []]
    except RevisionNotFoundError:
        raise
    except _client_errors() as error:
        try:
            folder = _cached(repository, revision)
        except LocalEntryNotFoundError:
            raise error from None
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def _client_errors() -> tuple[type[Exception], ...]:
    """What the client raises: errors of the system, of names, and of its library for HTTP, which
    differs between versions; the base class of the client's own errors is that library's."""
    from huggingface_hub.errors import HfHubHTTPError

    bases: tuple[type, ...] = HfHubHTTPError.__bases__
    return (OSError, ValueError, *(base for base in bases if issubclass(base, Exception)))


def _explained(reference: Reference, error: Exception) -> str:
    """One line for what `huggingface_hub` raises."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    start = f"{reference.name} is no path here, and"
    if isinstance(error, GatedRepoError):
        return (
            f"{start} {reference.repository} of the Hub is gated: accept its terms there, then log "
            "in with: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{start} the Hub has no repository {reference.repository} (for a private one log in "
            "with: hf auth login); give another name"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{start} {reference.repository} of the Hub has no revision "
            f"{reference.revision}; give another one"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return (
            f"{start} {reference.repository} is not in the cache of the Hub: download it without "
            "HF_HUB_OFFLINE, or give another path"
        )
    return (
        f"{start} {reference.repository} cannot be fetched from the Hub ({_reason(error)}); "
        "correct the path, or try again"
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
