"""Texts that say something about their row: words whose chances follow the row's latent value.

A column's model gives every row a number. A random smooth function of that number, a few sines,
gives the chances of topics, and each word is drawn from a topic. So a text is a noisy, learnable
sign of the row's state, as free text in real databases is. What is made of the words (a sentence,
an address, an e-mail) follows the column's type and name.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel.sql_model import SqlColumn, SqlType
from plurel.text_forms import FORMS, Maker
from plurel.vocabulary import LISTS, TOPICS

Strings = NDArray[np.object_]
F64 = NDArray[np.float64]
_WAVES = 3
_SHARPNESS = 1.5
_GROUPS = 6
_CLIP = 4.0
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass
class Words:
    """A source of words for rows with the latent values `latent` f64[rows]."""

    latent: F64
    rng: np.random.Generator

    def __post_init__(self) -> None:
        deviation = float(self.latent.std())
        scaled = (self.latent - self.latent.mean()) / max(deviation, 1e-8)
        self.latent = np.clip(np.nan_to_num(scaled), -_CLIP, _CLIP)
        self._chances: dict[str, tuple[F64, list[Sequence[str]]]] = {}

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.latent)

    def draw(self, pool: str) -> Strings:
        """One word a row out of a list of the vocabulary, or "topics"."""
        cumulative, groups = self._pool(pool)
        topic = (self.rng.random(self.rows)[:, None] > cumulative).sum(axis=1)
        # a few words of each topic are frequent: the square of a uniform number
        share = self.rng.random(self.rows) ** 2
        words = np.empty(self.rows, dtype=object)
        for number, group in enumerate(groups):
            mine = topic == number
            places = np.minimum((share[mine] * len(group)).astype(np.int64), len(group) - 1)
            words[mine] = np.array(group, dtype=object)[places]
        return words

    def digits(self, count: int) -> Strings:
        """`count` random digits a row."""
        numbers = self.rng.integers(10**count, size=self.rows).tolist()
        return np.array([f"{number:0{count}d}" for number in numbers], dtype=object)

    def _pool(self, pool: str) -> tuple[F64, list[Sequence[str]]]:
        """Cumulative chances of all topics but the last, f64[rows, topics - 1]; their words."""
        if pool not in self._chances:
            groups = self._groups(pool)
            shape = (_WAVES, len(groups))
            size = self.rng.normal(size=shape)
            frequency = np.exp(self.rng.uniform(np.log(0.3), np.log(3.0), size=shape))
            phase = self.rng.uniform(0, 2 * np.pi, size=shape)
            waves = size * np.sin(self.latent[:, None, None] * frequency + phase)
            scores = np.exp(_SHARPNESS * waves.sum(axis=1))
            cumulative = np.cumsum(scores / scores.sum(axis=1, keepdims=True), axis=1)
            self._chances[pool] = cumulative[:, :-1], groups
        return self._chances[pool]

    def _groups(self, pool: str) -> list[Sequence[str]]:
        """The words by topic, in random order within each (the first are the frequent ones)."""
        if pool == "topics":
            chosen = self.rng.permutation(len(TOPICS))[:_GROUPS]
            lists = [TOPICS[number] for number in chosen]
            return [[words[k] for k in self.rng.permutation(len(words))] for words in lists]
        words = LISTS[pool]
        shuffled = [words[place] for place in self.rng.permutation(len(words))]
        return [group for k in range(_GROUPS) if (group := shuffled[k::_GROUPS])]


def generate_text(
    latent: F64, column: SqlColumn, unique: bool, rng: np.random.Generator
) -> Strings:
    """One text a row, within the column's bounds of length; all of them distinct if `unique`.

    latent: the row's value of the column's node, f64[rows].
    """
    kind = column.type
    words = Words(latent.astype(np.float64), rng)
    texts = _fit(_maker(column)(words, kind), kind)
    if not unique or len(set(texts.tolist())) == len(texts):
        return texts
    texts = _with_numbers(texts, kind)
    if len(set(texts.tolist())) == len(texts):
        return texts
    return spell_codes(column, len(texts), rng)


def _maker(column: SqlColumn) -> Maker:
    """What a column's texts look like, by its type's form, else by its name, else its length."""
    kind = column.type
    if kind.form in FORMS:
        return FORMS[kind.form]
    if kind.length is not None and kind.length <= 3 and not re.search("state", column.name, re.I):
        return FORMS["code"]
    for pattern, form in _BY_NAME:
        if re.search(pattern, column.name, re.IGNORECASE):
            return FORMS[form]
    return FORMS["title" if kind.length is not None and kind.length <= 80 else "sentence"]


_BY_NAME = (
    (r"descr|comment|notes?$|_text|body|content|summary|review|remark|message|bio", "sentence"),
    (r"e_?mail", "email"),
    (r"first_?name|given_?name|^fname", "first"),
    (r"last_?name|sur_?name|family_?name|^lname", "last"),
    (r"user_?name|login|nick", "login"),
    (r"(contact|full|customer|person|employee|author|artist|actor|ship)_?name", "person"),
    (r"compan|organi[sz]|supplier|vendor|brand|manufactur", "company"),
    (r"phone|fax|mobile", "phone"),
    (r"url|website|home_?page|link$|path$", "url"),
    (r"zip|postal|postcode", "postal"),
    (r"city$|town$", "city"),
    (r"country$|nation$", "country"),
    (r"state$|abbr$|province$|district$", "state"),
    (r"address|street", "address"),
    (r"pass(word|wd)|hash|token|secret|salt", "hash"),
    (r"colou?r", "color"),
    (r"currency", "currency"),
    (r"language|locale", "language"),
    (r"genre|categor", "genre"),
    (r"job|position|profession|contact_?title|title_of", "job"),
    (r"code|sku|symbol|isbn|number$|serial|plate", "code"),
    (r"title|name|label|subject|topic", "title"),
)


def _fit(texts: Strings, kind: SqlType) -> Strings:
    """Cut to the longest length, filled up to the shortest."""
    longest, shortest = kind.length, kind.min_length
    cut = [
        (text if longest is None else text[:longest]).rstrip().ljust(shortest, "x")
        for text in texts.tolist()
    ]
    return np.array([*cut, None], dtype=object)[:-1]


def _with_numbers(texts: Strings, kind: SqlType) -> Strings:
    """Texts that occurred before get their row's number (inside of an e-mail, else behind)."""
    width = len(_in_base(len(texts), _ALPHABET))
    seen: set[str] = set()
    made = []
    for row, text in enumerate(texts.tolist()):
        if text in seen:
            mark = _in_base(row, _ALPHABET).rjust(width, "0").lower()
            room = None if kind.length is None else max(kind.length - width - 1, 0)
            if "@" in text and (room is None or len(text) <= room):
                text = text.replace("@", f"{mark}@", 1)
            else:
                text = f"{text[:room].rstrip()}-{mark}"[: kind.length]
        seen.add(text)
        made.append(text)
    return np.array([*made, None], dtype=object)[:-1]


