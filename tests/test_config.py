"""The config: published names and defaults, YAML both ways, refusals, and what choices draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plurel.config import PRESETS, Choices, Config, DAGParams, DatabaseParams, SCMParams
from plurel.errors import InputError
from plurel.rng import stream


def test_defaults_are_the_published_ones() -> None:
    config = Config()
    assert (config.val_split, config.test_split) == (0.8, 0.9)
    assert config.database_params.num_tables_choices == Choices("range", (3, 20))
    assert config.database_params.num_cols_choices == Choices("range", (3, 40), 1.0)
    assert config.scm_params.bi_hsbm_levels_choices == Choices("range", (1, 5))
    assert len(config.scm_params.activation_choices.value) == 29
    assert len(config.scm_params.scm_layout_choices.value) == 7
    assert config.dag_params.ba_sink_edge_dropout == 0.4


@pytest.mark.parametrize("preset", PRESETS)
def test_yaml_both_ways(preset: str, tmp_path: Path) -> None:
    config = Config.preset(preset)
    config.to_yaml(tmp_path / "a.yaml")
    again = Config.from_yaml(tmp_path / "a.yaml")
    assert again == config
    again.to_yaml(tmp_path / "b.yaml")
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
    assert Config.load(str(tmp_path / "a.yaml")) == Config.load(preset)


def test_presets_differ_where_they_should() -> None:
    paper = Config.preset("paper").scm_params
    assert paper.propagation_agg_choices.value == ("sum",)
    assert paper.activation_choices.value == ("relu", "elu", "selu", "silu", "softsign", "tanh")
    assert paper.mlp_num_layers_choices.value == (2,)
    assert "Layered" in paper.scm_layout_choices.value
    assert "WattsStrogatz" not in paper.scm_layout_choices.value


def test_overrides() -> None:
    config = Config().overridden(
        [
            "scm_params.mlp_emb_dim=16",
            "database_params.num_tables_choices=4",
            "database_params.num_cols_choices.value=[2, 9]",
            "scm_params.propagation_mode_choices=[type_lazy]",
            "scm_params.entity_table_ts_trend_scale=1e-3",
        ]
    )
    assert config.scm_params.mlp_emb_dim == 16
    assert config.database_params.num_tables_choices == Choices("set", (4,))
    assert config.database_params.num_cols_choices == Choices("range", (2, 9), 1.0)
    assert config.scm_params.propagation_mode_choices.value == ("type_lazy",)
    assert config.scm_params.entity_table_ts_trend_scale == 0.001


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scm_params.mlp_emb=1", "unknown key 'mlp_emb'; did you mean 'mlp_emb_dim'"),
        ("scm_parms.mlp_emb_dim=1", "did you mean 'scm_params'"),
        ("scm_params.mlp_emb_dim=two", r"scm_params\.mlp_emb_dim must be a number, got 'two'"),
        ("scm_params.mlp_emb_dim=1.5", "must be an integer"),
        ("scm_params.mlp_weight_density_choices=1.5", "at least 0.01 and at most 1"),
        ("scm_params.activation_choices=relo", "did you mean 'relu'"),
        ("scm_params.activation_choices=[relu, 3]", "3 is not one of relu, elu"),
        ("scm_params.activation_choices={kind: range, value: [1, 2]}", "need kind 'set'"),
        ("database_params.num_tables_choices={kind: range, value: [5, 3]}", "low <= high"),
        ("database_params.num_tables_choices={kind: rang, value: [3, 5]}", "kind must be one of"),
        ("database_params.num_tables_choices={kind: set, valu: [3]}", "unknown key 'valu'"),
        ("database_params.num_tables_choices={kind: set, value: []}", "at least one value"),
        ("database_params.num_tables_choices=0", "at least 1"),
        ("database_params.num_tables_choices=[]", "num_tables_choices: choices: a set needs"),
        (f"database_params.num_tables_choices={10**400}", "num_tables_choices must be a finite"),
        (f"database_params.num_cols_choices.value=[1, {10**400}]", "num_cols_choices: .* finite"),
        (f"scm_params.mlp_emb_dim={10**30}", "mlp_emb_dim must be at least 1 and at most 4096"),
        ("scm_params.mlp_num_layers_choices=300", "mlp_num_layers_choices must be .* at most 64"),
        ("scm_params.num_categories_choices=65537", "num_categories_choices must be .* 65536"),
        ("scm_params.ts_value_scale_choices=-1", "ts_value_scale_choices must be at least 0"),
        ("scm_params.ts_value_scale_choices=1e300", "ts_value_scale_choices must .* at most 1e"),
        ("scm_params.bi_hsbm_levels_choices=12", "clusters_per_level_choices allow 3.12 clusters"),
        ("database_params.num_tables_choices=.nan", "finite number"),
        ("database_params.min_timestamp=2030-01-01", "before max_timestamp"),
        ("database_params.min_timestamp=yesterday", "must be a date like"),
        ("database_params.max_timestamp=2024-13-01", "max_timestamp must .* '2024-13-01'"),
        ("val_split=0.95", "val_split < test_split"),
        ("val_split", "not of the form key=value"),
        ("val_split=[", "not YAML"),
        ("scm_params=3", "scm_params must be a mapping"),
    ],
)
def test_refusals_name_the_field(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Config().overridden([override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- 3", "must hold a mapping"),
        ("dag_param: {}", "dag_params"),
        ("database_params:\n  max_timestamp: 2025-13-01", r"_params\.max_timestamp must be a date"),
        (
            "val_split: 0.7\ntest_split: 0.8\nval_split: 0.6",
            "'val_split' stands there twice.*line 3",
        ),
    ],
)
def test_bad_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"bad.yaml.*{message}") as caught:
        Config.from_yaml(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_presets_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.yaml does not exist"):
        Config.load(str(tmp_path / "no.yaml"))
    with pytest.raises(InputError, match="did you mean 'paper'"):
        Config.load("papr")


def test_groups_check_when_made() -> None:
    with pytest.raises(InputError, match=r"database_params\.num_tables_choices"):
        DatabaseParams(num_tables_choices=Choices("range", (0, 3)))
    assert SCMParams(ts_ar_rho_choices=Choices("range", (0, 0.5))).ts_ar_rho_choices.value == (
        0,
        0.5,
    )
    with pytest.raises(InputError, match="edge_weight_dist_choices"):
        DAGParams(edge_weight_dist_choices=Choices("set", ("normal",)))


def test_integer_ranges_include_both_ends_and_are_uniform() -> None:
    rng = stream(0, "uniform")
    counts = np.bincount([Choices("range", (3, 7)).sample(rng) for _ in range(20_000)])[3:]
    assert len(counts) == 5
    # 4 degrees of freedom: 18.5 is the 99.9 % point; a 5 % error of one value gives about 10 more
    assert ((counts - 4000) ** 2 / 4000).sum() < 18.5


def test_power_law_of_integers() -> None:
    choices, rng = Choices("range", (3, 40), 1.0), stream(1, "power")
    counts = np.bincount([choices.sample(rng) for _ in range(40_000)], minlength=41)[3:]
    weight = 1.0 / np.arange(3, 41)
    expected = 40_000 * weight / weight.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 69.3  # 99.9 % point of chi2(37)


def test_power_law_of_floats() -> None:
    rng = stream(2, "power")
    for exponent in (1.0, 2.0):
        draws = np.array(
            [Choices("range", (1.0, 8.0), exponent).sample(rng) for _ in range(20_000)]
        )
        below = np.log(2) / np.log(8) if exponent == 1.0 else (1 - 1 / 2) / (1 - 1 / 8)
        assert 1.0 <= draws.min() < 1.01
        assert draws.max() <= 8.0
        assert abs((draws < 2.0).mean() - below) < 4 * np.sqrt(below * (1 - below) / 20_000)


def test_power_law_needs_positive_numbers() -> None:
    with pytest.raises(InputError, match="exponent"):
        Choices("range", (0, 4), 1.0)
    with pytest.raises(InputError, match="exponent"):
        Choices("set", ("a",), 1.0)


def test_a_power_law_over_too_many_integers_is_refused() -> None:
    assert 1 <= Choices("range", (1, 5000), 1.0).sample(stream(0)) <= 5000
    with pytest.raises(InputError, match="fewer than 10,000,000 numbers"):
        Choices("range", (1, 2**31 - 1), 1.0)


def test_streams_depend_on_seed_and_names_alone() -> None:
    first = stream(7, "table", 3).random(4)
    stream(7, "table", 4).random(100)
    assert np.array_equal(first, stream(7, "table", 3).random(4))
    others: list[tuple[Any, ...]] = [
        (8, "table", 3),
        (7, "table", 4),
        (7, "tabl", "e3"),
        (7, "table", "3"),
        (7, "table"),
    ]
    assert all(not np.array_equal(first, stream(*path).random(4)) for path in others)
    # drawn values are pinned exactly: this is the published algorithm of the streams
    assert stream(0, "a", 1).integers(1 << 32, size=2).tolist() == PINNED
    with pytest.raises(TypeError, match="strings and integers"):
        stream(0, 1.5)  # type: ignore[arg-type]


PINNED = [449408454, 2179224134]


@pytest.mark.parametrize("exponent", [3.0, 1000.0])
def test_steep_power_laws_stay_at_the_low_end(exponent: float) -> None:
    integers = Choices("range", (3, 40), exponent)
    floats = Choices("range", (1e-6, 1.0), exponent)
    rng = stream(0, "steep")
    # integers: P(3) is 0.62 for exponent 3; floats: P(x < 1e-5) is 0.99
    assert sum(integers.sample(rng) == 3 for _ in range(200)) > 90
    assert sum(1e-6 <= floats.sample(rng) < 1e-5 for _ in range(200)) > 180
