"""From plain dictionaries (of YAML or Hydra) to dataclasses, with errors that people can act on.

Each component owns its config as a frozen dataclass; `from_dict` builds it and refuses unknown
keys, missing keys and wrong types in one line that names the key and the nearest right name.
"""

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from plurel.errors import InputError
from plurel.nearest import nearest

T = TypeVar("T")

_NAMES: dict[type, str] = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def from_dict(cls: type[T], values: Mapping[str, Any], name: str = "") -> T:
    """An instance of the dataclass `cls` from `values`; `name`: their key in the whole config.

    Fields may be int, float, bool, str, X | None, Literal, tuples of these, dataclasses, and dicts
    of dataclasses by name; a whole float is accepted as an integer (1e6), an integer as a float, a
    list as a tuple, a number or text as a tuple of one. A dataclass in a dict may have a class
    method `preset`, which gives the fields that its name stands for.
    Raises InputError.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{name or 'the config'} must be a group of keys, not {values!r}")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    for key in values:
        if key not in known:
            raise InputError(unknown_key(_join(name, str(key)), known))
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{_join(name, key)} is missing: give it a value")
    return cls(**{str(k): _convert(hints[k], v, _join(name, k)) for k, v in values.items()})


def to_dict(config: Any) -> dict[str, Any]:
    """The reverse of `from_dict`: plain values, tuples as lists."""
    return {key: _plain(value) for key, value in asdict(config).items()}


def unknown_key(name: str, known: Iterable[str]) -> str:
    """One line for the unknown dotted key `name` where only `known` exist at its level."""
    group, _, key = name.rpartition(".")
    names = sorted(map(str, known))
    near = nearest(key, names)
    if near is not None:
        return f"{name} is not known: did you mean {_join(group, near)}?"
    return f"{name} is not known: choose one of {', '.join(names)}"


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _convert(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, name)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _optional(hint, value, name)
    if origin is Literal:
        if value not in get_args(hint):
            raise InputError(f"{name} must be one of {_words(get_args(hint))}, not {value!r}")
        return value
    if origin is tuple:
        return _tuple(hint, value, name)
    if origin is dict:
        return _named(get_args(hint)[1], value, name)
    return _scalar(hint, value, name)


def _optional(hint: Any, value: Any, name: str) -> Any:
    if value is None:
        return None
    (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
    return _convert(inner, value, name)


def _named(cls: type[T], values: Any, name: str) -> dict[str, T]:
    if not isinstance(values, Mapping) or not values:
        raise InputError(f"{name} must be a group of named entries, not {values!r}")
    named = {}
    preset_of: Callable[[str], dict[str, Any]] = getattr(cls, "preset", lambda key: {})
    for key, value in values.items():
        preset = preset_of(str(key))
        if not isinstance(value or {}, Mapping):
            raise InputError(f"{_join(name, str(key))} must be a group of keys, not {value!r}")
        named[str(key)] = from_dict(cls, preset | dict(value or {}), _join(name, str(key)))
    return named


def _tuple(hint: Any, value: Any, name: str) -> tuple[Any, ...]:
    if get_args(hint)[-1] is Ellipsis and isinstance(value, int | float | str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} must be a list, not {value!r}")
    items, args = list(value), get_args(hint)
    if args[-1] is Ellipsis:
        args = args[:1] * len(items)
    if len(args) != len(items):
        raise InputError(f"{name} must be a list of {len(args)} values, not {items!r}")
    return tuple(
        _convert(a, v, f"{name}[{i}]") for i, (a, v) in enumerate(zip(args, items, strict=True))
    )


def _scalar(hint: type, value: Any, name: str) -> Any:
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{name} must be {_NAMES.get(hint, hint.__name__)}, not {value!r}")
    return value


def _words(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)


def require(condition: bool, name: str, need: str, value: Any) -> None:
    """Raise InputError "<name> must be <need>, not <value>" unless the condition holds."""
    if not condition:
        raise InputError(f"{name} must be {need}, not {value!r}")
