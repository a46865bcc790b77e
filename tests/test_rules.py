"""Rules: columns that are functions of a few cells, but for exceptions."""

import numpy as np
import pytest

from plurel.config import Choices, Config, SCMParams
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.rng import stream
from plurel.rules import follow_rules
from plurel.schema import ColumnSchema, ForeignKey, TableSchema
from plurel.values import EAGER, TableValues

N = 4000
SEEDS = range(60)


def params(share: float = 0.5, exceptions: float = 0.0) -> SCMParams:
    return SCMParams(
        rule_share_choices=Choices("set", (share,)),
        rule_exception_choices=Choices("set", (exceptions,)),
    )


def column(number: int, categories: int | None) -> ColumnSchema:
    kind = "numerical" if categories is None else "categorical"
    return ColumnSchema(f"c{number}", kind, categories)


def table(*categories: int | None, time: bool = False, keys: int = 0) -> TableSchema:
    columns = tuple(column(i, count) for i, count in enumerate(categories))
    foreign = tuple(ForeignKey(f"k{i}", f"p{i}") for i in range(keys))
    kind = "activity" if time else "entity"
    return TableSchema("t", kind, N, columns, foreign, time_column="date" if time else None)


def drawn(*categories: int | None, rows: int = N) -> list[np.ndarray]:
    """Columns that have nothing to do with each other."""
    draw = stream(0, "columns")
    return [
        draw.standard_normal(rows).astype(np.float32)
        if count is None
        else draw.integers(count, size=rows)
        for count in categories
    ]


def follow(values, schema, *, links=(), parents=(), seed=0, **choices):
    """The columns after the rules, and which follow one."""
    found = list(values)
    places = follow_rules(found, schema, links, parents, params(**choices), seed, ("t",))
    return found, places


def outcomes(given: np.ndarray, found: np.ndarray) -> float:
    """The share of rows that have the most common value of their group."""
    groups = np.unique(given, return_inverse=True)[1]
    values = np.unique(found, return_inverse=True)[1]
    counts = np.zeros((groups.max() + 1, values.max() + 1), np.int64)
    np.add.at(counts, (groups, values), 1)
    return float(counts.max(axis=1).sum() / len(given))


def only_second(seed: int, categories: tuple[int | None, int | None], **choices):
    """The second column after a rule that can only be of the first one; None for other seeds."""
    values = drawn(*categories)
    found, places = follow(values, table(*categories), seed=seed, **choices)
    return (values[0], found[1]) if places == [1] else None


@pytest.mark.parametrize("target", [None, 2, 5])
def test_a_rule_is_a_function_of_its_cells(target: int | None) -> None:
    pairs = [only_second(seed, (6, target)) for seed in SEEDS]
    there = [pair for pair in pairs if pair]
    assert len(there) > 8
    for given, found in there:
        assert outcomes(given, found) == 1.0
        assert len(np.unique(found)) > 1
        assert found.dtype == (np.float32 if target is None else np.int64)
        if target is not None:
            assert 0 <= found.min() <= found.max() < target


def test_rules_are_of_all_forms() -> None:
    """Of numbers by a number: exact copies, trees of a few values, formulas of many."""
    pairs = [only_second(seed, (None, None)) for seed in range(200)]
    there = [pair for pair in pairs if pair]
    copies = [np.array_equal(given, found) for given, found in there]
    steps = [len(np.unique(found)) <= 8 for _, found in there]
    formulas = [not copy and not step for copy, step in zip(copies, steps, strict=True)]
    assert min(sum(copies), sum(steps), sum(formulas)) > 3
    own = drawn(None, None)[1]
    low, high = np.quantile(own, (0.05, 0.95))
    for (_, found), step, formula in zip(there, steps, formulas, strict=True):
        if step:
            assert np.isin(found, own).all()
        if formula:  # the spread that the column had
            assert np.quantile(found, (0.05, 0.95)) == pytest.approx((low, high), abs=0.05)


def test_exceptions_keep_what_they_had() -> None:
    values = drawn(6, None)
    for seed in SEEDS:
        pair = only_second(seed, (6, None), exceptions=0.2)
        if pair:
            kept = pair[1] == values[1]
            assert 0.17 < kept.mean() < 0.25
            assert outcomes(pair[0][~kept], pair[1][~kept]) == 1.0


def test_rows_of_one_parent_agree() -> None:
    """A table whose only column follows a rule, over the rows that it references."""
    schema = table(None, keys=1)
    link = stream(1, "link").integers(-1, 40, size=N)
    parent = TableValues((column(0, 4), column(1, None)), tuple(drawn(4, None, rows=40)), EAGER)
    agreed = 0
    for seed in SEEDS:
        [found], places = follow(drawn(None), schema, links=[link], parents=[parent], seed=seed)
        if places:
            # rows that reference nothing agree with those of the first row
            assert outcomes(np.maximum(link, 0), found) == 1.0
            agreed += 1
    assert agreed > 15


def test_the_time_of_a_row_is_a_cell_too() -> None:
    found = [follow(drawn(None), table(None, time=True), seed=seed) for seed in SEEDS]
    there = [values for [values], places in found if places]
    assert any(np.array_equal(values, np.arange(N)) for values in there)
    # what time decides changes a few times, or in one direction
    for values in there:
        steps = np.diff(values)
        assert np.count_nonzero(steps) <= 8 or np.all(steps >= 0) or np.all(steps <= 0)


def test_without_a_rule_nothing_changes() -> None:
    values = drawn(None, 3)
    found, places = follow(values, table(None, 3), share=0.0)
    assert places == []
    assert all(a is b for a, b in zip(found, values, strict=True))
    # all follow rules, but there is nothing that the first could follow
    found, places = follow(values[:1], table(None), share=1.0)
    assert places == []
    assert found[0] is values[0]
    nothing = np.full(N, -1)
    parent = TableValues((column(0, 4),), (drawn(4)[0],), EAGER)
    found, places = follow(
        values[:1], table(None, keys=1), links=[nothing], parents=[parent], share=1.0
    )
    assert places == []
    same = [np.zeros(N, np.int64), values[1]]
    for seed in range(20):
        found, places = follow(same, table(3, 3), seed=seed)
        assert np.ptp(found[1])


def determined(config: Config, seed: int) -> float:
    """The share of a database's number and boolean columns that another column of few values, or a
    copy of them, tells all but exactly."""
    tables = SyntheticDataset(seed, config).make_db().table_dict.values()
    told, count = 0, 0
    for one in tables:
        columns = one.df.drop(columns=[one.pkey_col, *one.fkey_col_to_pkey_table])
        for name in columns.select_dtypes(["number", "bool", "object"]):
            count += 1
            for other in columns.columns.difference([name]):
                both = columns[[name, other]].dropna()
                given, found = both[other].to_numpy(), both[name].to_numpy()
                base = outcomes(np.zeros(len(found)), found)
                if len(np.unique(given)) < len(given) / 10 and base < 0.9:
                    told += outcomes(given, found) > 0.97
                    break
    return told / count


def test_they_show_in_a_whole_database_and_can_be_refused() -> None:
    plain, lawful = Config.preset("lifelike"), Config.preset("lawful")
    found = [np.mean([determined(one, seed) for seed in range(3)]) for one in (plain, lawful)]
    assert found[1] > found[0] + 0.02
    with pytest.raises(InputError, match="rule_share_choices"):
        Config().overridden(["scm_params.rule_share_choices={kind: set, value: [1.5]}"])
