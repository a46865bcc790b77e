"""What a field of the config may hold: numbers, names, and distributions over them.

`Choices` is a distribution: a range or a set. A `Rule` belongs to a field; it says what the field
accepts and turns what a YAML file holds into the field's value, or refuses it by name.
"""

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from plurel.errors import InputError
from plurel.nearest import did_you_mean

KINDS = ("range", "set")
LARGEST_POWER_LAW = 10_000_000
"""A power law over integers adds up the chances of all of them."""


@dataclass(frozen=True)
class Choices:
    """A distribution over numbers or names.

    kind "range": value = (low, high); integers are drawn inclusively if both are integers, else
    floats. kind "set": one of the values, with equal chances. `exponent` a > 0 makes a range a
    power law: the chance (or density) of x is proportional to x**-a, so low must be positive.
    """

    kind: str
    value: tuple[Any, ...]
    exponent: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"choices: kind must be one of {list(KINDS)}, got {self.kind!r}")
        if isinstance(self.value, str) or not isinstance(self.value, Iterable):
            raise InputError(f"choices: value must be a list, got {self.value!r}")
        object.__setattr__(self, "value", tuple(self.value))
        object.__setattr__(self, "exponent", _number(self.exponent, "choices: exponent"))
        if self.kind == "range":
            self._check_range()
        elif not self.value:
            raise InputError("choices: a set needs at least one value")
        if self.exponent and (self.kind == "set" or self.exponent < 0 or self.value[0] <= 0):
            raise InputError("choices: exponent must be >= 0 and needs a range of positive numbers")

    def _check_range(self) -> None:
        if len(self.value) != 2:
            raise InputError(f"choices: a range is [low, high], got {list(self.value)}")
        low, high = (_number(value, "choices: a range's bound") for value in self.value)
        if low > high:
            raise InputError(f"choices: a range needs low <= high, got {list(self.value)}")
        if isinstance(low, float) or isinstance(high, float):
            low, high = float(low), float(high)
        elif self.exponent and high - low >= LARGEST_POWER_LAW:
            raise InputError(
                f"choices: an exponent over integers needs a range of fewer than "
                f"{LARGEST_POWER_LAW:,} numbers, got {list(self.value)}; leave it out or narrow it"
            )
        object.__setattr__(self, "value", (low, high))

    def sample(self, rng: np.random.Generator) -> Any:
        """One draw: int, float or one of the set's values."""
        if self.kind == "set":
            return self.value[int(rng.integers(len(self.value)))]
        low, high = self.value
        if isinstance(low, int):
            return self._sample_integer(low, high, rng)
        uniform = float(rng.random())
        if not self.exponent:
            return low + (high - low) * uniform
        return _power_law(low, high, self.exponent, uniform)

    def _sample_integer(self, low: int, high: int, rng: np.random.Generator) -> int:
        if not self.exponent:
            return int(rng.integers(low, high, endpoint=True))
        # shares of the lowest value's chance, which is 1 for any exponent
        ratios = np.arange(low, high + 1, dtype=np.float64) / low
        cumulative = np.cumsum(ratios**-self.exponent)
        at = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        return low + min(int(at), high - low)

    def to_dict(self) -> dict[str, Any]:
        """The plain form that YAML holds; the exponent only where it is not 0."""
        plain: dict[str, Any] = {"kind": self.kind, "value": list(self.value)}
        return plain | ({"exponent": self.exponent} if self.exponent else {})


def _power_law(low: float, high: float, exponent: float, uniform: float) -> float:
    """The inverse of the distribution function of a density x**-exponent on [low, high]."""
    if exponent == 1.0:
        return low * math.exp(uniform * math.log(high / low))
    power = 1.0 - exponent
    # of ratios to low, since powers of small numbers overflow
    return float(low * (1.0 + uniform * ((high / low) ** power - 1.0)) ** (1.0 / power))


