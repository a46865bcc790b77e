"""What each variant of the model adds, shown on a task that needs it; and that every attention form
computes the same with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flex_on_cpu import form
from random_contexts import SHAPES, no_counts, random_arrays, random_batch
from small_tasks import Row, arrays_of, config, drawn, trained, unexplained
from torch import nn

from plurel.errors import InputError
from rt.blocks import Attention, run_blocks
from rt.data import BOOLEAN, NUMBER, TEXT, Batch
from rt.label_attention import LabelAttention
from rt.likeness import row_likeness
from rt.meta import NO_TIME
from rt.model import ModelConfig, RelationalTransformer, Variants
from rt.plan import Groups
from rt.roles import row_roles
from rt.shown_labels import shown_labels

__all__ = ["form"]  # a fixture

VARIANTS: dict[str, dict[str, Any]] = {
    "gate per head": {"attention_gate": "head"},
    "gate per channel": {"attention_gate": "channel"},
    "log of keys": {"log_keys": True},
    "counts of children": {"child_counts": True},
    "all but zero init": {"attention_gate": "head", "log_keys": True, "child_counts": True},
    "classes as targets": {"class_targets": True},
    "roles of rows": {"row_roles": True},
    "likeness of rows": {"row_likeness": True},
    "attention to labels": {"label_attention": True},
    "zero init": {"zero_init": True},
}


def test_all_are_off_by_default() -> None:
    plain = RelationalTransformer(config())
    assert set(vars(Variants()).values()) == {"none", False}
    more = RelationalTransformer(config(**VARIANTS["all but zero init"]))
    assert set(plain.state_dict()) < set(more.state_dict())
    assert plain.config == ModelConfig(1, 32, 4, 32, plain.config.d_text)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", ["usual", "no parents"])
def test_forms_agree(variant: str, shape: str, form: str) -> None:
    """Outputs and gradients, with parameters that are all away from their first values."""
    sizes = ModelConfig.from_dict(
        {"num_blocks": 2, "d_model": 48, "num_heads": 3, "d_ff": 40, "d_text": 8}
        | VARIANTS[variant]
    )
    models = [RelationalTransformer(sizes, attention=name) for name in ("reference", form)]
    generator = torch.Generator().manual_seed(0)
    for parameter in models[0].parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator)
    models[1].load_state_dict(models[0].state_dict())
    batch = random_batch(2, **SHAPES[shape])
    torch.testing.assert_close(*(vars(m(batch)) for m in models), rtol=1e-5, atol=1e-5)
    for model in models:
        model.loss(batch).backward()
    pairs = zip(models[0].named_parameters(), models[1].parameters(), strict=True)
    for (name, one), other in pairs:
        if one.requires_grad:
            error = (one.grad - other.grad).norm() / one.grad.norm().clamp(min=1e-2)
            assert error < 1e-4, f"{name}: {error}"


@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_weights_of_other_types(variant: str | None, dtype: torch.dtype, form: str) -> None:
    """A model that was converted as a whole."""
    torch.manual_seed(0)
    variants = {} if variant is None else VARIANTS[variant]
    model = RelationalTransformer(config(d_text=8, **variants), attention=form)
    batch = random_batch(2)
    expected = model.loss(batch).item()
    model.to(dtype)
    loss = model.loss(batch)
    assert loss.item() == pytest.approx(expected, rel=1e-6 if dtype == torch.float64 else 2e-2)
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in trained)


def one_key(queries: int) -> Groups:
    """Each of the first cells sees one of the others and nothing else."""
    count = torch.arange(queries + 1, dtype=torch.int32)
    ends = torch.tensor([0, queries], dtype=torch.int32)
    key = count[:-1] + queries
    return Groups(count, count[:-1], count, key, ends, 2 * ends, 2 * queries, queries)


@pytest.mark.parametrize("gate", ["none", "head", "channel"])
def test_gated_attention_can_leave_out_what_it_reads(gate: str) -> None:
    """A cell with a switch, and one key: softmax gives it weight 1 whatever the query is, so what
    comes out of the layer can't depend on the switch, and half of the variance stays."""
    torch.manual_seed(0)
    value, on = torch.randn(256), (torch.arange(256) % 2).float()
    cells = torch.zeros(512, 32)
    cells[:256, 0], cells[256:, 1] = 2 * on - 1, value
    layer = nn.ModuleList((Attention(config(attention_gate=gate)), nn.Linear(32, 1)))
    optimizer = torch.optim.Adam(layer.parameters(), 3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        found = layer[1](layer[0](cells, one_key(256), "cpu"))[:256, 0]
        error = ((found - value * on) ** 2).mean() / (value * on).var()
        error.backward()
        optimizer.step()
    assert error > 0.4 if gate == "none" else error < 0.05


def learned_and_asked(
    task: Callable[[np.random.Generator], list[Row]], num_columns: int
) -> tuple[list[Batch], Batch]:
    """8 batches of 32 contexts to train on, and one of 256."""
    drawn_with = [(seed, 32) for seed in range(8)] + [(99, 256)]
    *batches, asked = (
        Batch.from_arrays(arrays_of(drawn(task, *how), num_columns)) for how in drawn_with
    )
    return batches, asked


def one_payment(fewest: int, most: int, rng: np.random.Generator) -> list[Row]:
    """A customer with some visits and one payment, whose amount is asked for."""
    visits = int(np.exp(rng.uniform(np.log(fewest), np.log(most))))
    amount = rng.normal()
    rows = [Row([(1, rng.normal())], [0]) for _ in range(visits)]
    rows.insert(int(rng.integers(visits)), Row([(2, amount)], [0]))
    return [Row([(0, amount)]), *rows]


def payments(seed: int, count: int, fewest: int, most: int) -> Batch:
    contexts = drawn(lambda rng: one_payment(fewest, most, rng), seed, count)
    return Batch.from_arrays(arrays_of(contexts, 3))


def test_log_keys_keep_attention_sharp_over_long_lists() -> None:
    """Trained among 2 to 7 visits, asked among hundreds."""
    batches = [payments(seed, 32, 2, 8) for seed in range(8)]
    few, many = payments(9, 64, 2, 8), payments(10, 24, 500, 1000)
    plain, scaled = (trained(config(log_keys=on), batches, 200) for on in (False, True))
    assert unexplained(plain, few) < 0.02
    assert unexplained(scaled, few) < 0.02
    assert unexplained(plain, many) > 0.2
    assert unexplained(scaled, many) < 0.02


def visits(rng: np.random.Generator) -> list[Row]:
    """A customer with 3 to 300 visits and as many calls, of which two each are in the context:
    how many visits?"""
    count, calls = np.exp(rng.uniform(np.log(3), np.log(300), 2)).astype(int)
    shown = [Row([(1 + kind, 1.0)], [0]) for kind in (0, 0, 1, 1)]
    return [Row([(0, np.log(count / 30))], (), [(3, count), (4, calls)]), *shown]


def spending(rng: np.random.Generator) -> list[Row]:
    """A customer whose purchases, of which three are shown, have one price; what grows with both
    their number and the price?"""
    count, price = int(np.exp(rng.uniform(np.log(3), np.log(300)))), rng.normal()
    shown = [Row([(1, price)], [0]) for _ in range(3)]
    return [Row([(0, price * np.log1p(count) / 4)], (), [(2, count)]), *shown]


@pytest.mark.parametrize(("task", "left"), [(visits, 0.9), (spending, 0.08)])
def test_counts_tell_3_children_from_300(
    task: Callable[[np.random.Generator], list[Row]], left: float
) -> None:
    batches, asked = learned_and_asked(task, 5)
    plain, counting = (trained(config(child_counts=on), batches, 120) for on in (False, True))
    assert unexplained(plain, asked) > left
    assert unexplained(counting, asked) < left / 4


def own_and_others(rng: np.random.Generator) -> list[Row]:
    """Labels of the target's entity, more of others, all of which look alike, and rows of which
    only the age says how much they count: what is the mean of its own, late ones?"""
    mean, others = rng.normal(size=2)
    rows = [Row([(0, mean)], part=0, time=10**8)]
    for part, value, age in ((2, mean, 10**4), (2, rng.normal(), 10**8), (3, others, 10**4)):
        rows += [Row([(0, value + 0.1 * rng.normal())], part=part, time=10**8 - age)] * 2
    return rows


def test_roles_tell_own_labels_from_others_and_late_from_early() -> None:
    batches, asked = learned_and_asked(own_and_others, 1)
    plain, knowing = (trained(config(row_roles=on), batches, 200) for on in (False, True))
    assert unexplained(plain, asked) > 0.5
    assert unexplained(knowing, asked) < 0.1


def test_roles_are_of_the_row_and_its_time() -> None:
    contexts = [
        [Row([(0, 1.0)], part=0, time=7200), Row([(0, 1.0), (0, 1.0)], part=2, time=3600)],
        [Row([(0, 1.0)], part=0, time=3600), Row([(0, 1.0)], part=5, time=7200)],
        [Row([(0, 1.0)], part=0, time=NO_TIME), Row([(0, 1.0)], part=1, time=7200)],
        [Row([(0, 1.0)], part=0, time=2**62), Row([(0, 1.0)], part=1, time=NO_TIME)],
    ]
    found = row_roles(Batch.from_arrays(arrays_of(contexts, 1)))
    assert found[:, :6].argmax(1).tolist() == [0, 2, 2, 0, 5, 0, 1, 0, 1]
    assert found[:, :6].sum(1).tolist() == [1] * 9
    assert found[:, 6].tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 0]
    hour = np.log(2) / 10
    expected = [0, hour, hour, 0, 0, 0, 0, 0, 0]
    assert found[:, 7].tolist() == pytest.approx(expected)
    assert found[:, 8].tolist() == pytest.approx(np.square(expected).tolist())


