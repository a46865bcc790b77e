"""Every reason that a row can have to be in a context, in words."""

import numpy as np
import pytest
from relbench.manifest import TableSpec

import rustler
from rt.meta import NO_TIME
from rt.store import read_arrays, write_store
from rt.tasks import column_tasks, load_tasks
from rt.viz_why import Graph, Rows, ago, reasons
from tests.libraries import library_store
from tests.raw_folders import write_folder

ADA, BOB, EMMA, WALDEN = 0, 1, 2, 3
"""Members and their loans; the label rows follow."""
BOB_FIRST, ADA_SECOND, TARGET = 16, 17, 20
DAY = 86_400


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return library_store(tmp_path_factory.mktemp("library"))


def _told(store, rows, task="late", order="recency", **changed):
    """The reason of the last of `rows`, triples of number, part and origin."""
    numbers, parts, origins = zip(*rows, strict=True)
    arrays = read_arrays(store)
    graph = Graph(arrays.meta, arrays)
    times = changed.get("times", arrays["row_time"][list(numbers)])
    tasks = {t.name: t for t in [*load_tasks(store), *column_tasks(graph.meta)]}
    part = np.array([rustler.PARTS.index(name) for name in parts], np.uint8)
    seen = Rows(np.array(numbers, np.uint32), times, part, np.array(origins, np.int32))
    return reasons(seen, graph, tasks[task], order)[-1]


START = [(TARGET, "target", -1), (ADA, "ancestor", 0)]
OTHER = [*START, (BOB_FIRST, "other label", -1)]


@pytest.mark.parametrize(
    ("rows", "order", "said"),
    [
        (START[:1], None, "target"),
        (START, None, "parent of row 0 (by late.member)"),
        ([*START, (ADA_SECOND, "own label", 1)], None,
         "label of the same entity (members, row 1), 50 days earlier"),
        ([START[0], (ADA_SECOND, "own label", -1)], None,
         "label of the same entity, 50 days earlier"),
        (OTHER, "recency", "label of another entity, by recency, 60 days earlier"),
        (OTHER, "walks", "label of another entity, by walks, 60 days earlier"),
        (OTHER, "random", "label of another entity, at random, 60 days earlier"),
        ([START[0], (BOB, "neighbourhood", -1), (BOB_FIRST, "other label", -1)], "walks",
         "label of another entity (members, row 1), by walks, 60 days earlier"),
        ([*OTHER, (BOB, "around another label", 2)], "walks",
         "around row 2: parent of row 2 (by late.member)"),
        ([*OTHER, (BOB, "around another label", 2), (WALDEN, "around another label", 3)], "walks",
         "around row 2: child of row 3 (by loans.member)"),
        ([*START, (EMMA, "neighbourhood", 1)], None, "child of row 1 (by loans.member)"),
        ([START[0], (EMMA, "neighbourhood", 0), (ADA, "neighbourhood", 1)], None,
         "parent of row 1 (by loans.member)"),
        ([*START, (EMMA, "neighbourhood", -1)], None, "in the neighbourhood of the target"),
    ],
)  # fmt: skip
def test_reasons_of_a_forecast(store, rows, order, said):
    assert _told(store, rows, order=order) == said


LOAN = [(4, "target", -1)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*LOAN, (ADA, "ancestor", 0), (EMMA, "own label", 1)],
         "label of another child of row 1 (by loans.member), 2 months earlier"),
        ([*LOAN, (EMMA, "own label", -1)],
         "label of a row with the same parent (by loans.member), 2 months earlier"),
        ([*LOAN, (WALDEN, "other label", -1)],
         "label of another row, by recency, 2 months earlier"),
    ],
)  # fmt: skip
def test_reasons_of_a_column(store, rows, said):
    assert _told(store, rows, task="loans.weeks") == said


def test_without_a_time_there_is_no_recency(store):
    times = np.full(2, NO_TIME)
    rows = [*LOAN, (WALDEN, "other label", -1)]
    assert _told(store, rows, "loans.weeks", times=times) == "label of another row, at random"


def test_the_key_is_named_that_references(tmp_path):
    matches = {"home": [0, None, 1, None], "guest": [1, 0, 1, None]}
    keys = dict.fromkeys(matches, "teams")
    tables = {
        "teams": ({"team": [0, 1], "name": ["a", "b"]}, TableSpec("team")),
        "matches": (matches, TableSpec(fkeys=keys)),
    }
    arrays = read_arrays(write_store(write_folder(tmp_path / "raw", tables), tmp_path / "pre"))
    graph = Graph(arrays.meta, arrays)
    assert [graph.parents(row) for row in range(2, 6)] == [[0, 1], [0], [1, 1], []]
    assert (graph.key(2, 0), graph.key(2, 1)) == ("matches.home", "matches.guest")
    assert (graph.key(3, 0), graph.key(4, 1)) == ("matches.guest", "matches.home and guest")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "at the same time"),
        (1, "1 second earlier"),
        (90, "90 seconds earlier"),
        (36 * 3600, "36 hours earlier"),
        (59 * DAY, "59 days earlier"),
        (700 * DAY, "23 months earlier"),
        (3 * 365 * DAY, "3 years earlier"),
        (-5 * 60, "5 minutes later"),
    ],
)
def test_how_long_ago(seconds, said):
    assert ago(seconds) == said
