"""An import from start to end: read, propose, check, write; and a plan without an import."""

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

import plurel
from plurel.atomic import check_file_place, new_folder
from plurel.errors import InputError
from plurel.manifest import MANIFEST, PROVENANCE
from plurel.nearest import instead
from rt.importing.check import check_plan, check_tables, check_times
from rt.importing.epochs import count_planned
from rt.importing.layout import TableLayout, lay_out
from rt.importing.messages import about_layouts, about_source
from rt.importing.names import KEYS, LEFT_OUT, PLAN
from rt.importing.open import Reading, open_source
from rt.importing.plan import Plan, accepted
from rt.importing.plan_yaml import moment_text, plan_text, read_plan, write_plan
from rt.importing.propose import propose, with_timestamps
from rt.importing.staging import Staging
from rt.importing.tables import Source, SourceTable
from rt.importing.write import Writer

Report = Callable[[Plan, Staging], object]


@dataclass(frozen=True)
class Settings:
    """How a source is read and what is decided.

    accept: the share of rows that must match for a proposed foreign key to become one; None: a
    proposal ends the import. propose: propose keys beside those that the source declares.
    val_timestamp, test_timestamp: in place of the proposed ones. memory: for DuckDB.
    """

    reading: Reading = field(default_factory=Reading)
    accept: float | None = None
    propose: bool = False
    val_timestamp: str | None = None
    test_timestamp: str | None = None
    name: str | None = None
    memory: str = "1GB"


@dataclass(frozen=True)
class Imported:
    """What was written. num_rows: by the source's names; messages: what was changed or lost on the
    way, a line each."""

    num_rows: dict[str, int]
    num_keys: int
    plan: Plan
    messages: tuple[str, ...]


def import_database(
    place: str,
    out: str | Path,
    settings: Settings = Settings(),
    *,
    plan: Path | None = None,
    report: Report | None = None,
    overwrite: bool = False,
) -> Imported:
    """Write the database at `place`, a path or URL, as a RelBench folder at `out`: complete, or not
    at all. plan: a file of decisions. report: is shown the plan before anything is written.
    overwrite: replace a folder that is there; the labels of its tasks are made again.

    Shows progress on stderr. Raises InputError, in one line, for everything that is wrong with the
    source, the plan or the place.
    """
    given = None if plan is None else read_plan(plan)
    tasks = _tasks_of(Path(out)) if overwrite else None
    with new_folder(out, marker=MANIFEST, overwrite=overwrite) as folder:
        work = folder / "work"
        source = open_source(place, settings.reading)
        try:
            staging = Staging(work, settings.memory)
            try:
                read_tables(source, staging, settings.reading, given, str(plan))
                made = _decided(given, staging, settings, Path(out).name)
                if report is not None:
                    report(made, staging)
                _check_asked(made)
                if given is None and settings.accept is None and made.undecided():
                    raise InputError(
                        f"{made.undecided()} keys are proposals: give --accept 0.99 to take those "
                        "of which that share of rows matches, or --plan-only plan.yaml, edit it "
                        "and give it as --plan"
                    )
                done = _write(made, staging, folder, work)
            finally:
                staging.close()
            if tasks is not None:
                done = replace(done, messages=(*done.messages, *tasks.make_again(folder)))
            _write_provenance(folder, source.label, done)
        finally:
            source.close()
            shutil.rmtree(work, ignore_errors=True)
    return done


def _tasks_of(folder: Path) -> Any:
    """What is known of the tasks of a folder that is written again; None if it has none."""
    if not any((folder / "tasks").glob(f"*/{MANIFEST}")) and not (folder / LEFT_OUT).is_file():
        return None
    from rt.defining.kept import KeptTasks  # relbench takes seconds

    return KeptTasks(folder)


def plan_import(
    place: str,
    file: Path,
    settings: Settings = Settings(),
    report: Report | None = None,
) -> Plan:
    """Write the plan of an import as a file that a person edits; rows are read for it. Proposed
    keys are accepted at `settings.accept`, by default 0.99."""
    check_file_place(file)
    settings = replace(settings, accept=0.99 if settings.accept is None else settings.accept)
    source = open_source(place, settings.reading)
    with tempfile.TemporaryDirectory(prefix="plurel-import-") as work:
        try:
            staging = Staging(Path(work), settings.memory)
            try:
                read_tables(source, staging, settings.reading, None, "")
                plan = _decided(None, staging, settings, "", needed=False)
                if report is not None:
                    report(plan, staging)
                write_plan(plan, file, staging.num_rows)
            finally:
                staging.close()
        finally:
            source.close()
    return plan