def like_and_unlike(rng: np.random.Generator) -> list[Row]:
    """Twelve labels of which two are of rows that are very like the target: what is their mean?"""
    mean = rng.normal()
    rows = [Row([(0, mean)], part=0)]
    for number, alike in enumerate(rng.permutation([0.95] * 2 + [0.6] * 10)):
        value = mean + 0.1 * rng.normal() if alike > 0.9 else rng.normal()
        rows.append(Row([(0, value)], part=3, time=number, alike=alike))
    return rows


def test_likeness_tells_which_labels_count() -> None:
    batches, asked = learned_and_asked(like_and_unlike, 1)
    plain, knowing = (trained(config(row_likeness=on), batches, 200) for on in (False, True))
    assert unexplained(plain, asked) > 0.5
    assert unexplained(knowing, asked) < 0.2


def test_likeness_is_of_label_rows_alone() -> None:
    contexts = [
        [Row([(0, 1.0)]), Row([(0, 1.0), (0, 1.0)], alike=0.5), Row([(0, 1.0)], alike=0.0)],
        [Row([(0, 1.0)]), Row([(0, 1.0)], alike=1.0)],
    ]
    arrays = arrays_of(contexts, 1) | {"context_told": np.array([0.25, 1.0], np.float32)}
    found = row_likeness(Batch.from_arrays(arrays))
    half = [1, 0.5, 0.5**4, 0.5**16]
    half += [0.25 * power for power in half]
    assert found.tolist() == [[0] * 8, half, half, [1, 0, 0, 0, 0.25, 0, 0, 0], [0] * 8, [1] * 8]


