"""From corpora to their report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from plurel.errors import InputError
from plurel.folder import read_provenance
from rt.boosted import BoostedSettings
from rt.joined.tables import read_tables
from rt.labels import read_tasks
from rt.probe.questions import column_question, declared_question, targets
from rt.probe.report import summaries
from rt.probe.skills import TaskSkill, task_skill
from rt.raw import RawDatabase, read_database
from rt.relbench_folder import open_dataset
from rt.sources import find_sources
from rt.tasks import TASK_TYPES

KINDS = ("columns", "declared")


@dataclass(frozen=True)
class ProbeSettings:
    """columns: column tasks of a database at most; declared: whether its own tasks are asked too;
    boosted: max_rows is the limit of the rows to fit, to choose by and to test on, each."""

    columns: int = 4
    declared: bool = True
    boosted: BoostedSettings = field(
        default_factory=lambda: BoostedSettings(max_rows=1000, max_features=200)
    )

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise InputError(f"columns must be 1 or more, not {self.columns}")


@dataclass
class Found:
    """What became of a corpus: skills by kind of task, and why tasks were left out, by name."""

    skills: dict[str, list[TaskSkill]] = field(default_factory=lambda: {k: [] for k in KINDS})
    left_out: dict[str, str] = field(default_factory=dict)


def probe_corpora(
    corpora: Mapping[str, Sequence[str]],
    settings: ProbeSettings | None = None,
    *,
    show_progress: bool = True,
) -> dict[str, Any]:
    """{"settings", "corpora": {name: report}}; corpora: by name the places of databases
    (`rt.sources`), each in RelBench's format.

    A report: "databases", "columns" and "declared" (`rt.probe.report.summaries`, null without
    tasks), "tasks" (per kind those of `TaskSkill`), "left_out" (reasons by database/task).
    Raises InputError for places without databases, damaged folders, a corpus of which no task can
    be made, and where lightgbm is not installed.
    """
    settings = settings or ProbeSettings()
    folders = {name: raw_folders(name, places) for name, places in corpora.items()}
    reports = {}
    total = settings.columns * sum(map(len, folders.values()))
    with tqdm(desc="probe", unit="task", total=total, disable=not show_progress) as bar:
        for name, found in folders.items():
            bar.set_postfix_str(name)
            reports[name] = _report(name, found, settings, bar)
    return {"settings": asdict(settings), "corpora": reports}


def raw_folders(name: str, places: Sequence[str]) -> list[Path]:
    """The databases of a corpus; InputError if there are none, or stores only."""
    if not places:
        raise InputError(f"corpus {name}: no folder is given; write {name}=FOLDER")
    folders = []
    try:
        sources = find_sources(places)
    except InputError as error:
        raise InputError(f"corpus {name}: {error}") from None
    for source in sources:
        if source.raw is None:
            raise InputError(
                f"corpus {name}: {source.store} is a store; give the RelBench folder it comes from"
            )
        folders.append(source.raw)
    return folders


def _report(
    name: str, folders: Sequence[Path], settings: ProbeSettings, bar: "tqdm[Any]"
) -> dict[str, Any]:
    found = Found()
    for folder in folders:
        _probe(folder, settings, found, bar)
    if not any(found.skills.values()):
        reason = next((f"{n}: {r}" for n, r in found.left_out.items()), "no column varies")
        raise InputError(
            f"corpus {name}: no task can be made of {', '.join(str(f) for f in folders[:3])} "
            f"({reason}); give databases of more rows, with boolean or number columns"
        )
    seed = settings.boosted.seed
    return {
        "databases": len(folders),
        **{kind: summaries(skills, seed) for kind, skills in found.skills.items()},
        "tasks": {kind: [asdict(s) for s in skills] for kind, skills in found.skills.items()},
        "left_out": found.left_out,
    }


def _probe(folder: Path, settings: ProbeSettings, found: Found, bar: "tqdm[Any]") -> None:
    """Adds the tasks of one database to what was found."""
    # a corpus has no two folders of one name, while manifests may repeat theirs
    database = replace(read_database(folder), name=folder.name)
    columns = list(_column_skills(database, settings, found, bar))
    found.skills["columns"] += columns
    _expect(bar, len(columns) - settings.columns)
    if settings.declared:
        found.skills["declared"] += _declared_skills(database, settings, found, bar)


def _column_skills(
    database: RawDatabase, settings: ProbeSettings, found: Found, bar: "tqdm[Any]"
) -> Iterator[TaskSkill]:
    """As many of the drawn columns as are asked for; those that make no task are passed over."""
    tables = read_tables(open_dataset(database.folder), target=None, leaking=())
    made = 0
    for target in targets(database, tables, settings.boosted.seed):
        if made == settings.columns:
            return
        try:
            question = column_question(database, tables, target, settings.boosted)
        except InputError as error:
            found.left_out[f"{database.name}/{target.name}"] = str(error)
            continue
        made += 1
        yield task_skill(question, database.name, settings.boosted)
        bar.update()


def _declared_skills(
    database: RawDatabase, settings: ProbeSettings, found: Found, bar: "tqdm[Any]"
) -> Iterator[TaskSkill]:
    tasks, skipped = read_tasks(database)
    found.left_out |= {f"{database.name}/{name}": reason for name, reason in skipped.items()}
    tasks = [task for task in tasks if task.task_type in TASK_TYPES]
    if _is_generated(database.folder):
        tasks = [task for task in tasks if task.kind != "autocomplete"]
    _expect(bar, len(tasks))
    for task in tasks:
        try:
            question = declared_question(database, task, settings.boosted)
        except InputError as error:
            found.left_out[f"{database.name}/{task.name}"] = str(error)
        else:
            yield task_skill(question, database.name, settings.boosted)
        bar.update()


def _expect(bar: "tqdm[Any]", more: int) -> None:
    """So many tasks more than it seemed, or fewer."""
    bar.total = (bar.total or 0) + more
    bar.refresh()


def _is_generated(folder: Path) -> bool:
    """Whether `plurel` drew the database: the columns that it declares are asked about anyway."""
    return {"seed", "config"} <= (read_provenance(folder) or {}).keys()
