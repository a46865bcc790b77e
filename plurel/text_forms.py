"""What is made of words: sentences, names, addresses, and what types like JSON and UUID hold."""

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plurel.sql_model import SqlType

if TYPE_CHECKING:
    from plurel.text import Words

Strings = NDArray[np.object_]
Maker = Callable[["Words", SqlType], Strings]
_SHORT, _LONG = 4, 14
_CODES = 16


def _strings(items: list[Any]) -> Strings:
    # a None behind keeps numpy from looking inside of the items
    return np.array([*items, None], dtype=object)[:-1]


def _words_of(words: "Words", most: int) -> list[list[str]]:
    """One to `most` words a row."""
    counts = words.rng.integers(1, most, size=words.rows, endpoint=True).tolist()
    drawn = [words.draw("topics") for _ in range(most)]
    return [[column[row] for column in drawn[:count]] for row, count in enumerate(counts)]


def _title(words: "Words", kind: SqlType) -> Strings:
    most = _SHORT if kind.length is None else max(1, min(_SHORT, kind.length // 8))
    return _strings([" ".join(parts).capitalize() for parts in _words_of(words, most)])


def _sentence(words: "Words", kind: SqlType) -> Strings:
    most = _LONG if kind.length is None else max(2, min(_LONG, kind.length // 8))
    return _strings([" ".join(parts).capitalize() + "." for parts in _words_of(words, most)])


def _of(pool: str) -> Maker:
    return lambda words, kind: words.draw(pool)


def _joined(pattern: str, *parts: str) -> Maker:
    """A pattern with {0}, {1} ...: words of the pools named, or as many digits as a number says."""

    def make(words: "Words", kind: SqlType) -> Strings:
        columns = [
            words.digits(int(part)) if part.isdigit() else words.draw(part) for part in parts
        ]
        return _strings([pattern.format(*row) for row in zip(*columns, strict=True)])

    return make


def _lowered(maker: Maker) -> Maker:
    return lambda words, kind: _strings([text.lower() for text in maker(words, kind)])


def _code(words: "Words", kind: SqlType) -> Strings:
    """One of a few codes of capital letters, of the type's length if it is short."""
    width = min(kind.length or 5, 5)
    letters = words.rng.integers(26, size=(_CODES, max(width, 1))).tolist()
    codes = sorted({"".join(chr(65 + letter) for letter in row) for row in letters})
    low, high = np.quantile(words.latent, [0.02, 0.98])
    share = (words.latent - low) / max(float(high - low), 1e-8)
    noisy = np.clip(share + 0.15 * words.rng.normal(size=words.rows), 0, 1 - 1e-9)
    return _strings([codes[place] for place in (noisy * len(codes)).astype(np.int64).tolist()])


def _hex(words: "Words", kind: SqlType) -> Strings:
    width = min(kind.length or 40, 40)
    raw = words.rng.bytes(words.rows * 20)
    return _strings([raw[20 * r : 20 * r + 20].hex()[:width] for r in range(words.rows)])


def _uuid(words: "Words", kind: SqlType) -> Strings:
    raw = words.rng.bytes(words.rows * 16)
    return _strings(
        [str(uuid.UUID(bytes=raw[16 * r : 16 * r + 16], version=4)) for r in range(words.rows)]
    )


def _bits(words: "Words", kind: SqlType) -> Strings:
    width = kind.length or 8
    bits = words.rng.integers(2, size=(words.rows, width)).astype(str)
    return _strings(["".join(row) for row in bits])


def _json(words: "Words", kind: SqlType) -> Strings:
    keys, values, numbers = words.draw("topics"), words.draw("topics"), words.digits(2)
    return _strings(
        [
            json.dumps({"tag": key, "value": value, "count": int(number)})
            for key, value, number in zip(keys, values, numbers, strict=True)
        ]
    )


def _array(words: "Words", kind: SqlType) -> Strings:
    """A PostgreSQL array; the type's name says of what, and only texts and numbers are made."""
    parts = _words_of(words, 3)
    if kind.values or not any(
        name in kind.spelled.upper() for name in ("INT", "NUMERIC", "DOUBLE")
    ):
        return _strings(["{" + ",".join(row) + "}" for row in parts])
    return _strings(["{" + ",".join(str(len(word)) for word in row) + "}" for row in parts])


def _point(words: "Words", kind: SqlType) -> Strings:
    east = np.clip(words.latent * 40 + words.rng.normal(size=words.rows), -180, 180)
    north = words.rng.uniform(-80, 80, size=words.rows)
    return _strings(
        [f"POINT({x:.4f} {y:.4f})" for x, y in zip(east.tolist(), north.tolist(), strict=True)]
    )


def _interval(words: "Words", kind: SqlType) -> Strings:
    days = np.exp(words.latent + 2).astype(np.int64) + 1
    return _strings([f"{count} days" for count in days.tolist()])


FORMS: dict[str, Maker] = {
    "title": _title,
    "sentence": _sentence,
    "code": _code,
    "hash": _hex,
    "uuid": _uuid,
    "bits": _bits,
    "json": _json,
    "array": _array,
    "point": _point,
    "interval": _interval,
    "xml": _joined("<item><name>{0}</name><kind>{1}</kind></item>", "topics", "topics"),
    "hstore": _joined('"name"=>"{0}", "kind"=>"{1}"', "topics", "topics"),
    "inet": _joined("10.{0}.{1}.{2}", "2", "2", "2"),
    "macaddr": _joined("02:{0}:{1}:{2}:{3}:{4}", "2", "2", "2", "2", "2"),
    "email": _lowered(_joined("{0}.{1}@{2}.example", "first", "last", "topics")),
    "person": _joined("{0} {1}", "first", "last"),
    "login": _lowered(_joined("{0}{1}", "first", "2")),
    "company": _joined("{0} {1}", "last", "ending"),
    "phone": _joined("+{0} {1} {2}", "2", "3", "6"),
    "url": _joined("https://{0}.example/{1}", "topics", "topics"),
    "postal": _joined("{0}", "5"),
    "address": _joined("{1} {0} Street", "street", "2"),
    **{name: _of(name) for name in ("first", "last", "city", "country", "state", "language")},
    **{name: _of(name) for name in ("color", "currency", "job", "genre")},
}