def two_kinds(rng: np.random.Generator) -> list[Row]:
    """Twelve labels of two kinds, each about a level of its own, which may be far off: what is the
    mean of the target's own kind?"""
    levels, kinds = 30 * rng.normal(size=2), rng.permutation(np.repeat((0, 1), 6))
    values = levels[kinds] + 0.1 * rng.normal(size=12)
    rows = [Row([(0, values[kinds == 0].mean()), (1, -1.0)])]
    return rows + [
        Row([(0, value), (1, 2.0 * kind - 1)]) for value, kind in zip(values, kinds, strict=True)
    ]


def test_labels_are_weighed_and_far_ones_copied() -> None:
    batches, asked = learned_and_asked(two_kinds, 2)
    plain, knowing = (
        trained(config(label_attention=on, num_blocks=2), batches, 120) for on in (False, True)
    )
    assert unexplained(plain, asked) > 0.1
    assert unexplained(knowing, asked) < 1e-3


def answer(rows: list[Row], kind: int = NUMBER) -> tuple[float, float]:
    """What an attention that has learned nothing says to one context, if it counts in full."""
    arrays = arrays_of([rows], 2)
    arrays["semantic_type"][arrays["column"] == 0] = kind
    batch = Batch.from_arrays(arrays)
    cells = torch.randn(batch.num_cells, 32)
    attention = LabelAttention(32, 4)
    with torch.no_grad():
        attention.w_share.bias.fill_(1 / 4)
        found, spread = attention(torch.randn(1, 32), cells, batch)
    return found.item(), spread.item()


