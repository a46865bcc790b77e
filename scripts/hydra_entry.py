"""What the scripts with a Hydra config share: plain values, paths, errors in one line; and what the
scripts that train share."""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from plurel import paths
from plurel.cli import clean_exit
from plurel.errors import InputError
from rt.config import unknown_key
from rt.train import read_config, run
from rt.train_config import TrainConfig
from rustler import RustlerError


def register() -> None:
    """Let configs name the folders of `plurel.paths` (${plurel:runs_dir}) and give one value for
    runs on synthetic databases and another for those on real ones (${by_data:1024,null}), and have
    Hydra raise its errors instead of printing them."""
    folders = {"raw_dir": paths.raw_dir, "pre_dir": paths.pre_dir, "runs_dir": paths.runs_dir}
    OmegaConf.register_new_resolver("plurel", lambda name: str(folders[name]()), replace=True)
    OmegaConf.register_new_resolver("by_data", _by_data, replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"


def _by_data(synthetic: Any, real: Any, *, _root_: DictConfig) -> Any:
    return synthetic if _root_.regime == "synthetic" else real


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as dictionaries and lists, with references resolved."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def start(main: Callable[[], None]) -> None:
    """The main function of a script that trains, on the command line of this process."""
    register()
    with clean_exit(), told_to_torchrun(), one_line_errors():
        if {"--multirun", "-m"} & set(sys.argv):
            sys.argv.append(f"{_FIXED}=[{','.join(fixed_keys(sys.argv[1:]))}]")
        main()


def train(config: DictConfig) -> None:
    """One run, as a script that trains composed it; with --multirun one of several, of which none
    follows where it was told to stop."""
    # here too: an exit passes Hydra in silence, an error would get a line of Hydra's own
    with clean_exit(), told_to_torchrun(), one_line_errors(), no_empty_folder():
        hydra = HydraConfig.get()
        overrides, varied = hydra.overrides.task, None
        if hydra.mode == RunMode.MULTIRUN:
            fixed = hydra.job.config.override_dirname.exclude_keys
            varied = [override for override in overrides if _key(override) not in fixed]
        stop: list[str] = []
        run(training_config(plain(config), overrides, varied), stop)
        if stop and varied is not None:
            sys.exit(0)  # or Hydra would go on with the next run


def training_config(
    values: dict[str, Any], overrides: Sequence[str], varied: Sequence[str] | None = None
) -> TrainConfig:
    """The config of composed values, with the budget that the overrides of the command line give.
    varied: those in which one of several runs differs from the others, which name its folder below
    trainer.run_dir; None for a single run."""
    trainer = one_budget(values["trainer"], overrides)
    if varied is not None:
        trainer["run_dir"] = str(Path(trainer["run_dir"]) / sweep_name(varied))
    rest = {key: value for key, value in values.items() if key != "task"}  # data.task has it
    return read_config({**rest, "trainer": trainer})


def one_budget(trainer: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The group without that one of steps and token_budget which only a file gives where the
    command line gives the other."""
    given = {_key(override) for override in overrides}
    kept = dict(trainer)
    for name, other in (("steps", "token_budget"), ("token_budget", "steps")):
        if f"trainer.{name}" in given and f"trainer.{other}" not in given:
            kept[other] = None
    return kept


def fixed_keys(arguments: Sequence[str]) -> list[str]:
    """The keys that a command line of Hydra gives one value, in all runs of a sweep."""
    overrides = [word for word in arguments if "=" in word and not word.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    return sorted(
        {override.key_or_group for override in parsed if not override.is_sweep_override()}
    )


def sweep_name(varied: Sequence[str]) -> str:
    """The name of a run's folder: the overrides in which it differs from others."""
    values = {_key(override): override.split("=", 1)[-1] for override in varied}
    # Hydra writes 1e6 as 1000000.0
    values = {key: re.sub(r"(?<=\d)\.0$", "", value) for key, value in values.items()}
    last = [key.rpartition(".")[2] for key in values]
    parts = [
        f"{short if last.count(short) == 1 else key}={value}"
        for short, (key, value) in sorted(zip(last, values.items(), strict=True))
    ]
    name = ",".join(parts).replace("/", "_").replace(" ", "") or "run"
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~").split("@")[0]


_FIXED = "hydra.job.config.override_dirname.exclude_keys"
_LONGEST_NAME = 160


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
    if isinstance(cause, InterpolationToMissingValueError):
        missing = str(cause).splitlines()[0].rpartition(": ")[2]
        return f"{missing} is missing: give {missing}=VALUE"
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} is missing: give {cause.full_key}=VALUE"
    if isinstance(cause, InterpolationKeyError):
        return " ".join(str(cause).splitlines()[0].split()) + f" (in {cause.full_key})"
    parent = getattr(cause, "parent_node", None)
    key = getattr(cause, "full_key", None)
    if key and isinstance(parent, DictConfig) and cause is not error:
        known = [str(name) for name in parent if name != "hydra"]
        inside = [f"{group}.{key}" for group in known if _has(parent, group, key)]
        return (
            f"{key} is not known: did you mean {inside[0]}?" if inside else unknown_key(key, known)
        )
    if isinstance(error, OverrideParseException):
        return (
            f"the override {error.override!r} is not of the form key=value; a value with '=' or a "
            "list of such values needs quotes: key=['a=1','b=2']"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def _has(parent: DictConfig, group: str, key: str) -> bool:
    # a value that is still to be given (???) cannot be looked at
    if OmegaConf.is_missing(parent, group):
        return False
    return isinstance(parent[group], DictConfig) and key in parent[group]