def read_tables(
    source: Source, staging: Staging, reading: Reading, plan: Plan | None, where: str
) -> None:
    """Bring the rows of the chosen tables to the disk; those of the plan, if there is one."""
    tables = source.tables()
    names = [table.name for table in tables]
    if plan is not None:
        check_tables(plan, names, where)
        chosen = [table for table in tables if table.name in plan.tables]
    else:
        chosen = _chosen(tables, reading)
    if not chosen:
        raise InputError(f"{source.label}: holds no tables to import")
    sizes = [table.num_rows for table in chosen]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with tqdm(total=total, desc="read", unit="row", unit_scale=True) as bar:
        for table in chosen:
            if not table.columns:
                raise InputError(f"{source.label}: table {table.name} has no columns; exclude it")
            bar.set_postfix_str(table.name)
            staging.add(table, source.batches(table), bar.update)


def _chosen(tables: Sequence[SourceTable], reading: Reading) -> list[SourceTable]:
    names = [table.name for table in tables]
    for name in (*reading.tables, *reading.exclude):
        if name not in names:
            raise InputError(f"no table {name!r} in the source{instead(name, names)}")
    return [table for table in tables if _is_chosen(table, reading.tables, reading.exclude)]


def _is_chosen(table: SourceTable, named: Collection[str], exclude: Collection[str]) -> bool:
    wanted = table.name in named if named else not table.left_out
    return wanted and table.name not in exclude


def _decided(
    given: Plan | None, staging: Staging, settings: Settings, name: str, *, needed: bool = True
) -> Plan:
    """The plan that is given, or proposed, with a name and both timestamps; these may be missing
    where they are not `needed` yet."""
    if given is not None:
        count_planned(given, staging)
    plan = given or propose(staging, settings.accept, everything=settings.propose)
    if given is None and settings.accept is not None:
        plan = accepted(plan, settings.accept)
    plan = replace(plan, name=settings.name or plan.name or name)
    val, test = settings.val_timestamp, settings.test_timestamp
    if val is not None:
        plan = replace(plan, val_timestamp=moment_text(val, "--val-timestamp"))
    if test is not None:
        plan = replace(plan, test_timestamp=moment_text(test, "--test-timestamp"))
    check_times(plan, staging)  # timestamps are proposed from them
    return with_timestamps(plan, staging, needed=needed)


def _check_asked(plan: Plan) -> None:
    """InputError for a table whose time only a person knows."""
    for name, table in plan.tables.items():
        if table.ask_time:
            raise InputError(
                f"time of {name}: {table.why_time}; say it in a plan (--plan-only plan.yaml, edit "
                "it and give it as --plan)"
            )


def _write(plan: Plan, staging: Staging, folder: Path, work: Path) -> Imported:
    checked = check_plan(plan, staging)
    layouts = {name: lay_out(checked, name, staging) for name in checked.tables}
    (folder / "db").mkdir()
    dangling: dict[str, dict[str, int]] = {}
    total = sum(staging.num_rows[name] for name in layouts)
    with tqdm(total=total, desc="write", unit="row", unit_scale=True) as bar:
        writer = Writer(checked, staging, layouts, work)
        for name, layout in layouts.items():
            bar.set_postfix_str(name)
            path = folder / "db" / f"{layout.name}.parquet"
            dangling[name] = writer.write(name, path, bar.update)
            writer.write_keys(name, folder / KEYS / path.name)
    _write_yaml(_manifest(checked, layouts), folder / MANIFEST)
    return Imported(
        dict(staging.num_rows),
        sum(len(layout.links) for layout in layouts.values()),
        checked,
        (*about_source(checked, staging), *about_layouts(layouts, staging, dangling)),
    )


def _manifest(plan: Plan, layouts: dict[str, TableLayout]) -> dict[str, Any]:
    """RelBench's manifest, as plain values: its own import takes seconds."""
    return {
        "name": plan.name,
        "manifest_version": 1,
        "val_timestamp": plan.val_timestamp,
        "test_timestamp": plan.test_timestamp,
        "tables": {
            layout.name: {
                "pkey": layout.primary_key,
                "time_col": layout.time,
                "fkeys": {link.output: layouts[link.key.references].name for link in layout.links},
            }
            for layout in layouts.values()
        },
    }


def _write_provenance(folder: Path, label: str, done: Imported) -> None:
    content = {
        "import": label,
        "plurel": plurel.__version__,
        "plan": PLAN,
        "messages": list(done.messages),
    }
    _write_yaml(content, folder / PROVENANCE)
    (folder / PLAN).write_text(plan_text(done.plan, done.num_rows), encoding="utf-8")


def _write_yaml(content: dict[str, Any], path: Path) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")
