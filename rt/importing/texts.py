"""Columns of texts that nearly are numbers or dates, which a person may want to mend."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from rt.importing.staging import Staging

MOST = 0.8
"""The share of values from which on the others are told."""
_ISO = r"\s*\d{4}-\d{2}-\d{2}\s*([ T].*)?"
_DATE = (
    r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}/\d{1,2}/\d{2}"
    r"|\d{1,2}[- .]+[A-Za-z]{3,9}[- ,.]+\d{2,4}|[A-Za-z]{3,9}[ .]+\d{1,2},? +\d{4})\s*([ T].*)?"
)
"""As people write dates: 31.1.2020, 01/31/20, 31 Jan 2020, January 31, 2020."""


@dataclass(frozen=True)
class Mixed:
    """A column of which most texts are of one kind, "numbers" or "dates": how many of them are not,
    of how many, and one of these."""

    column: str
    kind: str
    others: int
    given: int
    example: str

    def __str__(self) -> str:
        wrong = "no numbers" if self.kind == "numbers" else "not written as 2020-01-31"
        return f"{self.others:,} of {self.given:,} values are {wrong}, such as {self.example!r}"


def mixed_texts(staging: Staging, table: str) -> Iterator[Mixed]:
    """The columns of texts that would be numbers or times but for some values."""
    names = [c.name for c in staging.tables[table].columns if pa.types.is_string(c.type)]
    if not names or not staging.num_rows[table]:
        return
    asked = [_facts(place) for place in staging.columns(table, names)]
    (row,) = staging.ask(f"SELECT {', '.join(asked)} FROM {staging.relation(table)}")
    for i, name in enumerate(names):
        given, numbers, dates, iso, no_number, no_iso = row[6 * i : 6 * (i + 1)]
        if MOST * given <= numbers < given:
            yield Mixed(name, "numbers", given - numbers, given, no_number)
        elif MOST * given <= dates and iso < given:
            yield Mixed(name, "dates", given - iso, given, no_iso)


def _facts(c: str) -> str:
    """What is asked of a column: values, numbers, dates of any and of one spelling, and a value
    that is no number, or none of that spelling."""
    number = f"TRY_CAST({c} AS DOUBLE)"
    iso = f"(regexp_full_match({c}, '{_ISO}') AND TRY_CAST({c} AS TIMESTAMPTZ) IS NOT NULL)"
    return (
        f"count({c}), count({number}), count(*) FILTER (regexp_full_match({c}, '{_DATE}')), "
        f"count(*) FILTER ({iso}), min({c}) FILTER ({number} IS NULL), min({c}) FILTER (NOT {iso})"
    )