def _number(value: Any, field: str) -> int | float:
    """A finite number; YAML reads 1e-3 as a string, so strings that are numbers count."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise InputError(f"{field} must be a number, got {value!r}") from None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise InputError(f"{field} must be a finite number, got {value!r:.40}")
    return value


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


@dataclass(frozen=True)
class Number:
    """Rule of a number in [low, high]."""

    low: float = -math.inf
    high: float = math.inf
    integer: bool = False

    def __call__(self, field: str, value: Any) -> int | float:
        """The value as int or float; raises InputError naming `field` and the bounds."""
        number = _number(value, field)
        if self.integer and number != int(number):
            raise InputError(f"{field} must be an integer, got {value!r}")
        if not self.low <= number <= self.high:
            bounds = f"at least {self.low:.10g}" + (
                f" and at most {self.high:.10g}" if math.isfinite(self.high) else ""
            )
            raise InputError(f"{field} must be {bounds}, got {value!r}")
        return int(number) if self.integer else float(number)


@dataclass(frozen=True)
class Named:
    """Rule of a name out of a list."""

    names: tuple[str, ...]

    def __call__(self, field: str, value: Any) -> str:
        """The name; raises InputError naming `field`, the allowed names and the nearest one."""
        if value not in self.names:
            hint = did_you_mean(value, self.names) if isinstance(value, str) else ""
            raise InputError(f"{field}: {value!r} is not one of {', '.join(self.names)}{hint}")
        return str(value)


@dataclass(frozen=True)
class Drawn:
    """Rule of a `Choices` whose values all obey `each`."""

    each: Number | Named

    def __call__(self, field: str, value: Any) -> Choices:
        """The Choices: itself, from a mapping, from a list (a set) or one value (a set of one)."""
        if isinstance(value, dict):
            value = choices_from_dict(field, value)
        elif not isinstance(value, Choices):
            several = isinstance(value, list | tuple)
            value = choices_from_dict(
                field, {"kind": "set", "value": value if several else [value]}
            )
        if value.kind == "range" and isinstance(self.each, Named):
            raise InputError(f"{field}: names need kind 'set', not 'range'")
        checked = tuple(self.each(field, item) for item in value.value)
        return Choices(value.kind, checked, value.exponent)


def choices_from_dict(field: str, plain: dict[str, Any]) -> Choices:
    """Choices from {"kind", "value", "exponent"?}; InputError names the field."""
    allowed = ("kind", "value", "exponent")
    for key in plain:
        if key not in allowed:
            raise InputError(f"{field}: unknown key {key!r}, allowed: {', '.join(allowed)}")
    if "kind" not in plain or "value" not in plain:
        raise InputError(f"{field}: needs the keys kind and value")
    try:
        return Choices(**plain)
    except InputError as error:
        raise InputError(f"{field}: {error}") from None


@dataclass(frozen=True)
class Date:
    """Rule of a date or timestamp, kept as ISO text."""

    def __call__(self, field: str, value: Any) -> str:
        """ISO 8601 text without a zone; raises InputError naming `field`."""
        try:
            moment = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            raise InputError(f"{field} must be a date like 1990-01-01, got {value!r}") from None
        if moment.tzinfo is not None:
            raise InputError(f"{field} must have no time zone, got {value!r}")
        midnight = moment.time() == datetime.time()
        return moment.date().isoformat() if midnight else moment.isoformat(sep=" ")


@dataclass(frozen=True)
class OptionalPath:
    """Rule of a path or nothing, kept as text."""

    def __call__(self, field: str, value: Any) -> str | None:
        """The path as text, or None; raises InputError naming `field`."""
        if value is None:
            return None
        text = str(value)
        if not text or isinstance(value, bool | int | float | list | dict):
            raise InputError(f"{field} must be a path or null, got {value!r}")
        return text


@dataclass(frozen=True)
class OptionalNamed:
    """Rule of a name out of a list, or nothing."""

    names: tuple[str, ...]

    def __call__(self, field: str, value: Any) -> str | None:
        """The name or None; raises InputError like `Named`."""
        return None if value is None else Named(self.names)(field, value)


@dataclass(frozen=True)
class Flag:
    """Rule of yes or no."""

    def __call__(self, field: str, value: Any) -> bool:
        """The boolean; raises InputError naming `field`."""
        if not isinstance(value, bool):
            raise InputError(f"{field} must be true or false, got {value!r}")
        return value


@dataclass(frozen=True)
class PerTable:
    """Rule of a mapping from names of tables to what `each` accepts, kept as sorted pairs."""

    each: "Number | Text"

    def __call__(self, field: str, value: Any) -> tuple[tuple[str, Any], ...]:
        """The pairs; raises InputError naming `field` and the table."""
        if isinstance(value, tuple) and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            value = dict(value)
        if not isinstance(value, dict):
            raise InputError(f"{field} must map names of tables to values, got {value!r}")
        pairs = {str(table): self.each(f"{field}.{table}", item) for table, item in value.items()}
        return tuple(sorted(pairs.items()))


@dataclass(frozen=True)
class Text:
    """Rule of a text that isn't empty."""

    def __call__(self, field: str, value: Any) -> str:
        """The text; raises InputError naming `field`."""
        if not isinstance(value, str) or not value:
            raise InputError(f"{field} must be a name, got {value!r}")
        return value


Rule = Number | Named | Drawn | Date | OptionalPath | OptionalNamed | Flag | PerTable
