"""Predictions for rows named by keys and times, by the model as it is and by a fitted head."""

import datetime
import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from plurel.errors import InputError
from plurel.rng import stream
from rt import predict as predict_module
from rt.asked import Entities
from rt.asked_times import check_known, seconds
from rt.checkpoint import save_pretrained
from rt.context_labels import context_label_means
from rt.evaluate import predict, store_rows
from rt.heads import Head, Labelled, fit_head
from rt.labels import LABEL_TYPES
from rt.meta import open_meta
from rt.model import ModelConfig, RelationalTransformer
from rt.predict import Predictor
from rt.predictions import ContextSettings
from rt.recipes import Recipe
from rt.relbench_folder import label_table, open_dataset, open_task
from rt.scores import Protocol
from rt.settings import Settings
from rt.tasks import load_tasks
from tests.shops import EMBEDDER, shop_folders, varied_model

# so long and wide that a context holds all that may be seen, whatever is drawn
SETTINGS = ContextSettings(EMBEDDER, context_length=2000, recipe=Recipe(width=(500,)), batch_size=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return shop_folders(tmp_path_factory.mktemp("predictor"))


@pytest.fixture(scope="module")
def predictor(folders: tuple[Path, Path]) -> Predictor:
    return Predictor(varied_model(), SETTINGS, folders[1].parent)


@pytest.mark.parametrize("name", ["mean-amount", "any-returned", "returned"])
def test_label_rows_of_a_split(predictor: Predictor, folders: tuple[Path, Path], name: str) -> None:
    raw, store = folders
    (task,) = load_tasks(store, [name])
    table = label_table(open_task(open_dataset(raw), name), "test")
    rows = store_rows(store, open_meta(store), task, "test", table)
    expected = predict(
        predictor.model, store, task, rows, settings=SETTINGS, protocol="rolling", progress=None
    )
    found = predictor.predict(raw, name, show_progress=False)
    assert found.prediction.tolist() == expected.tolist()
    keys = [*table.fkey_col_to_pkey_table, table.time_col]
    pd.testing.assert_frame_equal(found[keys], table.df[keys].reset_index(drop=True))
    assert found.columns.tolist() == [*keys, "prediction"]


@pytest.mark.parametrize("protocol", ["rolling", "split"])
@pytest.mark.parametrize("name", ["mean-amount", "any-returned"])
def test_an_entity_at_a_time_is_the_label_row_of_both(
    predictor: Predictor, folders: tuple[Path, Path], name: str, protocol: Protocol
) -> None:
    raw, _ = folders
    known = predictor.predict(raw, name, protocol=protocol, show_progress=False)
    asked = known[["shop", "timestamp"]].sample(frac=1, random_state=1)
    found = predictor.predict(raw, name, asked, protocol=protocol, show_progress=False)
    assert found.shop.tolist() == asked.shop.tolist()
    both = known.merge(found, on=["shop", "timestamp"])
    assert len(both) == len(known) > 5
    # what can be seen is the same, in another order
    assert both.prediction_x.to_numpy() == pytest.approx(both.prediction_y.to_numpy(), rel=1e-3)
    assert both.prediction_x.std() > 1e-3


def test_a_row_without_a_label_and_the_time_of_all(
    predictor: Predictor, folders: tuple[Path, Path]
) -> None:
    raw, _ = folders
    later = predictor.predict(raw, "mean-amount", [5, 0], at="2020-07-01", show_progress=False)
    assert later.shop.tolist() == [5, 0]
    assert set(later.timestamp) == {pd.Timestamp("2020-07-01")}
    last = predictor.predict(raw, "mean-amount", 5, show_progress=False)
    assert last.timestamp.tolist() == [pd.Timestamp("2020-02-29")]  # of the last sale
    early = predictor.predict(raw, "mean-amount", [5], at="2020-01-03", show_progress=False)
    assert early.prediction[0] != pytest.approx(last.prediction[0], rel=1e-6)
    # half a day, in a zone: rounded to the same second
    zoned = pd.DataFrame({"shop": [5], "timestamp": [pd.Timestamp("2020-01-03 01:00+01:00")]})
    same = predictor.predict(raw, "mean-amount", zoned, show_progress=False)
    assert same.prediction[0] == early.prediction[0]


def test_contexts_stay_open_until_the_store_is_made_anew(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, store = folders
    shutil.copytree(store, tmp_path / store.name)
    opened = []
    make = predict_module.Contexts
    monkeypatch.setattr(
        predict_module, "Contexts", lambda *given: opened.append(given) or make(*given)
    )
    predictor = Predictor(varied_model(), SETTINGS, tmp_path)
    for name in ("returned", "mean-amount", "returned", "mean-amount"):
        predictor.predict(raw, name, show_progress=False)
    assert len(opened) == 2
    meta = tmp_path / store.name / "meta.json"
    text = meta.read_text()
    meta.unlink()
    meta.write_text(text)
    predictor.predict(raw, "returned", show_progress=False)
    assert len(opened) == 3


def test_rows_of_a_table_to_complete(predictor: Predictor, folders: tuple[Path, Path]) -> None:
    raw, _ = folders
    known = predictor.predict(raw, "returned", show_progress=False)
    asked = known.sale.iloc[[3, 1, 3]].tolist()
    found = predictor.predict(raw, "returned", asked, show_progress=False)
    expected = known.prediction.iloc[[3, 1, 3]].tolist()
    assert found.prediction.tolist() == pytest.approx(expected, rel=1e-5)


def test_contexts_are_averaged(folders: tuple[Path, Path], predictor: Predictor) -> None:
    raw, store = folders
    short = ContextSettings(EMBEDDER, context_length=30, recipe=Recipe(width=(4,)))
    drawn = Predictor(predictor.model, short, store.parent)
    one, other, both = (
        drawn.predict(raw, "mean-amount", [1, 2], seed=s, num_contexts=n, show_progress=False)
        for s, n in ((4, 1), (5, 1), (4, 2))
    )
    assert one.prediction[0] != other.prediction[0]
    mean = (one.prediction + other.prediction) / 2
    assert both.prediction.tolist() == pytest.approx(mean.tolist())


def test_a_head_learns_and_is_kept(
    predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """The mean amount of a shop is in its sales, which the vectors of a random model still tell."""
    raw, _ = folders
    head = predictor.fit_head(raw, "mean-amount", show_progress=False)
    found = predictor.predict(raw, "mean-amount", head=head, show_progress=False)
    truth = label_table(open_task(open_dataset(raw), "mean-amount"), "test").df["mean_amount"]
    error = (found.prediction - truth.to_numpy()).abs().mean()
    assert error < 0.6 * (truth - truth.mean()).abs().mean()
    head.save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    same = predictor.predict(raw, "mean-amount", head=again, show_progress=False)
    assert same.prediction.tolist() == found.prediction.tolist()
    with pytest.raises(InputError, match="no saved head"):
        Head.load(tmp_path / "nothing")


def test_vectors_of_a_model_with_label_attention_hold_what_labels_say(
    folders: tuple[Path, Path],
) -> None:
    """Where it has learned no weights: their mean."""
    sizes = vars(varied_model().config) | {"label_attention": True}
    model = RelationalTransformer(ModelConfig(**sizes))
    assert model.label_attention is not None
    model.label_attention.w_share.bias.data.fill_(0.5)
    predictor = Predictor(model, SETTINGS, folders[1].parent)
    head = predictor.fit_head(folders[0], "mean-amount", num_rows=40, show_progress=False)
    assert head.weight.shape == (model.config.d_model + 2, 1)
    (task,) = load_tasks(folders[1], ["mean-amount"])
    rows = np.arange(*task.splits["train"], dtype=np.uint32)[-20:]
    means = context_label_means(folders[1], task, rows, settings=SETTINGS, protocol="rolling")
    opened = predictor._open(folders[0], "mean-amount", False)
    width = model.vector_width
    vectors = predictor._of_contexts(
        predictor._vectors, opened, rows, width,
        {"settings": SETTINGS, "protocol": "rolling", "progress": None},
    )  # fmt: skip
    column = open_meta(folders[1]).columns[task.column]
    found = column.std * vectors[:, -2] + column.mean
    assert found.tolist() == pytest.approx(means["context_all"].tolist(), rel=1e-4)


@pytest.mark.parametrize("kind", LABEL_TYPES)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_heads_of_every_kind(kind: str, num_classes: int) -> None:
    draws = stream(0, "heads", kind, num_classes)
    vectors = draws.normal(size=(400, 6)) * [1, 10, 0.1, 1, 1, 0] + 3
    score = vectors[:, 0] - vectors[:, 1] / 10
    labels = {
        "binary_classification": (score > 2.7).astype(float),
        "regression": 100 + 7 * score,
        "multiclass_classification": np.array(["b", "a", "c"])[
            np.digitize(score, np.quantile(score, np.arange(1, num_classes) / num_classes))
        ],
    }[kind]
    parts = [Labelled(vectors[part], labels[part]) for part in (slice(200), slice(200, 300))]
    head = fit_head("db/task", kind, *parts)  # type: ignore[arg-type]
    found = head(vectors[300:])
    if kind == "regression":
        assert found == pytest.approx(labels[300:], rel=0.01)
    elif kind == "binary_classification":
        assert ((found > 0.5) == labels[300:]).mean() > 0.9
    else:
        assert head.classes == ("a", "b", "c")[:num_classes]
        assert found.sum(1) == pytest.approx(1)
        assert (np.array(head.classes)[found.argmax(1)] == labels[300:]).mean() > 0.85
    with pytest.raises(InputError, match="labels to fit on are"):
        fit_head("db/task", kind, Labelled(vectors, np.repeat(labels[:1], 400)), parts[1])  # type: ignore[arg-type]


def test_labels_are_looked_at_before_the_vectors(
    predictor: Predictor, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "_vectors", lambda *_: pytest.fail("vectors were computed"))
    with pytest.raises(InputError, match="mean-amount: all 1 labels to fit on are"):
        predictor.fit_head(folders[0], "mean-amount", num_rows=1, show_progress=False)


def test_bad_questions(predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path) -> None:
    raw, store = folders

    def refused(*arguments: object, database: Path = raw, **settings: object) -> str:
        with pytest.raises(InputError) as raised:
            predictor.predict(database, *arguments, show_progress=False, **settings)  # type: ignore[arg-type]
        return str(raised.value)

    assert "no row has the shop 9 (1 of 2" in refused("mean-amount", [1, 9])
    assert "no task 'mean'" in refused("mean", [1])
    assert "is a store, which knows no keys" in refused("mean-amount", [1], database=store)
    for name in ("one", "other"):
        shutil.copytree(raw, tmp_path / "two" / name)
    two = refused("mean-amount", [1], database=tmp_path / "two")
    assert two == f"{tmp_path / 'two'} holds 2 databases (one, other): give the folder of one"
    shops = pd.DataFrame({"shops": [1]})
    assert "no column 'shop': rename 'shops'" in refused("mean-amount", shops)
    # times that would be left out of account
    unread = pd.DataFrame({"shop": [1], "at": ["2020-02-20"], "town": ["Ely"]})
    assert (
        "'at', 'town' of the rows asked for would not be read: their columns are 'shop', and "
        "'timestamp' if times differ; rename or leave out others"
    ) in refused("mean-amount", unread)
    unread = pd.DataFrame({"sale": [1], "day": ["2020-02-20"]})
    assert "'day' of the rows asked for would not be read: their columns are 'sale'; re" in refused(
        "returned", unread
    )
    timed = pd.DataFrame({"shop": [1], "timestamp": ["2020-02-20"]})
    assert "have times of their own, 'timestamp': leave out at (--at), or the column" in refused(
        "mean-amount", timed, at="2020-02-20"
    )
    # 3/12/2024 is one day here and another there, and "now" a clock's
    for at in ("yesterday", "now", "2020", "2020-02", "15/02/2020", "03/12/2020", "1 March 2020"):
        line = f"at: {at!r} is no time in ISO 8601; write 2026-01-31 or 2026-01-31 10:00"
        assert line in refused("mean-amount", [1], at=at)
        named = pd.DataFrame({"shop": [1, 2], "timestamp": ["2020-02-20", at]})
        assert f"timestamp: {at!r} is no time" in refused("mean-amount", named)
    assert "num_contexts must be 1 or more" in refused("mean-amount", [1], num_contexts=0)
    assert "or too large" in refused("mean-amount", [2**70])
    assert "numbers are no times" in refused("mean-amount", [1], at=2020)
    numbers = pd.DataFrame({"shop": [1], "timestamp": [20200101]})
    assert "numbers are no times" in refused("mean-amount", numbers)
    missing = pd.DataFrame({"shop": [1], "timestamp": [np.nan]})
    assert "1 times are missing" in refused("mean-amount", missing)
    # a time that would be left out of account
    assert "each row has its own" in refused("returned", [1], at="2020-01-03")
    assert "name rows" in refused("mean-amount", at="2020-01-03")
    assert "give both columns one type" in refused("mean-amount", ["Ely"])
    assert "no folder" in refused("mean-amount", [1], database=tmp_path / "nowhere")


def test_a_head_is_of_one_task_one_model_and_one_kind_of_contexts(
    predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    raw, store = folders
    head = predictor.fit_head(raw, "mean-amount", num_rows=20, show_progress=False)
    with pytest.raises(InputError, match="fitted on shops-db/mean-amount, not on any-returned"):
        predictor.predict(raw, "any-returned", [1], head=head, show_progress=False)
    config = replace(predictor.model.config, class_targets=True)  # it has scalar parameters
    other = Predictor(RelationalTransformer(config), SETTINGS, store.parent)
    with pytest.raises(InputError, match="fitted on another model"):
        other.predict(raw, "mean-amount", [1], head=head, show_progress=False)
    longer = replace(SETTINGS, context_length=3000, recipe=Recipe(width=(501, 7)), batch_size=4)
    wider = Predictor(predictor.model, longer, store.parent)
    head.save(tmp_path / "head")
    line = "on contexts of context_length 2000, not 3000, width 500, not 501: give the same, or"
    with pytest.raises(InputError, match=line):
        wider.predict(raw, "mean-amount", [1], head=Head.load(tmp_path / "head"))
    older = replace(head, contexts={})  # does not say
    assert len(wider.predict(raw, "mean-amount", [1], head=older, show_progress=False)) == 1


def test_names_of_classes_are_kept(tmp_path: Path) -> None:
    none = np.zeros(1)
    head = Head("a/b", "multiclass_classification", none, none, none[:, None], none, ("x\ny", ""))
    head.save(tmp_path / "head")
    assert Head.load(tmp_path / "head").classes == ("x\ny", "")


def test_times_far_away_and_keys_as_texts(predictor: Predictor, folders: tuple[Path, Path]) -> None:
    raw, store = folders
    late = predictor.predict(raw, "mean-amount", [1], at="9999-12-31", show_progress=False)
    assert len(late) == 1
    for at in ("0001-01-01", "1500-01-01", "2019-12-31 23:59:59"):
        with pytest.raises(InputError, match=f"{at}.* is before every .* first is 2020-01-01 00"):
            predictor.predict(raw, "mean-amount", [1], at=at, show_progress=False)
    assert seconds(["1969-12-31 23:59:58.5", "1970-01-01 00:00:00.1"], "x").tolist() == [-1, 1]
    assert predictor.predict(raw, "mean-amount", [], show_progress=False).empty
    days = ["2022-12-01", "2022-11-01 10:00", "2022-11-01T10:00:00+01:00"]
    assert (np.array(seconds(days, "x")) // 3600 % 24).tolist() == [0, 10, 9]
    kinds = [pd.Timestamp("2022-12-01", tz="UTC"), datetime.date(2022, 12, 1), "2022-12-01T00:00Z"]
    assert len(set(seconds(kinds, "x"))) == 1
    with pytest.raises(InputError, match=r"x: 'soon' is no time in ISO 8601; write 2026-01-31"):
        seconds(["2022-12-01", "soon"], "x")
    with pytest.raises(InputError, match="x: 1 times are missing"):
        seconds(["2022-12-01", ""], "x")
    texts = predictor.predict(raw, "mean-amount", ["005", "1"], show_progress=False)
    assert texts.shop.tolist() == [5, 1]
    entities = Entities(raw, store, open_meta(store), "shops")
    assert entities.typed(pd.Series(["1", "b"])).tolist() == ["1", "b"]
    entities._index.kind = "text"  # texts are what they are where the table's keys are texts
    assert entities.typed(pd.Series(["007"])).tolist() == ["007"]


def test_an_entity_is_there_from_its_own_time_on(folders: tuple[Path, Path]) -> None:
    store = folders[1]
    meta = open_meta(store)
    (task,) = load_tasks(store, ["mean-amount"])
    sales = replace(task, entity_table="sales")  # those have a time
    first = meta.tables[meta.table("sales")].rows[0]
    rows = np.array([first, first + 4, first + 8], np.uint32)  # four a day
    asked = pd.DataFrame({"sale": [0, 4, 8], "timestamp": "2020-01-02"})
    times = seconds(asked.timestamp, "x")
    check_known(store, meta, sales, asked[:2], times[:2], rows[:2])
    with pytest.raises(InputError) as raised:
        check_known(store, meta, sales, asked, times, rows)
    assert str(raised.value) == (
        "task mean-amount: the row of sales with sale 8 is not there yet at 2020-01-02 00:00:00: "
        "its day is 2020-01-03 00:00:00; give a later time (1 of 3 rows are too early)"
    )
    shop = np.zeros(1, np.uint32)  # has none: it is always there
    check_known(store, meta, task, asked[:1], times[:1], shop)


def test_keys_of_ones_own(predictor: Predictor, folders: tuple[Path, Path]) -> None:
    raw = folders[0]
    numbers = predictor.predict(raw, "mean-amount", [4, 0, 3], show_progress=False)
    named = ["Bath", "Ayr", "Wem"]
    found = predictor.predict(raw, "mean-amount", named, key="town", show_progress=False)
    assert found.town.tolist() == named
    assert found.prediction.tolist() == numbers.prediction.tolist()
    first = predictor.explain(raw, "mean-amount", 4, by="table", num_contexts=1)
    again = predictor.explain(raw, "mean-amount", "Bath", key="town", by="table", num_contexts=1)
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(InputError, match="no row has the town 'York'"):
        predictor.predict(raw, "mean-amount", ["York"], key="town", show_progress=False)
    with pytest.raises(InputError, match=r"sales\.day is not unique: 2020-01-01 .* in 4 rows"):
        predictor.predict(raw, "returned", ["2020-01-01"], key="day", show_progress=False)
    with pytest.raises(InputError, match="no column 'towns' to name rows by: did you mean 'town'"):
        predictor.predict(raw, "mean-amount", ["York"], key="towns", show_progress=False)


@pytest.mark.parametrize("keys", [[70, 10, 20, 60, 30, 0], "texts"])
def test_keys_of_the_source(
    keys: list[int] | str, predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """The row that an import has numbered 2 is not the one whose key was 2, or 00002."""
    raw = Path(shutil.copytree(folders[0], tmp_path / folders[0].name))
    size = len(pd.read_parquet(raw / "db/shops.parquet"))
    found = [f"{size - 1 - n:05}" for n in range(size)] if keys == "texts" else None
    found = found or list(keys)
    (raw / "keys").mkdir()
    pd.DataFrame({"shop": found}).to_parquet(raw / "keys/shops.parquet")
    store = folders[1]

    def rows(asked: list, key: str | None = None) -> list[int]:
        entities = Entities(raw, store, open_meta(store), "shops", key)
        return entities.rows(entities.typed(pd.Series(asked))).tolist()

    numbers = rows([2, 0, 1], "shop")
    named = [found[2], found[0], found[1]]
    assert rows(named, "original") == numbers
    assert rows([str(one) for one in named], "original") == numbers
    missing = "'99999'" if keys == "texts" else "99999"
    with pytest.raises(InputError, match=f"no row has the shop of the source {missing}"):
        rows(["99999"], "original")
    if keys == "texts":
        assert rows(named) == numbers
        assert rows([2, 0, 1]) == numbers
        by_number = r"of the source '2'; to name rows by the numbers .* key=shop \(--key shop\)$"
        with pytest.raises(InputError, match=by_number):
            rows(["2"])
        with pytest.raises(InputError, match=r"of the source 'two'$"):
            rows(["two"])
    else:
        with pytest.raises(InputError, match=r"70 may be .* say which, key=original or key=shop"):
            rows(["70"])
    pd.DataFrame({"shop": found[1:]}).to_parquet(raw / "keys/shops.parquet")
    with pytest.raises(InputError, match=r"keys/shops.parquet: .* import the database again"):
        rows(named, "original")
    shutil.rmtree(raw / "keys")
    with pytest.raises(InputError, match=r"keys/shops.parquet is missing: name rows of shops by"):
        rows(named, "original")


def test_keys_of_several_parts(
    predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """One key: a tuple, or its parts with commas between them; a frame has a column of each."""
    raw = Path(shutil.copytree(folders[0], tmp_path / folders[0].name))
    (raw / "keys").mkdir()
    days = pd.to_datetime(["2020-01-01", "2020-01-02"] * 3)
    kept = pd.DataFrame({"city": ["Ely, C", "Ely, C", "7", "7", "Rye", "Rye"], "opened": days})
    kept.insert(0, "no", [1, 1, 1, 2, 2, 2])
    kept.to_parquet(raw / "keys/shops.parquet")

    def asked(rows: object, at: str | None = "2020-03-01") -> pd.DataFrame:
        return predictor.predict(
            raw, "mean-amount", rows, at=at, key="original", show_progress=False
        )

    numbers = predictor.predict(raw, "mean-amount", [4, 0], at="2020-03-01", show_progress=False)
    found = asked(["2,Rye,2020-01-01", '1,"Ely, C",2020-01-01'])
    assert found.columns.tolist() == ["no", "city", "opened", "timestamp", "prediction"]
    assert found[["no", "city"]].to_numpy().tolist() == [[2, "Rye"], [1, "Ely, C"]]
    assert found.prediction.tolist() == numbers.prediction.tolist()
    rows = pd.DataFrame({"city": ["Rye", "Ely, C"], "opened": days[[0, 0]], "no": ["2", "1"]})
    rows["timestamp"] = "2020-03-01"
    for same in (rows, [(2, "Rye", days[0]), (1, "Ely, C", days[0])]):
        at = None if same is rows else "2020-03-01"
        assert asked(same, at).prediction.tolist() == numbers.prediction.tolist()
    one = predictor.predict(raw, "mean-amount", 3, at="2020-03-01", show_progress=False)
    for key in ("2,7,2020-01-02", (2, "7", days[1])):
        assert asked(key).prediction.tolist() == one.prediction.tolist()
    wrong = {
        "2,Rye": "has 2 of the 3 parts no, city, opened: write one key as 'no,city,opened'",
        "x,Rye,2020-01-01": "its keys' no is int64",
        "9,Rye,2020-01-01": "no row has the no,city,opened of the source '9,Rye,2020-01-01",
    }
    for key, message in wrong.items():
        with pytest.raises(InputError) as raised:
            asked(key)
        assert message in str(raised.value)
    with pytest.raises(InputError, match="no column 'city': rename 'citi'"):
        asked(rows.rename(columns={"city": "citi"}), None)
    with pytest.raises(InputError, match=r"to name rows by no, city, opened, .* key=original"):
        predictor.predict(raw, "mean-amount", ["2,7,2020-01-02"], show_progress=False)
    # numbers of the import are no keys of several parts
    assert len(predictor.predict(raw, "mean-amount", ["3"], show_progress=False)) == 1


def test_the_command(
    predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from scripts.predict import main, read_rows

    raw, store = folders
    context = {"context_length": 64, "recipes": {"published": {}}}
    checkpoint = save_pretrained(predictor.model, tmp_path / "model", Settings(EMBEDDER, context))

    def command(*words: object) -> str:
        given = [checkpoint, raw, *words, "--pre_dir", store.parent]
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, given)])
        main()
        said = capsys.readouterr()
        noted.append(said.err)
        return said.out

    noted: list[str] = []
    # the last sale is of 2020-02-29, and the task looks two days ahead
    late = ("mean-amount", "--entities", 1, 5, "--at", "2020-03-04")
    assert command(*late).split()[:3] == ["shop", "timestamp", "prediction"]
    assert "between then and 2020-03-04 00:00:00 is not known" in noted[-1]
    command("mean-amount", "--entities", 1, 5, "--at", "2020-03-01")
    assert "note" not in noted[-1]
    command("mean-amount", "--entities", 1, 5, "--at", "2020-01-05")
    assert "note: 2020-01-05 00:00:00 lies before the validation timestamp 2020-" in noted[-1]
    path = tmp_path / "found.parquet"
    head = tmp_path / "head.safetensors"
    assert "rows" in command("any-returned", "--out", path, "--fit_head", head)
    first = pd.read_parquet(path)
    command("any-returned", "--out", tmp_path / "found.csv", "--head", head)
    again = pd.read_csv(tmp_path / "found.csv")
    assert again.prediction.tolist() == pytest.approx(first.prediction.tolist())
    asked = tmp_path / "asked.csv"
    first[["shop", "timestamp"]].to_csv(asked, index=False)
    command("any-returned", "--rows", asked, "--out", path)
    assert pd.read_parquet(path).shop.tolist() == first.shop.tolist()
    asked.write_text("shop,timestamp\n005,2020-02-20\nNA,2020-02-20\n")
    assert read_rows(asked).shop.tolist() == ["005", "NA"]
    with pytest.raises(InputError, match="--split is of label rows: leave it out where"):
        command("mean-amount", "--entities", 1, "--split", "val")
    with pytest.raises(InputError, match="give --head or --fit_head, not both"):
        command("any-returned", "--head", head, "--fit_head", head)
    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "fit_head", lambda *_, **__: pytest.fail("a head was fitted"))
        with pytest.raises(InputError, match="has the shop 99"):
            command("mean-amount", "--entities", 99, "--fit_head", head)
    for cells in (0, 3, 15):
        with pytest.raises(
            InputError, match=f"--context_length must be 16 cells or more, not {cells}"
        ):
            command("any-returned", "--context_length", cells)
    with pytest.raises(InputError, match="the name must end in"):
        command("any-returned", "--out", tmp_path / "found.txt")


@pytest.mark.parametrize("script", ["predict", "explain"])
def test_a_command_names_the_embedder_of_a_pt_file(
    predictor: Predictor, folders: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str,
) -> None:  # fmt: skip
    main = importlib.import_module(f"scripts.{script}").main
    raw, store = folders
    torch.save(predictor.model.state_dict(), tmp_path / "model.pt")
    row = {"predict": ["--entities", "1"], "explain": ["1", "--num_contexts", "1"]}[script]
    given = [script, tmp_path / "model.pt", raw, "mean-amount", *row, "--pre_dir", store.parent]
    given = [str(word) for word in [*given, "--context_length", 64]]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(InputError, match="give embedder=NAME, or the option --embedder NAME"):
        main()
    monkeypatch.setattr("sys.argv", [*given, "--embedder", EMBEDDER])
    main()
    assert {"predict": "prediction", "explain": "effect"}[script] in capsys.readouterr().out


@pytest.mark.parametrize(("cells", "contexts"), [(10**9, 163), (16_000, 160), (7, 1)])
def test_contexts_at_a_time_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, contexts: int
) -> None:
    """A quarter of what is free holds so many cells."""
    model = varied_model()
    cell_bytes = 4 * (8 * model.config.d_model + 4 * model.config.d_ff)
    context = {"context_length": [100], "recipes": {"published": {}}}
    checkpoint = save_pretrained(model, tmp_path / "model", Settings(EMBEDDER, context))
    monkeypatch.setattr("rt.memory.free_memory", lambda place: 4 * cell_bytes * cells)
    found = Predictor.from_pretrained(checkpoint, device="cpu")
    assert found.settings.batch_size == contexts