def spell_codes(column: SqlColumn, rows: int, rng: np.random.Generator) -> Any:
    """A distinct code a row: letters and digits, bits, UUIDs or bytes, as the column's type says.

    There must be room for as many (`plurel.sql_domains.capacity`).
    """
    kind = column.type
    if kind.form == "uuid":
        return FORMS["uuid"](Words(np.zeros(rows), rng), kind)
    binary = kind.base == "binary"
    alphabet = "01" if kind.form == "bits" else "0123456789ABCDEF" if binary else _ALPHABET[:26]
    longest = 64 if kind.length is None else kind.length * (2 if binary else 1)
    width = max(len(_in_base(max(rows - 1, 1), alphabet)), 2 * kind.min_length if binary else 0)
    if width > longest and not binary:
        alphabet = _ALPHABET if kind.form != "bits" else alphabet
        width = len(_in_base(max(rows - 1, 1), alphabet))
    width = min(max(width, min(longest, 5), kind.min_length), longest)
    width += width % 2 if binary else 0
    total = len(alphabet) ** width
    # multiplying by a number that shares no factor with the total permutes 0 .. total - 1
    factor = int(total * 0.6180339887) | 1
    while math.gcd(factor, len(alphabet)) != 1:
        factor += 2
    start = int(rng.integers(min(total, 2**62)))
    codes = [
        _in_base((start + row * factor) % total, alphabet).rjust(width, alphabet[0])
        for row in range(rows)
    ]
    made = [bytes.fromhex(code) for code in codes] if binary else codes
    return np.array([*made, None], dtype=object)[:-1]


def _in_base(number: int, alphabet: str) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, len(alphabet))
        digits = alphabet[digit] + digits
    return digits
