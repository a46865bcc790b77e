"""The config of the generator: everything by names and numbers, checked when made.

A config goes to YAML and back unchanged. The groups of parameters are in `plurel.params`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import yaml

from plurel.choices import Choices, Number, OptionalPath, Rule
from plurel.errors import InputError
from plurel.nearest import did_you_mean
from plurel.params import LAYOUTS, DAGParams, DatabaseParams, SCMParams, SQLParams
from plurel.plain_yaml import load_yaml

__all__ = ["PRESETS", "Choices", "Config", "DAGParams", "DatabaseParams", "SCMParams", "SQLParams"]

_GROUPS = {
    "database_params": DatabaseParams,
    "scm_params": SCMParams,
    "dag_params": DAGParams,
    "sql_params": SQLParams,
}
_RULES: dict[str, Rule] = {
    "val_split": Number(0.0, 1.0),
    "test_split": Number(0.0, 1.0),
    "cache_dir": OptionalPath(),
    "schema_file": OptionalPath(),
}


@dataclass(frozen=True)
class Config:
    """Everything that decides a database beside its seed.

    val_split, test_split: where the validation and test timestamps stand in the time window.
    cache_dir: folder where `SyntheticDataset` keeps what it made. schema_file: CREATE TABLE
    statements that give the schema. sql_params: how they are read.
    """

    database_params: DatabaseParams = field(default_factory=DatabaseParams)
    scm_params: SCMParams = field(default_factory=SCMParams)
    dag_params: DAGParams = field(default_factory=DAGParams)
    val_split: float = 0.8
    test_split: float = 0.9
    cache_dir: str | None = None
    schema_file: str | None = None
    sql_params: SQLParams = field(default_factory=SQLParams)

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            object.__setattr__(self, name, rule(name, getattr(self, name)))
        for name, group in _GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise InputError(f"{name} must be a {group.__name__}")
        if not 0.0 < self.val_split < self.test_split < 1.0:
            raise InputError(
                "val_split and test_split need 0 < val_split < test_split < 1, "
                f"got {self.val_split} and {self.test_split}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = {
            name: {
                item.name: _plain(getattr(getattr(self, name), item.name)) for item in fields(group)
            }
            for name, group in _GROUPS.items()
        }
        return plain | {name: getattr(self, name) for name in _RULES}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """A config from (part of) what `to_dict` gives; what is absent keeps its default."""
        return cls().updated(plain)

    def updated(self, plain: Mapping[str, Any]) -> Self:
        """This config with the values of `plain`, a possibly partial `to_dict`."""
        _check_keys("config", plain, (*_GROUPS, *_RULES))
        changes: dict[str, Any] = {key: plain[key] for key in plain if key in _RULES}
        for name in _GROUPS:
            if name in plain:
                changes[name] = _updated_group(name, getattr(self, name), plain[name])
        return replace(self, **changes)

    def overridden(self, overrides: Sequence[str]) -> Self:
        """This config with overrides like "scm_params.mlp_emb_dim=16"; values are YAML."""
        config = self
        for override in overrides:
            key, equals, text = override.partition("=")
            if not equals:
                raise InputError(f"override {override!r} is not of the form key=value")
            config = config.updated(_nested(key.strip().split("."), _parse(text, override)))
        return config

    def to_yaml(self, path: str | Path) -> None:
        """Write the config to a YAML file."""
        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a YAML file; InputError names the file and what is wrong in it."""
        try:
            plain = load_yaml(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"config file {path} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"config file {path} can't be read: {error}") from None
        except yaml.YAMLError as error:
            raise InputError(f"config file {path} is not YAML: {_one_line(error)}") from None
        if not isinstance(plain, Mapping | None):
            raise InputError(f"config file {path} must hold a mapping of parameter groups")
        try:
            return cls.from_dict(plain or {})
        except InputError as error:
            raise InputError(f"config file {path}: {error}") from None

    @classmethod
    def preset(cls, name: str) -> Self:
        """A named config: one of `PRESETS`."""
        if name not in PRESETS:
            hint = did_you_mean(name, PRESETS)
            raise InputError(f"preset {name!r} is not one of {', '.join(PRESETS)}{hint}")
        return cls.from_dict(PRESETS[name])

    @classmethod
    def load(cls, name_or_path: str) -> Self:
        """A preset by name, or a config from a YAML file."""
        if name_or_path in PRESETS:
            return cls.preset(name_or_path)
        if Path(name_or_path).suffix in (".yaml", ".yml") or Path(name_or_path).exists():
            return cls.from_yaml(name_or_path)
        hint = did_you_mean(name_or_path, PRESETS)
        raise InputError(
            f"config {name_or_path!r} is neither a YAML file nor one of the presets "
            f"{', '.join(PRESETS)}{hint}"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _plain(value: Any) -> Any:
    """As YAML holds it; pairs, the frozen form of a mapping, become one again."""
    if isinstance(value, tuple):
        return dict(value)
    return value.to_dict() if isinstance(value, Choices) else value


def _check_keys(where: str, plain: Any, allowed: Sequence[str]) -> None:
    if not isinstance(plain, Mapping):
        raise InputError(f"{where} must be a mapping, got {plain!r}")
    for key in plain:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed) or f"; allowed: {', '.join(allowed)}"
            raise InputError(f"{where}: unknown key {str(key)!r}{hint}")


def _updated_group(name: str, group: Any, plain: Any) -> Any:
    """The group with new values; "x_choices.kind" alone changes one part of a Choices."""
    _check_keys(name, plain, [item.name for item in fields(group)])
    changes = {}
    for key, value in plain.items():
        old = getattr(group, key)
        if isinstance(old, Choices) and isinstance(value, Mapping):
            # a new kind or value starts from a uniform draw; a lone exponent keeps the rest
            keep = {} if "kind" in value and "value" in value else old.to_dict()
            value = keep | dict(value)
        changes[key] = value
    return replace(group, **changes)


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _parse(text: str, override: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"override {override!r}: not YAML: {_one_line(error)}") from None


def _one_of(*values: Any) -> dict[str, Any]:
    return {"kind": "set", "value": list(values)}


def _between(low: float, high: float, exponent: float = 0.0) -> dict[str, Any]:
    return {"kind": "range", "value": [low, high], "exponent": exponent}


_POPULARITY = {
    "popularity_choices": _between(0.0, 1.5),
    "popularity_share_choices": _between(0.0, 1.0),
}
# rows of one entity resemble each other as well, by what no column says, and there are many
_LIFELIKE_ROWS = {
    "num_rows_entity_table_choices": _between(30, 1000, 1.0),
    "num_rows_activity_table_choices": _between(1000, 10000, 1.0),
}
_TRAITS = {
    "trait_share_choices": _one_of(0.0, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    "trait_drift_choices": _between(0.0, 6.0),
}
_LAWS = {
    "rule_share_choices": _between(0.0, 0.6),
    "rule_exception_choices": _one_of(0.0, 0.0, 0.0, 0.02, 0.1, 0.3),
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # what the first release of PluRel drew from
    "paper": {
        "database_params": {"col_transform_choices": _one_of("identity")},
        "scm_params": {
            "scm_layout_choices": _one_of(*LAYOUTS[:5]),
            "activation_choices": _one_of("relu", "elu", "selu", "silu", "softsign", "tanh"),
            "mlp_num_layers_choices": _one_of(2),
            "mlp_weight_density_choices": _one_of(1.0),
            "source_gen_type_choices": _one_of("ts"),
            "ts_ar_rho_choices": _one_of(0.0),
            "ts_value_scale_choices": _one_of(1.0),
            "propagation_agg_choices": _one_of("sum"),
            "propagation_mode_choices": _one_of("type_eager"),
        },
        "dag_params": {"edge_weight_dist_choices": _one_of("gaussian")},
    },
    # not of the paper: rows differ in how often they are referenced, and their columns say so
    "eventful": {
        "scm_params": _POPULARITY,
    },
    "lifelike": {
        "database_params": _LIFELIKE_ROWS,
        "scm_params": _POPULARITY | _TRAITS,
    },
    # and many columns say again what others say
    "lawful": {
        "database_params": _LIFELIKE_ROWS,
        "scm_params": _POPULARITY | _TRAITS | _LAWS,
    },
    # small databases for a first run
    "demo": {
        "database_params": {
            "num_tables_choices": _between(3, 6),
            "num_rows_entity_table_choices": _between(100, 200),
            "num_rows_activity_table_choices": _between(400, 800),
            "num_cols_choices": _between(3, 12, 1.0),
        },
    },
}
