"""A forecast in one line of text.

    count(orders, 30 days) = 0 for customers if exists(orders, past 90 days)
    sum(lines.amount where status = 'paid' via order_id.customer_id, 4 weeks) for customers
    last(orders.channel, 1 day) for customers where country = 'DE'

    forecast  = aggregate [comparison value] "for" table ["where" filter]
                ["if" past aggregate [comparison value]]
    aggregate = name "(" table ["." column] ["where" filter] ["via" column {"." column}] ","
                ["past"] number unit ")"

The window of the forecast is (t, t + window] after a seed time t, that of the condition, which
begins with `past`, is (t - window, t]. A filter is an SQL condition on the columns of its table;
`via` names the foreign keys that lead from the events to the entity where there are several ways.
This module knows the text alone; `rt.defining.forecast_sql` knows the database.
"""

import re
from dataclasses import dataclass

from plurel.errors import InputError
from plurel.nearest import nearest

AGGREGATES = ("count", "exists", "distinct", "sum", "mean", "min", "max", "first", "last")
ROWS = ("count", "exists")
"""Aggregates of rows; the others are of a column."""
COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
LONGEST = 106_751 * UNITS["day"]
"""Seconds of the longest window of a forecast: pandas has no longer lengths of time."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")|(?P<number>\d+(?:\.\d+)?)"""
    r"""|(?P<name>[^\W\d]\w*)|(?P<sign><=|>=|<>|!=|\|\||::|[-=<>(),.+*/%])|(?P<other>\S))"""
)
_ENDS = ("for", "if", "via", "where")


@dataclass(frozen=True)
class Token:
    """kind: text, quoted, number, name, sign or end; start, end: its place in the line."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The keyword that it may be, "" for anything but a bare name."""
        return self.text.lower() if self.kind == "name" else ""


@dataclass(frozen=True)
class Aggregate:
    """What is computed of the events of one entity in a window.

    filter: SQL over the events' columns, "" for none; via: foreign keys from the events to the
    entity, () for the only way. seconds: length of the window. comparison: (sign, value as SQL).
    """

    name: str
    table: str
    column: str | None
    filter: str
    via: tuple[str, ...]
    seconds: int
    comparison: tuple[str, str] | None


@dataclass(frozen=True)
class Forecast:
    """`target` after a seed time, for the rows of a table that pass `filter` and `condition`."""

    target: Aggregate
    entity: str
    filter: str
    condition: Aggregate | None


