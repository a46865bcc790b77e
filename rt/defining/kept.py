"""Tasks of a database that is imported again: their definitions are kept, their labels made anew.

Rows that are imported again have other numbers, and labels of other days: only what was asked for
holds. It stands in `tasks/<task>/definition.yaml`; of tasks from elsewhere the manifest says it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from relbench.manifest import TaskManifest

from plurel.errors import InputError
from plurel.manifest import MANIFEST, read_yaml
from rt.defining.definitions import (
    DEFINITION,
    TYPES,
    Definition,
    LabelColumns,
    database_columns,
    read_definitions,
    to_manifest,
    write_definitions,
)
from rt.defining.source_keys import compared_keys
from rt.defining.write import make_task, write_tasks
from rt.importing.names import LEFT_OUT
from rt.relbench_folder import open_dataset


class KeptTasks:
    """The definitions of the tasks of a folder, and of those that it once had to leave out.

    Raises InputError for a task whose labels nobody could make again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        left_out = folder / LEFT_OUT
        self._definitions = read_definitions(left_out) if left_out.is_file() else {}
        for path in sorted((folder / "tasks").glob(f"*/{MANIFEST}")):
            self._definitions[path.parent.name] = _definition(path)

    def make_again(self, folder: Path) -> Iterator[str]:
        """Make the tasks for the new rows in `folder`, which will stand at the place of the old
        one; those that don't fit are left out, with their definitions in a file. Yields what
        became of them, a line each."""
        database, dataset = database_columns(folder), open_dataset(folder)
        made, lost = [], {}
        for name, definition in self._definitions.items():
            try:
                task = make_task(dataset, to_manifest(name, definition, database), leaks=False)
            except InputError as error:
                lost[name] = definition
                yield f"{error}: left out"
            else:
                made.append(replace(task, definition=definition))
                compared = compared_keys(definition.sql or "", database.numbered)
                if compared:
                    yield (
                        f"warning: task {name}: its SQL compares {', '.join(compared)} with "
                        "values, which were numbers of rows that may be others now: define it again"
                    )
        write_tasks(folder, made)
        if made:
            names = ", ".join(task.manifest.name for task in made)
            yield f"labels of the tasks that were there are made again: {names}"
        if lost:
            write_definitions(folder / LEFT_OUT, lost)
            place = self._folder / LEFT_OUT
            yield (
                f"{place}: the definitions of what was left out; mend them and run "
                f"scripts/add_tasks.py {self._folder} {place}, or remove the file"
            )


def _definition(path: Path) -> Definition:
    """What a task asks for, by its manifest's path."""
    name, kept = path.parent.name, path.with_name(DEFINITION)
    if kept.is_file():
        found = read_definitions(kept)
        if list(found) == [name]:
            return found[name]
    manifest = TaskManifest.from_dict(read_yaml(path))
    task_type = {long: short for short, long in TYPES.items()}.get(manifest.task_type)
    hidden = tuple(f"{table}.{column}" for table, column in manifest.remove_columns)
    common = Definition(predict="", type=task_type, hide=hidden)
    common = replace(common, description=manifest.description or "")
    if task_type and manifest.kind == "autocomplete":
        complete = f"{manifest.entity_table}.{manifest.target_col}"
        return replace(common, predict=None, complete=complete)
    if task_type and manifest.kind == "forecast" and manifest.sql:
        columns = (manifest.time_col, manifest.entity_col, manifest.target_col)
        return replace(
            common, predict=None, sql=manifest.sql, entity=manifest.entity_table,
            columns=LabelColumns(*map(str, columns)), window=manifest.timedelta,
            seeds=manifest.num_eval_timestamps,
        )  # fmt: skip
    raise InputError(
        f"{path.parent}: the labels of this task were made elsewhere and would be lost; move the "
        "folder of the task away first"
    )
