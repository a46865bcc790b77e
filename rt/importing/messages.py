"""What an import changed or could not keep, a line each; and the table of keys that it shows."""

from collections.abc import Iterator, Mapping

from plurel.cli import counted
from rt.importing.layout import TableLayout
from rt.importing.plan import DECLARED, Plan
from rt.importing.staging import Staging
from rt.text_table import aligned


def about_source(plan: Plan, staging: Staging) -> Iterator[str]:
    """What became of tables and columns when they were read."""
    if not any(table.time_column or table.time_from for table in plan.tables.values()):
        yield (
            "warning: no table has a time, so that all rows are always visible, those of the future"
            " as well; name a time_column in the plan"
        )
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
        for column in staging.tables[name].columns:
            if column.note and column.name not in table.leave_out:
                yield f"{name}.{column.name}: {column.note}"
        for column_name in table.leave_out:
            yield f"{name}.{column_name}: left out"


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
        for key in table.foreign_keys:
            share = "" if key.share is None else f"{100 * key.share:.4g} %"
            target = f"{key.references}.{', '.join(key.to)}"
            mark = "+" if key.accept else "?" if key.sure else "-"
            rows.append((mark, f"{name}.{', '.join(key.columns)}", target, share, key.why))
    return "\n".join([*aligned(rows), "", *_times(plan, staging)])


def _times(plan: Plan, staging: Staging) -> Iterator[str]:
    for name, table in plan.tables.items():
        if table.time_column is not None:
            yield f"time of {name}: {table.time_column} ({table.why_time or DECLARED})"
        elif table.time_from:
            keys = " and ".join(", ".join(columns) for columns in table.time_from)
            taken = "that of" if len(table.time_from) == 1 else "the latest of those of"
            yield f"time of {name}: {taken} {keys} ({table.why_time or DECLARED})"
        elif staging.num_rows[name]:
            yield f"time of {name}: none" + (f" ({table.why_time})" if table.why_time else "")
    yield f"validation after {plan.val_timestamp}, test after {plan.test_timestamp}"
