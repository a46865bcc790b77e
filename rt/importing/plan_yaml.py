"""The plan of an import as a YAML file that a person edits, and back.

    name: shop                        # or null: that of the folder
    val_timestamp: 2024-07-01
    test_timestamp: 2025-04-01
    tables:
      orders:                         # 830 rows
        primary_key: order_id         # or [a, b], or null
        time_column: order_date       # or null; or time_from: a foreign key, as below
        since_1970: [paid_at]         # columns of whole numbers: seconds or milliseconds, times
        leave_out: [picture]          # columns
        keep_key: true                # keep the key's own values as a column beside the numbers
        foreign_keys:
          - columns: customer_id      # or [a, b]
            references: customers
            to: customer_id           # by default the primary key there
            accept: true              # by default

A table that is not named is not imported. Rows may take the time of a row that they are part of:
`time_from: order_id`, of a key of two columns `time_from: [shop, number]`, and the latest of
several `time_from: [[user_id], [group_id]]`. Comments say why something was proposed.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from plurel.atomic import complete_file
from plurel.errors import InputError
from plurel.nearest import did_you_mean
from plurel.plain_yaml import load_yaml
from rt.importing.plan import PLANNED, KeyPlan, Plan, TablePlan
from rt.importing.values import moment

_PLAN = ("name", "val_timestamp", "test_timestamp", "tables")
_TABLE = ("primary_key", "time_column", "time_from", "since_1970", "leave_out", "keep_key",
          "foreign_keys")  # fmt: skip
_KEY = ("columns", "references", "to", "accept")
_HEAD = """\
# The plan of an import: edit it, then give it as --plan. A table that is not named is not
# imported; accept: false keeps a column as an ordinary one.
"""


def write_plan(plan: Plan, path: Path, num_rows: Mapping[str, int]) -> None:
    """Write the file, whole or not at all."""
    with complete_file(path) as file:
        file.write_text(plan_text(plan, num_rows), encoding="utf-8")


def plan_text(plan: Plan, num_rows: Mapping[str, int]) -> str:
    """The plan as it stands in its file."""
    lines = [_HEAD.rstrip(), f"name: {_plain(plan.name or None)}"]
    for key in ("val_timestamp", "test_timestamp"):
        lines.append(f"{key}: {_plain(getattr(plan, key))}")
    lines.append("tables:")
    for name, table in plan.tables.items():
        lines += _table_lines(name, table, num_rows.get(name))
    return "\n".join(lines) + "\n"


def _table_lines(name: str, table: TablePlan, num_rows: int | None) -> Iterable[str]:
    yield _commented(f"  {_plain(name)}:", "" if num_rows is None else f"{num_rows:,} rows")
    yield _commented(f"    primary_key: {_columns(table.primary_key)}", table.why_key)
    if not table.time_from:
        yield _commented(f"    time_column: {_plain(table.time_column)}", table.why_time)
    else:
        keys = [list(columns) for columns in table.time_from]
        written = _plain(keys) if len(keys) > 1 else _columns(keys[0])
        yield _commented(f"    time_from: {written}", table.why_time)
    if table.since_1970:
        yield f"    since_1970: {_plain(list(table.since_1970))}  # whole numbers that become times"
    if table.leave_out:
        why = "; ".join(dict.fromkeys(table.why_left_out.values()))
        yield _commented(f"    leave_out: {_plain(list(table.leave_out))}", why)
    if table.keep_key is not None:
        yield f"    keep_key: {_plain(table.keep_key)}"
    if table.foreign_keys:
        yield "    foreign_keys:"
    for key in table.foreign_keys:
        yield _commented(f"      - columns: {_columns(key.columns)}", _reason(key))
        yield f"        references: {_plain(key.references)}"
        yield f"        to: {_columns(key.to)}"
        yield f"        accept: {_plain(key.accept)}"


def _reason(key: KeyPlan) -> str:
    if key.share is None:
        return key.why
    return f"{key.why}; {100 * key.share:.4g} % of rows match"


def _plain(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _columns(names: Sequence[str]) -> str:
    if not names:
        return "null"
    return _plain(names[0] if len(names) == 1 else list(names))


def _commented(line: str, comment: str) -> str:
    return f"{line}  # {' '.join(comment.split())}" if comment else line


def read_plan(path: Path) -> Plan:
    """A plan from its file; InputError names the key that is wrong and the nearest right one."""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the name") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: broken YAML ({' '.join(str(error).split())[:200]})") from None
    found = _mapping(content, _PLAN, f"{path}")
    tables = found.get("tables")
    if not isinstance(tables, dict) or not tables:
        raise InputError(f"{path}: 'tables' must name at least one table")
    return Plan(
        str(found.get("name") or ""),
        {str(name): _table(spec, f"{path}: table {name}") for name, spec in tables.items()},
        *(_moment(found.get(key), f"{path}: {key}") for key in _PLAN[1:3]),
    )


def _table(spec: Any, where: str) -> TablePlan:
    found = _mapping({} if spec is None else spec, _TABLE, where)
    keys = found.get("foreign_keys") or []
    if not isinstance(keys, list):
        raise InputError(f"{where}: foreign_keys must be a list of columns, references, to, accept")
    if found.get("time_column") and found.get("time_from"):
        raise InputError(f"{where}: give time_column or time_from, not both")
    return TablePlan(
        primary_key=_names(found.get("primary_key"), f"{where}: primary_key"),
        time_column=_name(found.get("time_column"), f"{where}: time_column"),
        time_from=_keys(found.get("time_from"), f"{where}: time_from"),
        since_1970=_names(found.get("since_1970"), f"{where}: since_1970"),
        foreign_keys=tuple(_key(key, where) for key in keys),
        leave_out=_names(found.get("leave_out"), f"{where}: leave_out"),
        keep_key=_flag(found.get("keep_key"), f"{where}: keep_key"),
        why_key=PLANNED,
    )


def _key(spec: Any, where: str) -> KeyPlan:
    found = _mapping(spec, _KEY, f"{where}: foreign key")
    columns = _names(found.get("columns"), f"{where}: foreign key: columns")
    where = f"{where}: foreign key {', '.join(columns)}"
    references = _name(found.get("references"), f"{where}: references")
    if not columns or references is None:
        raise InputError(f"{where}: needs columns and references")
    accept = _flag(found.get("accept"), f"{where}: accept")
    to = _names(found.get("to"), f"{where}: to")
    return KeyPlan(columns, references, to, accept is None or accept, why=PLANNED)


def _mapping(content: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{where}: must hold keys and values: {', '.join(known)}")
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; the keys are {', '.join(known)}"
            raise InputError(f"{where}: unknown key {str(key)!r}{hint}")
    return content


def _name(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float | bool | dt.date):
        raise InputError(f"{where}: {value!r} is no text; put the name into quotes")
    raise InputError(f"{where}: must be one name")


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [] if value is None else [value]
    found = tuple(str(_name(name, where)) for name in names)
    if len(set(found)) < len(found):
        raise InputError(f"{where}: a name stands there twice")
    return found


def _keys(value: Any, where: str) -> tuple[tuple[str, ...], ...]:
    """The columns of a key, or a list of those of several."""
    several = isinstance(value, list) and any(isinstance(item, list) for item in value)
    found = [_names(item, where) for item in (value if several else [value])]
    return tuple(key for key in found if key)


def _flag(value: Any, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise InputError(f"{where}: must be true or false")


def _moment(value: Any, where: str) -> str | None:
    return None if value is None else moment_text(str(value), where)


def moment_text(value: str, where: str) -> str:
    """A timestamp in UTC as manifests hold it; InputError, naming `where`, if it is none."""
    try:
        return str(moment(value))
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {value!r} is no date; write 2024-07-01") from None