def test_at_first_all_labels_weigh_alike() -> None:
    labels = [Row([(0, value), (1, 9.0)]) for value in (3.0, 1.0, 5.0)]
    found, spread = answer([Row([(0, 99.0), (1, 8.0)]), *labels])
    assert found == pytest.approx(3.0)
    assert spread == pytest.approx(np.sqrt((8 + 0.1) / 3.1))
    assert answer([Row([(0, 99.0), (1, 8.0)])]) == (0.0, 1.0)


def test_no_target_is_among_the_labels() -> None:
    """Neither the context's own nor a further one, whose value is hidden as well."""
    rows = [Row([(0, 2.0)]), Row([(0, 3.0)]), Row([(0, 4.0)])]
    arrays = arrays_of([rows], 2)
    arrays["is_target"][0, 2] = True
    assert shown_labels(Batch.from_arrays(arrays)).tolist() == [[False, True, False]]


def test_of_booleans_the_log_odds() -> None:
    labels = [Row([(0, value)]) for value in (-0.5, 0.9, 0.9)]
    found, spread = answer([Row([(0, -1.0)]), *labels], BOOLEAN)
    assert found == pytest.approx(np.log(2.5 / 1.5))
    assert spread == 1.0
    assert answer([Row([(0, 0.0)]), *labels], TEXT) == (0.0, 1.0)


def test_an_older_config_is_read_where_what_is_gone_is_off() -> None:
    values = config().to_dict()
    assert ModelConfig.from_dict(values | {"label_means": False}) == config()
    with pytest.raises(InputError, match="label_means is not known"):
        ModelConfig.from_dict(values | {"label_means": True})


def test_a_model_that_counts_needs_counts() -> None:
    batch = Batch.from_arrays(random_arrays(0) | no_counts())
    RelationalTransformer(config(d_text=8))(batch)
    counting = RelationalTransformer(config(child_counts=True, d_text=8))
    with pytest.raises(InputError, match="make the sampler with child_counts=True"):
        counting(batch)


def highest_loss(sizes: ModelConfig, batch: Batch) -> float:
    """Of the first 8 steps at a high rate."""
    torch.manual_seed(0)
    model = RelationalTransformer(sizes)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return max(losses)


def test_zero_init_with_all_other_variants_begins_as_the_identity() -> None:
    torch.manual_seed(0)
    variants = VARIANTS["all but zero init"] | {"zero_init": True}
    model, batch = RelationalTransformer(config(d_text=8, **variants)), random_batch(2)
    assert batch.count.any()
    x = torch.randn(batch.num_cells, 32)
    assert torch.equal(run_blocks(x, model.blocks, batch.plan, "cpu", model._counts(batch)), x)


def test_zero_init_begins_as_a_constant_and_learns() -> None:
    """However deep: the first loss is that of the mean, the cells pass unchanged."""
    contexts = drawn(lambda rng: one_payment(1, 3, rng), 0, 64)
    batch = Batch.from_arrays(arrays_of(contexts, 3))
    constant = nn.functional.huber_loss(torch.zeros(64), batch.target_value)
    losses, passed = {}, {}
    for on in (False, True):
        torch.manual_seed(0)
        model = RelationalTransformer(config(num_blocks=12, zero_init=on))
        losses[on] = model.loss(batch).item()
        passed[on] = (model.hidden(batch) - model.norm_out(model.embed(batch))).abs().max().item()
    assert losses[True] == pytest.approx(constant.item(), rel=1e-5)
    assert losses[False] != pytest.approx(constant.item(), rel=1e-3)
    assert (passed[True], passed[False] > 0.5) == (0, True)
    peaks = {on: highest_loss(config(num_blocks=16, zero_init=on), batch) for on in (False, True)}
    assert peaks[True] < 0.75 * peaks[False]
    assert unexplained(trained(config(zero_init=True), [batch], 100), batch) < 0.1
