"""The parameter groups of the config: the design space of the generator.

Field names, defaults and names of choices follow PluRel (arXiv 2602.04029); own additions are
fields with defaults that keep its behaviour: DAGParams.ws_k_choices and all of SQLParams.
"""
# ruff: noqa: RUF009  (the calls below make dataclass fields, not shared values)

import math
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, ClassVar

import rustler
from plurel.choices import (
    Choices,
    Date,
    Drawn,
    Flag,
    Named,
    Number,
    OptionalNamed,
    PerTable,
    Rule,
    Text,
)
from plurel.errors import InputError

LAYOUTS = (
    "ErdosRenyi",
    "BarabasiAlbert",
    "RandomTree",
    "ReverseRandomTree",
    "Layered",
    "WattsStrogatz",
    "RandomCauchy",
)
TABLE_LAYOUTS = ("BarabasiAlbert", "ReverseRandomTree", "WattsStrogatz")
EDGE_WEIGHTS = ("gaussian", "lognormal", "cauchy", "uniform")
COLUMN_KINDS = ("numerical", "categorical")
SOURCES = ("ts", "uniform", "gaussian", "beta", "mixed")
INITIALIZERS = tuple(rustler.INITIALIZERS)
ACTIVATIONS = tuple(rustler.ACTIVATIONS)
AGGREGATIONS = tuple(rustler.AGGREGATIONS)
MODES = ("type_eager", "type_lazy")
DIALECTS = ("postgres", "mysql", "sqlite")
TRANSFORMS = ("identity", "rank_uniform", "log", "sqrt", "standardize")

MOST = 2**31 - 1
"""Of rows, and of what no other limit holds for."""
MOST_IN_GRAPH = 10_000
"""Tables of a database and columns of a table: a layout looks at all pairs."""
LARGEST = 1e18
"""Of the scales of sources: squares stay finite in float32."""
MOST_CLUSTERS = 4096
"""Base clusters of a side of a foreign key: their matrix is held."""


def _ruled(default: Any, rule: Rule) -> Any:
    return field(default=default, metadata={"rule": rule})


def _names(allowed: tuple[str, ...], default: tuple[str, ...] | None = None) -> Any:
    return _ruled(Choices("set", default or allowed), Drawn(Named(allowed)))


def _integers(low: int, high: int, at_least: int, at_most: int, exponent: float = 0.0) -> Any:
    rule = Drawn(Number(at_least, at_most, integer=True))
    return _ruled(Choices("range", (low, high), exponent), rule)


def _floats(low: float, high: float, at_least: float, at_most: float) -> Any:
    return _ruled(Choices("range", (low, high)), Drawn(Number(low=at_least, high=at_most)))


def _scales(*values: float, at_least: float = -LARGEST) -> Any:
    return _ruled(Choices("set", values), Drawn(Number(at_least, LARGEST)))


class _Group:
    """A group of parameters: each field has a rule, applied when the group is made. KEY: its name
    in a config."""

    KEY: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            name = f"{self.KEY}.{item.name}"
            checked = item.metadata["rule"](name, getattr(self, item.name))
            object.__setattr__(self, item.name, checked)


@dataclass(frozen=True)
class DatabaseParams(_Group):
    """Tables, rows, columns, dates, and what happens to columns after the features are drawn.

    column_nan_perc_choices: share of a numeric column's cells that go missing, drawn per table.
    """

    KEY = "database_params"

    table_layout_choices: Choices = _names(LAYOUTS, TABLE_LAYOUTS)
    num_tables_choices: Choices = _integers(3, 20, 1, MOST_IN_GRAPH)
    num_rows_entity_table_choices: Choices = _integers(500, 1000, 1, MOST)
    num_rows_activity_table_choices: Choices = _integers(2000, 5000, 1, MOST)
    num_cols_choices: Choices = _integers(3, 40, 1, MOST_IN_GRAPH, exponent=1.0)
    min_timestamp: str = _ruled("1990-01-01", Date())
    max_timestamp: str = _ruled("2025-01-01", Date())
    column_nan_perc_choices: Choices = _floats(0.01, 0.1, 0.0, 1.0)
    col_transform_choices: Choices = _names(TRANSFORMS)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = map(datetime.fromisoformat, (self.min_timestamp, self.max_timestamp))
        if high - low < timedelta(days=2):
            raise InputError(
                "database_params.min_timestamp must be at least two days before max_timestamp, "
                f"got {self.min_timestamp} and {self.max_timestamp}"
            )