def parse_forecast(line: str) -> Forecast:
    """The forecast that a line describes; InputError that shows where it goes wrong."""
    return _Parser(line).forecast()


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.tokens = []
        for found in _TOKEN.finditer(line.rstrip()):
            kind = str(found.lastgroup)
            self.tokens.append(Token(kind, found[kind], *found.span(kind)))
        self.place = 0

    @property
    def token(self) -> Token:
        """The next token."""
        length = len(self.line)
        return (
            self.tokens[self.place]
            if self.place < len(self.tokens)
            else Token("end", "", length, length)
        )

    def forecast(self) -> Forecast:
        """The whole line."""
        target = self.aggregate(past=False)
        self.keyword("for", "the table of the entities")
        entity, condition = self.name("a table"), None
        where = self.filter() if self.accept("where") else ""
        if self.accept("if"):
            condition = self.aggregate(past=True)
        if self.token.kind != "end":
            raise self.error("nothing more")
        return Forecast(target, entity, where, condition)

    def aggregate(self, past: bool) -> Aggregate:
        """A call and what it is compared with; past: the window must, or must not, begin so."""
        name = self.function()
        self.sign("(")
        table, column = self.name("a table"), None
        if self.accept("."):
            column = self.name("a column")
        self.check_column(name, table, column)
        where = self.filter() if self.accept("where") else ""
        via: list[str] = []
        if self.accept("via"):
            via.append(self.name("a foreign key"))
            while self.accept("."):
                via.append(self.name("a foreign key"))
        self.sign(",")
        seconds = self.window(past)
        self.sign(")")
        comparison = self.comparison()
        return Aggregate(name, table, column, where, tuple(via), seconds, comparison)

    def function(self) -> str:
        """The name of an aggregate."""
        if self.token.word not in AGGREGATES:
            near = nearest(self.token.word, AGGREGATES)
            raise self.error(f"{near}, perhaps" if near else f"one of {', '.join(AGGREGATES)}")
        return self.next().word

    def check_column(self, name: str, table: str, column: str | None) -> None:
        """InputError for a column too many or too few."""
        if name in ROWS and column is not None:
            raise InputError(
                f"{self.line!r}: {name} is of rows: write {name}({table}, ...), with a filter "
                f"such as {name}({table} where {column} is not null, ...)"
            )
        if name not in ROWS and column is None:
            raise InputError(f"{self.line!r}: {name} is of a column: write {table}.<column>")

    def filter(self) -> str:
        """The SQL of a filter: up to a keyword or a comma outside of parentheses."""
        start, depth, first = self.token.start, 0, self.place
        while self.token.kind != "end":
            token = self.token
            ends = token.word in _ENDS or (token.text in (",", ")") and token.kind == "sign")
            if depth == 0 and ends:
                break
            depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0
            self.place += 1
        if self.place == first:
            raise self.error("a condition")
        return self.line[start : self.tokens[self.place - 1].end].strip()

    def window(self, past: bool) -> int:
        """The seconds of a window."""
        if past:
            self.keyword("past", "of a condition the window is before the seed time")
        elif self.token.word == "past":
            raise self.error("a window after the seed time, without past")
        number = self.token
        if number.kind != "number" or "." in number.text or int(number.text) == 0:
            raise self.error("a whole number of units, such as 30 days")
        self.place += 1
        unit = self.token.word.removesuffix("s")
        if unit not in UNITS:
            known = ", ".join(f"{name}s" for name in UNITS)
            raise self.error(f"one of {known} (months and years differ in length: write days)")
        text, seconds = f"{number.text} {self.next().text}", int(number.text) * UNITS[unit]
        return seconds if past else checked_seconds(seconds, text)

    def comparison(self) -> tuple[str, str] | None:
        """A sign and a literal, if there is a sign."""
        if self.token.kind != "sign" or self.token.text not in COMPARISONS:
            return None
        sign, minus = self.next().text, "-" if self.accept("-") else ""
        token = self.token
        literal = token.kind == "number" or (
            not minus and (token.kind == "text" or token.word in ("true", "false"))
        )
        if not literal:
            raise self.error("a number, a text in single quotes, true or false")
        return ("<>" if sign == "!=" else sign), minus + self.next().text

    def name(self, what: str) -> str:
        """A name, bare or in double quotes."""
        token = self.token
        if token.kind == "quoted":
            return self.next().text[1:-1].replace('""', '"')
        if token.kind != "name":
            raise self.error(what)
        return self.next().text

    def keyword(self, word: str, why: str) -> None:
        """This word, or an InputError."""
        if not self.accept(word):
            raise self.error(f"'{word}' ({why})")

    def sign(self, text: str) -> None:
        """This sign, or an InputError."""
        if not self.accept(text):
            raise self.error(f"'{text}'")

    def accept(self, text: str) -> bool:
        """Whether the next token was this keyword or sign, which is then read."""
        token = self.token
        found = token.word == text or (token.kind == "sign" and token.text == text)
        self.place += found
        return found

    def next(self) -> Token:
        """The next token, read."""
        token = self.token
        self.place += 1
        return token

    def error(self, wanted: str) -> InputError:
        """What was expected and what is there."""
        token = self.token
        found = f"'{token.text}'" if token.kind != "end" else "the end"
        return InputError(
            f"{self.line!r}, position {token.start + 1}: expected {wanted}, found {found}"
        )


def checked_seconds(seconds: int, text: str) -> int:
    """The seconds of a window, written as `text`; InputError if a forecast can't be so long."""
    if seconds > LONGEST:
        raise InputError(
            f"the window {text!r} is longer than {LONGEST // UNITS['day']:,} days: write less"
        )
    return seconds


def duration(seconds: int) -> str:
    """A window in the largest unit that divides it: "30 days"."""
    unit = next(u for u in ("day", "hour", "minute", "second") if seconds % UNITS[u] == 0)
    count = seconds // UNITS[unit]
    return f"{count} {unit}{'' if count == 1 else 's'}"
