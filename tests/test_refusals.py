"""Arguments of the binding and of SyntheticDataset that can't be right: one error, no panic, and no
request for memory that would end the process."""

from typing import Any

import numpy as np
import pytest

import rustler
from plurel import Config, SyntheticDataset
from plurel.errors import InputError
from plurel.params import SCMParams
from plurel.scm import beta_quantiles

ROWS = np.linspace(0.0, 1.0, 65, dtype=np.float32)


def described() -> dict[str, Any]:
    """Two sources, and a node that a decoder of numbers makes of them."""
    return {
        "decodes": np.array([True, False, False]),
        "categories": np.array([0, 0, 3], np.uint32),
        "weight": np.ones(3, np.float32),
        "depth": np.full(3, 2, np.uint8),
        "embedding": np.zeros(3, np.uint8),
        "initializer": np.zeros(6, np.uint8),
        "density": np.ones(6, np.float32),
        "activation": np.zeros(6, np.uint8),
        "scale": np.ones(6, np.float32),
        "aggregation": np.zeros(3, np.uint8),
        "decoder": np.array([-1, -1, 0]),
        "noise_alpha": np.ones(3, np.float32),
        "noise_beta": np.ones(3, np.float32),
        "parent_ptr": np.array([0, 0, 0, 2]),
        "parent": np.array([0, 1]),
        "encoder": np.array([1, 2]),
    }


def build(dim: int = 8, **changes: Any) -> rustler.TableModel:
    arrays = described() | changes
    return rustler.TableModel(bytes(32), dim, arrays, arrays, [2], {})


def test_the_fixture_stands() -> None:
    (values,) = build().propagate(0, 65, {0: ROWS, 1: ROWS}, [])
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("density", np.full(6, np.nan, "f4"), "'density' holds NaN"),
        ("density", np.full(6, 0.0, "f4"), "'density' holds 0"),
        ("density", np.full(6, 1.5, "f4"), "'density' holds 1.5"),
        ("density", np.ones(6), "'density' must be a one-dimensional array of f32"),
        ("scale", np.full(6, np.inf, "f4"), "'scale' holds inf"),
        ("scale", np.ones(5, "f4"), "'scale' has 5 elements, expected 6"),
        ("weight", np.full(3, np.nan, "f4"), "'weight' holds NaN"),
        ("depth", np.zeros(3, np.uint8), "'initializer' has 6 elements, expected 0"),
        ("activation", np.full(6, 200, np.uint8), "'activation' holds 200"),
        ("categories", np.full(3, 2**32 - 1, np.uint32), "at most 65536"),
        ("noise_alpha", np.full(3, np.nan, "f4"), "'noise_alpha' holds NaN"),
        ("noise_beta", np.full(3, 0.01, "f4"), "'noise_beta' holds 0.01"),
        ("parent_ptr", np.array([0, 0, -1, 2]), "'parent_ptr' does not rise"),
        ("parent", np.array([2, 2]), "node 2: wrong parent"),
        ("encoder", np.array([-1, 2]), "node 2: wrong parent or encoder"),
        ("decoder", np.array([-1, -1, 2**62]), "node 2: its decoder is none"),
    ],
)
def test_wrong_descriptions(name: str, value: Any, message: str) -> None:
    with pytest.raises(rustler.RustlerError, match=message):
        build(**{name: value})


@pytest.mark.parametrize("dim", [0, rustler.MAX_DIM + 1, 2**40])
def test_widths(dim: int) -> None:
    with pytest.raises(rustler.RustlerError, match=r"embeddings need|at most 4096"):
        build(dim)


def test_huge_counts_and_wrong_functions() -> None:
    core = build()
    for call in (
        lambda: core.noise(2, 0, 2**40),
        lambda: core.noise(2, 0, 2**63),
        lambda: core.propagate(0, 2**40, {0: ROWS, 1: ROWS}, []),
        lambda: rustler.draw_matrices(bytes(32), (2**40, 2**40, 3), "sparse", 0.5),
    ):
        with pytest.raises(rustler.RustlerError, match="too many"):
            call()
    with pytest.raises(rustler.RustlerError, match="not all functions from number 0 on"):
        core.encode(0, [ROWS], [0])
    with pytest.raises(rustler.RustlerError, match="no encoders from number"):
        core.encode(2**64 - 1, [ROWS], [0])
    with pytest.raises(rustler.RustlerError, match="need inputs"):
        rustler.draw_matrices(bytes(32), (1, 0, 3), "sparse", 0.5)


def test_peaked_noise_has_its_law() -> None:
    """The kernel's own rule underflows beyond NOISE_PARAMETERS; a table takes its place."""
    quantiles = beta_quantiles(1e6, 1e6)
    assert np.isfinite(quantiles).all()
    # the deviation of Beta(a, a) is 1 / sqrt(8 a + 4)
    assert quantiles.std() == pytest.approx(1 / np.sqrt(8e6), rel=0.02)
    params = {f"node_noise_{name}_choices": 1e6 for name in ("alpha", "beta")}
    small = {"num_tables_choices": 1, "num_rows_activity_table_choices": 70}
    small |= {"num_rows_entity_table_choices": 70, "column_nan_perc_choices": 0.0}
    config = Config(scm_params=SCMParams(**params)).updated({"database_params": small})
    for seed in range(3):
        (table,) = SyntheticDataset(seed, config).make_db().table_dict.values()
        numbers = table.df.select_dtypes("float").to_numpy()
        assert numbers.size
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_seeds_are_integers(seed: Any) -> None:
    with pytest.raises(InputError, match="seed must be an integer"):
        SyntheticDataset(seed)


def test_seeds_of_numpy_are_integers_too() -> None:
    assert SyntheticDataset(np.int64(3)).window == SyntheticDataset(3).window  # type: ignore[arg-type]


def test_configs_are_configs() -> None:
    with pytest.raises(InputError, match="config must be a Config"):
        SyntheticDataset(0, {"val_split": 0.5})  # type: ignore[arg-type]