@dataclass(frozen=True)
class SCMParams(_Group):
    """One table's structural causal model, and the links between tables.

    mlp_in_dim, mlp_out_dim: width of a number where it enters an encoder and leaves a decoder.
    mlp_emb_dim: width of embeddings and hidden layers. propagate_batch_size: accepted as published
    and without effect: rows go through in blocks of a fixed size, because another size would
    change the last bits of the values.
    popularity_choices: spread of the log weights by which the rows of one cluster are referenced,
    drawn per foreign key; 0, as published, weighs all alike. popularity_share_choices: the share of
    that spread which the referenced row's own columns decide. Neither has an effect on tables of a
    schema file. (`plurel.popularity`; not of the paper.)
    trait_share_choices: the share of a column's variance that a hidden trait of a referenced row
    decides, drawn per column; 0, as published, none. trait_drift_choices: the angle by which the
    traits of a foreign key's rows turn from the first to the last time. (`plurel.traits`; not of
    the paper.)
    rule_share_choices: the share of a table's columns that a few cells decide, drawn per table; 0,
    as published, none. rule_exception_choices: the share of rows in which they don't, drawn per
    column. (`plurel.rules`; not of the paper.)
    """

    KEY = "scm_params"

    scm_layout_choices: Choices = _names(LAYOUTS)
    scm_col_node_perc_choices: Choices = _floats(0.3, 0.9, 0.01, 1.0)
    num_categories_choices: Choices = _integers(2, 10, 2, rustler.MAX_CATEGORIES)
    col_stype_choices: Choices = _names(COLUMN_KINDS)
    initialization_choices: Choices = _names(INITIALIZERS)
    activation_choices: Choices = _names(ACTIVATIONS)
    node_noise_alpha_choices: Choices = _floats(0.5, 5.0, 1e-3, 1e6)
    node_noise_beta_choices: Choices = _floats(0.5, 5.0, 1e-3, 1e6)
    bi_hsbm_levels_choices: Choices = _integers(1, 5, 1, MOST_CLUSTERS)
    bi_hsbm_clusters_per_level_choices: Choices = _integers(1, 3, 1, MOST_CLUSTERS)
    popularity_choices: Choices = _floats(0.0, 0.0, 0.0, 4.0)
    popularity_share_choices: Choices = _floats(0.0, 0.0, 0.0, 1.0)
    trait_share_choices: Choices = _floats(0.0, 0.0, 0.0, 1.0)
    trait_drift_choices: Choices = _floats(0.0, 0.0, 0.0, 100.0)
    rule_share_choices: Choices = _floats(0.0, 0.0, 0.0, 1.0)
    rule_exception_choices: Choices = _floats(0.0, 0.0, 0.0, 1.0)
    ts_trend_alpha_choices: Choices = _floats(0.0, 2.0, 0.0, 1e6)
    activity_table_ts_trend_scale_choices: Choices = _scales(-1.0, 1.0)
    entity_table_ts_trend_scale: float = _ruled(0.0, Number(-LARGEST, LARGEST))
    ts_cycle_freq_perc_choices: Choices = _ruled(
        Choices("set", tuple(step / 10 for step in range(1, 11))), Drawn(Number(1e-6, 1e6))
    )
    activity_table_ts_cycle_scale_choices: Choices = _scales(-1.0, 1.0)
    entity_table_ts_cycle_scale: float = _ruled(0.0, Number(-LARGEST, LARGEST))
    activity_table_ts_noise_scale: float = _ruled(0.05, Number(0.0, LARGEST))
    entity_table_ts_noise_scale: float = _ruled(1.0, Number(0.0, LARGEST))
    ts_ar_rho_choices: Choices = _floats(0.0, 0.9, -0.999, 0.999)
    ts_value_scale_choices: Choices = _scales(0.01, 0.1, 1.0, 10.0, 100.0, at_least=0.0)
    propagation_agg_choices: Choices = _names(AGGREGATIONS)
    mlp_in_dim: int = _ruled(1, Number(1, 1, integer=True))
    mlp_out_dim: int = _ruled(1, Number(1, 1, integer=True))
    mlp_emb_dim: int = _ruled(32, Number(1, rustler.MAX_DIM, integer=True))
    mlp_num_layers_choices: Choices = _integers(2, 4, 1, 64)
    mlp_weight_density_choices: Choices = _floats(0.3, 1.0, 0.01, 1.0)
    source_gen_type_choices: Choices = _names(SOURCES)
    source_beta_alpha_choices: Choices = _floats(0.5, 5.0, 1e-3, 1e6)
    source_beta_beta_choices: Choices = _floats(0.5, 5.0, 1e-3, 1e6)
    propagation_mode_choices: Choices = _names(MODES)
    cat_label_permute_prob_choices: Choices = _floats(0.3, 1.0, 0.0, 1.0)
    cat_label_reverse_prob_choices: Choices = _floats(0.2, 0.8, 0.0, 1.0)
    propagate_batch_size: int = _ruled(4096, Number(1, MOST, integer=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = max(self.bi_hsbm_levels_choices.value)
        clusters = max(self.bi_hsbm_clusters_per_level_choices.value)
        if levels * math.log(clusters) > math.log(MOST_CLUSTERS) + 1e-9:
            raise InputError(
                "scm_params.bi_hsbm_levels_choices and bi_hsbm_clusters_per_level_choices allow "
                f"{clusters}^{levels} clusters of rows, at most {MOST_CLUSTERS} can be drawn"
            )


@dataclass(frozen=True)
class DAGParams(_Group):
    """The random DAGs of tables and of columns (`plurel.layouts`)."""

    KEY = "dag_params"

    ba_sink_edge_dropout: float = _ruled(0.4, Number(0.0, 1.0))
    ba_flip_leaf_edge_prob: float = _ruled(0.0, Number(0.0, 1.0))
    ba_max_in_degree: int = _ruled(4, Number(1, MOST, integer=True))
    ba_m: int = _ruled(2, Number(1, MOST, integer=True))
    er_p_choices: Choices = _floats(0.3, 0.8, 0.0, 1.0)
    ws_k_choices: Choices = _ruled(Choices("set", (2, 4)), Drawn(Number(2, MOST, integer=True)))
    ws_rewire_p_choices: Choices = _floats(0.1, 0.3, 0.0, 1.0)
    layered_depth_choices: Choices = _integers(2, 8, 1, MOST)
    layered_edge_dropout_p: float = _ruled(0.1, Number(0.0, 1.0))
    edge_weight_dist_choices: Choices = _names(EDGE_WEIGHTS)


@dataclass(frozen=True)
class SQLParams(_Group):
    """How a schema file is read; without one nothing here has an effect.

    dialect: of the statements, None to tell it from the file. strict: refuse what is not
    understood, or leave it out where the rest makes sense without it. num_rows: rows by table; the
    others draw theirs from DatabaseParams. time_columns: by table the column that is the time of
    its rows, beside those that are found (`docs/sql_schemas.md`). null_key_choices: share of a
    nullable foreign key's rows that reference nothing, drawn per key.
    """

    KEY = "sql_params"

    dialect: str | None = _ruled(None, OptionalNamed(DIALECTS))
    strict: bool = _ruled(True, Flag())
    num_rows: tuple[tuple[str, int], ...] = _ruled((), PerTable(Number(1, MOST, integer=True)))
    time_columns: tuple[tuple[str, str], ...] = _ruled((), PerTable(Text()))
    null_key_choices: Choices = _floats(0.05, 0.3, 0.0, 1.0)
