"""One table while its statements are being read: columns and constraints as they come."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from plurel.errors import InputError
from plurel.sql_checks import Narrowed, NotUnderstood, NoValueLeft, apply_check, literal
from plurel.sql_model import SqlColumn, SqlKey, SqlTable, SqlType, Value
from plurel.sql_types import read_type, type_name


@dataclass
class Notes:
    """Where a file's troubles go: errors with their line, or notes if the config isn't strict."""

    path: str
    dialect: str
    strict: bool
    left_out: list[str] = field(default_factory=list)

    def error(self, line: int, what: str) -> InputError:
        """The error of this line, to be raised."""
        return InputError(f"{self.path}, line {line}: {what}")

    def leave_out(self, line: int, what: str) -> None:
        """Something that isn't understood and that the rest makes sense without."""
        what = " ".join(what.split())
        if self.strict:
            remedy = "change it, or set sql_params.strict=false to leave it out"
            raise self.error(line, f"{what} is not understood; {remedy}")
        self.left_out.append(f"line {line}: {what}")


def line_of(node: exp.Expr, default: int) -> int:
    """The line of the first name in a parsed node."""
    lines = [name.meta["line"] for name in node.find_all(exp.Identifier) if "line" in name.meta]
    return min(lines, default=default)


@dataclass
class Draft:
    """A table as far as it has been read. keys: parent columns are empty where none are named."""

    name: str
    line: int
    state: Narrowed = field(default_factory=lambda: Narrowed({}, set(), []))
    lines: dict[str, int] = field(default_factory=dict)
    defaults: dict[str, Value] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    uniques: list[tuple[str, ...]] = field(default_factory=list)
    checks: list[tuple[exp.Expr, int]] = field(default_factory=list)
    keys: list[SqlKey] = field(default_factory=list)

    def add(self, part: exp.Expr, line: int, types: "Mapping[str, Draft]", notes: Notes) -> None:
        """A column or a constraint. types: the enums and domains of the file."""
        line = line_of(part, line)
        if isinstance(part, exp.Constraint):
            for inner in part.expressions:
                self.add(inner, line, types, notes)
        elif isinstance(part, exp.ColumnDef | exp.Identifier):
            self.add_column(part, line, types, notes)
        elif isinstance(part, exp.PrimaryKey):
            self.primary_key = self.names(part.expressions, line, notes)
        elif isinstance(part, exp.ForeignKey):
            columns = self.names(part.expressions, line, notes)
            self._add_key(columns, part.args["reference"], line)
        elif isinstance(part, exp.UniqueColumnConstraint):
            self.uniques.append(self.names(part.this.expressions, line, notes))
        elif isinstance(part, exp.CheckColumnConstraint):
            self.checks.append((part.this, line))
        elif not isinstance(part, exp.IndexColumnConstraint):
            notes.leave_out(line, f"'{part.sql(dialect=notes.dialect)}' of table {self.name}")

    def add_column(
        self, part: exp.Expr, line: int, types: "Mapping[str, Draft]", notes: Notes
    ) -> None:
        """A column with its type and constraints; a second one of the same name is an error."""
        name, kind = part.name, part.args.get("kind")
        if name.lower() in map(str.lower, self.lines):
            raise notes.error(line, f"table {self.name} has two columns {name}")
        self.lines[name] = line
        self.state.types[name] = self._type(name, kind, types, notes)
        for constraint in part.args.get("constraints") or []:
            self._add_column_constraint(name, constraint.args["kind"], line, notes)

    def _type(
        self,
        name: str,
        kind: exp.Expr | None,
        types: "Mapping[str, Draft]",
        notes: Notes,
    ) -> SqlType:
        found = read_type(kind, notes.dialect)
        named = types.get(type_name(kind)) if kind is not None else None
        if kind is not None and named is not None:
            if named.state.not_null:
                self.state.not_null.add(name)
            return replace(named.state.types["value"], spelled=kind.sql(dialect=notes.dialect))
        if found is None:
            spelled = kind.sql(dialect=notes.dialect) if kind is not None else ""
            raise notes.error(
                self.lines[name],
                f"column {self.name}.{name} has the type {spelled}, which is neither a type of "
                f"{notes.dialect} nor made by CREATE TYPE or CREATE DOMAIN; use another type",
            )
        return found

    def _add_column_constraint(self, name: str, kind: exp.Expr, line: int, notes: Notes) -> None:
        if isinstance(kind, exp.NotNullColumnConstraint):
            if not kind.args.get("allow_null"):
                self.state.not_null.add(name)
        elif isinstance(kind, exp.PrimaryKeyColumnConstraint):
            self.primary_key = (name,)
        elif isinstance(kind, exp.UniqueColumnConstraint):
            self.uniques.append((name,))
        elif isinstance(kind, exp.DefaultColumnConstraint):
            self.set_default(name, kind.this)
        elif isinstance(kind, exp.CheckColumnConstraint):
            self.checks.append((kind.this, line))
        elif isinstance(kind, exp.Reference):
            self._add_key((name,), kind, line)
        elif isinstance(kind, exp.ComputedColumnConstraint):
            notes.leave_out(line, f"the expression that computes column {self.name}.{name}")

    def set_default(self, name: str, node: exp.Expr | None) -> None:
        """Remember a literal default; functions such as now() and NULL decide nothing."""
        value = literal(node)
        if value is not None:
            self.defaults[name] = value

    def _add_key(self, columns: tuple[str, ...], reference: exp.Expr, line: int) -> None:
        target = reference.this
        parent_columns: tuple[str, ...] = ()
        if isinstance(target, exp.Schema):
            parent_columns = tuple(item.name for item in target.expressions)
            target = target.this
        self.keys.append(SqlKey(columns, target.name, parent_columns, line))

    def names(self, nodes: Iterable[exp.Expr], line: int, notes: Notes) -> tuple[str, ...]:
        """The table's columns that these nodes name."""
        known = {name.lower(): name for name in self.lines}
        found = []
        for node in nodes:
            name = node.name or next((n.name for n in node.find_all(exp.Identifier)), "")
            if name.lower() not in known:
                raise notes.error(line, f"table {self.name} has no column {name}")
            found.append(known[name.lower()])
        return tuple(found)

    def apply_checks(self, notes: Notes) -> None:
        """Narrow the types by the checks that are understood."""
        names = {name.lower(): name for name in self.lines}
        for check, line in self.checks:
            try:
                apply_check(check, self.state, names)
            except NotUnderstood as error:
                notes.leave_out(line_of(check, line), f"{error} of table {self.name}")
            except NoValueLeft as error:
                part, name = error.args
                raise notes.error(
                    line_of(check, line),
                    f"{part} of table {self.name} leaves no value of column {name}; change the "
                    "check, the type, or another check of this column",
                ) from None

    def finished(self, keys: tuple[SqlKey, ...]) -> SqlTable:
        """The table, with its foreign keys as they have been resolved."""
        not_null = self.state.not_null | set(self.primary_key)
        columns = tuple(
            SqlColumn(name, kind, self.lines[name], name in not_null, self.defaults.get(name))
            for name, kind in self.state.types.items()
        )
        uniques = dict.fromkeys(self.uniques)
        uniques.pop(self.primary_key, None)
        ordered = tuple(dict.fromkeys(self.state.ordered))
        return SqlTable(
            self.name, columns, self.line, self.primary_key, tuple(uniques), keys, ordered
        )
