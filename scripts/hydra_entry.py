"""What the scripts with a Hydra config share: plain values, paths, errors in one line."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from plurel import paths
from plurel.errors import InputError
from rt.config import unknown_key
from rustler import RustlerError


def register() -> None:
    """Let configs name the folders of `plurel.paths` (${plurel:runs_dir}), and have Hydra raise
    its errors instead of printing them."""
    folders = {"raw_dir": paths.raw_dir, "pre_dir": paths.pre_dir, "runs_dir": paths.runs_dir}
    OmegaConf.register_new_resolver("plurel", lambda name: str(folders[name]()), replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as dictionaries and lists, with references resolved."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into an InputError with one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from None


@contextmanager
def told_to_torchrun() -> Iterator[None]:
    """Leave the line of an error in the file that torchrun names for it, so that torchrun's own
    report, which comes after the line and is long, ends with it too."""
    try:
        yield
    except (InputError, RustlerError, OSError) as error:
        file = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if file is not None:
            line = f"error: {' '.join(str(error).split())}"
            content = {"message": line, "extraInfo": {"timestamp": str(int(time.time()))}}
            with suppress(OSError):  # the error itself may be a full disk
                Path(file).write_text(json.dumps({"message": content}))
        raise


@contextmanager
def no_empty_folder() -> Iterator[None]:
    """Hydra makes the run's folder before anything is checked: remove it if it stayed empty."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def explain(error: BaseException) -> str:
    """One line for an error of Hydra or OmegaConf."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        return unknown_key(str(error.missing_cfg_file).replace("/", "."), error.options)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} is missing: give {cause.full_key}=VALUE"
    parent = getattr(cause, "parent_node", None)
    key = getattr(cause, "full_key", None)
    if key and isinstance(parent, DictConfig) and cause is not error:
        known = [str(name) for name in parent if name != "hydra"]
        inside = [f"{group}.{key}" for group in known if _has(parent, group, key)]
        return (
            f"{key} is not known: did you mean {inside[0]}?" if inside else unknown_key(key, known)
        )
    if isinstance(error, OverrideParseException):
        return f"the override {error.override!r} is not of the form key=value"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def _has(parent: DictConfig, group: str, key: str) -> bool:
    # a value that is still to be given (???) cannot be looked at
    if OmegaConf.is_missing(parent, group):
        return False
    return isinstance(parent[group], DictConfig) and key in parent[group]
