"""What an import changed or could not keep, a line each; and the table of keys that it shows."""

import datetime as dt
from collections.abc import Iterator, Mapping

from plurel.cli import counted
from rt.importing.layout import TableLayout
from rt.importing.plan import PLANNED, Plan
from rt.importing.staging import Staging
from rt.importing.texts import mixed_texts
from rt.text_table import aligned


def about_source(plan: Plan, staging: Staging) -> Iterator[str]:
    """What became of tables and columns when they were read."""
    if not any(table.time_column or table.time_from for table in plan.tables.values()):
        yield (
            "warning: no table has a time, so that all rows are always visible, those of the future"
            " as well; name a time_column in the plan"
        )
    yield from _about_timestamps(plan, staging)
    for name, table in plan.tables.items():
        if not staging.num_rows[name]:
            yield f"{name}: has no rows; kept, without a time"
        elif table.time_column is not None:
            missing = staging.nulls(name, [table.time_column])
            if missing:
                yield (
                    f"{name}: {counted(missing, 'row')} without {table.time_column} stand last and "
                    "are always visible"
                )
        for reference in staging.tables[name].references:
            if reference.parent not in plan.tables:
                why = "is not there" if reference.missing else "is not imported"
                yield (
                    f"{name}.{', '.join(reference.columns)}: references {reference.parent}, which "
                    f"{why}: an ordinary column"
                )
        notes = {c.name: c.note for c in staging.tables[name].columns if c.note}
        keys = {*table.primary_key, *(c for key in table.foreign_keys for c in key.columns)}
        for mixed in mixed_texts(staging, name):
            if mixed.column not in keys:
                notes.setdefault(mixed.column, f"{mixed}: it is a text")
        for column_name, note in notes.items():
            if column_name not in table.leave_out:
                yield f"{name}.{column_name}: {note}"
        for column_name in table.leave_out:
            yield f"{name}.{column_name}: left out"


def _about_timestamps(plan: Plan, staging: Staging) -> Iterator[str]:
    """Warnings of splits without any row."""
    ends = []
    for name, table in plan.tables.items():
        if table.time_column is not None:
            given, *found = staging.facts(name)[staging.tables[name].position(table.time_column)]
            ends += found if given else []
    if not ends or plan.val_timestamp is None or plan.test_timestamp is None:
        return
    first, last = min(ends), max(ends)
    if first > dt.datetime.fromisoformat(plan.val_timestamp):
        yield (
            f"warning: no time lies before val_timestamp {plan.val_timestamp}, the first is {first}"
            ": there is nothing to learn from; give a later --val-timestamp"
        )
    if last <= dt.datetime.fromisoformat(plan.test_timestamp):
        yield (
            f"warning: no time lies after test_timestamp {plan.test_timestamp}, the last is {last}"
            ": there is nothing to test on; give an earlier --test-timestamp"
        )


def about_layouts(
    layouts: Mapping[str, TableLayout],
    staging: Staging,
    dangling: Mapping[str, Mapping[str, int]],
) -> Iterator[str]:
    """What became of names and keys when they were written."""
    for name, layout in layouts.items():
        if layout.name != name:
            yield f"{name}: is called {layout.name}"
        for old, new in layout.renamed.items():
            yield f"{name}.{old}: is called {new}"
        if layout.dropped and not _is_whole(staging, name, layout.dropped):
            yield f"{name}.{layout.dropped}: random keys became numbers; keep_key: true keeps them"
        for column, count in dangling[name].items():
            if count:
                yield f"{name}.{column}: {counted(count, 'row')} pointed at nothing: null now"


def _is_whole(staging: Staging, name: str, column: str) -> bool:
    kind = staging.type(name, column)
    return str(kind).startswith(("int", "uint", "decimal"))


def key_table(plan: Plan, staging: Staging) -> str:
    """The keys and times of a plan for a terminal: a row each, with the share that matches."""
    rows = [("", "column", "references", "matching", "why")]
    for name, table in plan.tables.items():
        if table.primary_key:
            rows.append(("+", f"{name}.{', '.join(table.primary_key)}", "", "", table.why_key))
        elif table.why_key not in ("", PLANNED):
            rows.append(("-", name, "", "", table.why_key))
        for key in table.foreign_keys:
            share = "" if key.share is None else f"{100 * key.share:.4g} %"
            parent = plan.tables.get(key.references)
            to = key.to or (parent.primary_key if parent is not None else ())
            target = ".".join(filter(None, [key.references, ", ".join(to)]))
            mark = "+" if key.accept else "?" if key.sure else "-"
            rows.append((mark, f"{name}.{', '.join(key.columns)}", target, share, key.why))
    return "\n".join([*aligned(rows), "", *_times(plan, staging)])


def _times(plan: Plan, staging: Staging) -> Iterator[str]:
    for name, table in plan.tables.items():
        if table.time_column is not None:
            yield f"time of {name}: {table.time_column} ({table.why_time or PLANNED})"
        elif table.time_from:
            keys = " and ".join(", ".join(columns) for columns in table.time_from)
            taken = "that of" if len(table.time_from) == 1 else "the latest of those of"
            yield f"time of {name}: {taken} {keys} ({table.why_time or PLANNED})"
        elif staging.num_rows[name]:
            yield f"time of {name}: none" + (f" ({table.why_time})" if table.why_time else "")
    if plan.val_timestamp is None or plan.test_timestamp is None:
        yield "validation and test: no times to part; name a time_column, or give both timestamps"
    else:
        yield f"validation after {plan.val_timestamp}, test after {plan.test_timestamp}"
