"""What an import will do: keys, times and timestamps, and why each was proposed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from plurel.errors import InputError

DECLARED = "declared"
"""Why a key is there that the source itself declares."""
PLANNED = "by the plan"
"""Why one is there that a person's plan says."""


@dataclass(frozen=True)
class KeyPlan:
    """A foreign key of a table: `columns` hold values of the columns `to` of table `references`.

    accept: whether it becomes one. share: of the rows with a value, those that match; None where
    there are none, or where it has not been measured. sure: whether --accept may take it; what only
    small whole numbers speak for is left to a person.
    """

    columns: tuple[str, ...]
    references: str
    to: tuple[str, ...]
    accept: bool = True
    share: float | None = None
    why: str = DECLARED
    sure: bool = True


@dataclass(frozen=True)
class TablePlan:
    """primary_key: columns, () for none. time_column: when a row came to be, None for never, or
    time_from: foreign keys, each by its columns, the latest of whose parents' times it is, ().
    since_1970: columns of whole numbers that count seconds or milliseconds since then, which become
    times. leave_out: columns that are not imported. keep_key: whether the values of the primary key
    stay as a column beside the numbers; None: where they are text that says something. ask_time:
    whether only a person can say what the time is.

    why_*: for the table of proposals and the comments of the file; DECLARED, a reason, or "".
    """

    primary_key: tuple[str, ...] = ()
    time_column: str | None = None
    time_from: tuple[tuple[str, ...], ...] = ()
    since_1970: tuple[str, ...] = ()
    foreign_keys: tuple[KeyPlan, ...] = ()
    leave_out: tuple[str, ...] = ()
    keep_key: bool | None = None
    ask_time: bool = False
    why_key: str = ""
    why_time: str = ""
    why_left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The whole import. name: of the database, "" for that of the folder. Timestamps are written
    2024-07-01 or with a time, UTC; None: to be proposed."""

    name: str
    tables: dict[str, TablePlan]
    val_timestamp: str | None = None
    test_timestamp: str | None = None

    def time_sources(self, name: str) -> list[KeyPlan]:
        """The foreign keys that a table's `time_from` names; columns that reference several tables
        mean those with times."""
        found, table = [], self.tables[name]
        for columns in table.time_from:
            keys = [key for key in table.foreign_keys if key.columns == columns]
            found += [key for key in keys if self.has_time(key.references)] or keys[:1]
        return found

    def has_time(self, name: str) -> bool:
        """Whether a table is imported and has times, of its own or of other rows."""
        table = self.tables.get(name)
        return table is not None and bool(table.time_column or table.time_from)

    def references(self) -> Iterator[tuple[str, KeyPlan]]:
        """All foreign keys, with their tables."""
        for name, table in self.tables.items():
            for key in table.foreign_keys:
                yield name, key

    def undecided(self) -> int:
        """How many keys were proposed and neither declared nor accepted by anybody."""
        own = [t for t in self.tables.values() if t.primary_key and t.why_key != DECLARED]
        return len(own) + sum(key.why != DECLARED for _, key in self.references())


def accepted(plan: Plan, share: float) -> Plan:
    """The plan with those proposals accepted of which at least that share of rows matches."""
    if not 0 < share <= 1:
        raise InputError(f"--accept {share}: give a share of rows above 0, at most 1, such as 0.99")

    def decided(key: KeyPlan) -> KeyPlan:
        if key.why == DECLARED:
            return key
        return replace(key, accept=key.sure and (key.share is None or key.share >= share))

    tables = {
        name: replace(table, foreign_keys=tuple(map(decided, table.foreign_keys)))
        for name, table in plan.tables.items()
    }
    return replace(plan, tables=tables)
