"""A file of CREATE TABLE statements, read: what it declares, as plain data.

The statements are parsed by sqlglot in the dialect of PostgreSQL, MySQL or SQLite. `read_sql` is
the entry; `plurel.sql_schema` makes a generator's schema of what it returns.
"""

import logging
import re
from collections.abc import Callable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from plurel.sql_draft import Draft, Notes, line_of
from plurel.sql_mistakes import lone_comma, odd_tail
from plurel.sql_model import SqlDatabase, SqlKey
from plurel.sql_text import (
    Statement,
    detect_dialect,
    first_line,
    read_text,
    split_body,
    statements,
)
from plurel.sql_types import category

_QUOTED = r"('(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`)"
_SPATIAL = r"(?<=[\w`]\s)(?:multi)?(?:point|linestring|polygon)\b(?=\s*(?:,|\)|not\b|null\b))"
_REWRITES = {
    # what the parser lacks: noise that decides nothing here, and types in several words
    "": ((r"\bno\s+inherit\b|\bnot\s+enforced\b|\bon\s+conflict\s+\w+|\bnot\s+valid\b", ""),),
    "postgres": ((r"\bbit\s+varying\b", "varbit"), (r"\badd\s+check\b", "ADD CONSTRAINT c CHECK")),
    "mysql": (
        (r"\bsrid\s+\d+", ""),
        (r"\bnational\s+(?=varchar|char)", "n"),
        (_SPATIAL, "GEOMETRY"),
    ),
    "sqlite": (
        (r"\bunsigned\s+big\s+int\b|\bint8\b", "BIGINT"),
        (r"\bint2\b", "SMALLINT"),
        (r"\bunsigned\s+int(?:eger)?\b", "INT"),
        (r"\bvarying\s+character\b", "VARCHAR"),
        (r"\bnative\s+character\b", "NVARCHAR"),
    ),
}
_HARMLESS = re.compile(
    r"\b(owner\s+to|enable|disable|cluster|replica|attach|detach|force|add\s+generated|validate"
    r"|set\s+(?:statistics|storage|schema|tablespace|without|logged)|engine|auto_increment|convert"
    r"|comment|default\s+char|order\s+by|sequence)\b",
    re.IGNORECASE,
)


def read_sql(path: str, dialect: str | None = None, strict: bool = True) -> SqlDatabase:
    """The tables that the file's statements declare, in the order of the file.

    dialect: "postgres", "mysql" or "sqlite"; None to tell it from the text. What is not
    understood raises InputError with the file, the line and the remedy; with strict False it is
    left out where the rest makes sense without it, and named in `left_out`.
    """
    text = read_text(path)
    notes = Notes(path, dialect or detect_dialect(text), strict)
    reader = _Reader(notes)
    # the parser's own warnings repeat what is raised here with its line
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    for statement in statements(text, notes.dialect, path):
        reader.read(statement)
    return reader.finish()


def _rewrite(text: str, pattern: str, new: str) -> str:
    """The text with `new` for what matches outside of quotes."""
    return re.sub(f"{_QUOTED}|{pattern}", lambda m: m[1] or new, text, flags=re.IGNORECASE)


def _is_harmless(statement: Statement) -> bool:
    """Whether an ALTER TABLE that is not understood changes no column and adds no key."""
    adds = re.search(r"\badd\s+(?!generated\b)\w", statement.code, re.IGNORECASE)
    return bool(_HARMLESS.search(statement.code)) and not adds


class _Reader:
    """Statement after statement, the tables as drafts by their names in lower case."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.drafts: dict[str, Draft] = {}
        self.types: dict[str, Draft] = {}  # enums and domains: tables of one column "value"

    def read(self, statement: Statement) -> None:
        """Take in one statement."""
        readers: dict[str, Callable[[Statement], None]] = {
            "table": self._table,
            "alter": self._alter,
            "index": self._unique_index,
            "type": self._enum,
            "domain": self._domain,
        }
        if statement.kind in readers:
            readers[statement.kind](statement)
        else:
            self.notes.leave_out(statement.line, f"'{first_line(statement.text)}'")

    def _parse(self, text: str, line: int) -> exp.Expr:
        for pattern, new in (*_REWRITES[""], *_REWRITES[self.notes.dialect]):
            text = _rewrite(text, pattern, new)
        try:
            # empty lines before it: the parser then counts as the file does
            return sqlglot.parse_one("\n" * (line - 1) + text, read=self.notes.dialect)
        except SqlglotError as error:
            details = (getattr(error, "errors", None) or [{}])[0]
            near = details.get("highlight") or first_line(text)
            raise self.notes.error(
                int(details.get("line") or line),
                f"not understood at {near!r}; correct it, or name another dialect than "
                f"{self.notes.dialect} by sql_params.dialect",
            ) from None

    def _table(self, statement: Statement) -> None:
        line = statement.line
        begin, end = split_body(statement)
        tail = statement.text[end:]
        if re.search(r"\bpartition\s+of\b", statement.code[:begin], re.IGNORECASE):
            return  # its rows are rows of the table that it is a part of
        self._check_parts(statement, begin, end)
        if re.match(r"\s*(as|select|inherits)\b", tail, re.IGNORECASE):
            self.notes.leave_out(line, f"'{first_line(tail)}' after the columns")
        tree = self._parse(statement.text[:end], line)
        if not isinstance(tree, exp.Create) or not isinstance(tree.this, exp.Schema):
            raise self.notes.error(line, f"'{first_line(statement.text)}' is not understood")
        draft = Draft(tree.this.this.name, line)
        if draft.name.lower() in self.drafts:
            raise self.notes.error(
                line,
                f"table {draft.name} is declared twice; rename one, names of schemas don't count",
            )
        # constraints may stand before the columns that they name
        parts = tree.this.expressions
        first = [part for part in parts if isinstance(part, exp.ColumnDef | exp.Identifier)]
        for part in (*first, *(part for part in parts if part not in first)):
            draft.add(part, line, self.types, self.notes)
        if not draft.lines:
            raise self.notes.error(line, f"table {draft.name} has no columns")
        self.drafts[draft.name.lower()] = draft

    def _check_parts(self, statement: Statement, begin: int, end: int) -> None:
        """InputError for a CREATE TABLE without a list of columns, or with a slip the parser takes.

        begin, end: where the list stands.
        """
        code = statement.code
        if begin == end or re.search(r"\bas\s*$|\blike\b", code[:begin], re.IGNORECASE):
            raise self.notes.error(
                statement.line,
                f"'{first_line(statement.text)}': list the table's columns in parentheses",
            )
        comma = lone_comma(code[begin:end])
        if comma is not None:
            raise self.notes.error(
                statement.line_at(begin + comma),
                "a comma too many, or a column is missing beside it",
            )
        odd = odd_tail(code[end:])
        if odd is not None:
            raise self.notes.error(
                statement.line_at(end + odd),
                f"'{first_line(statement.text[end + odd :])}' can't follow a table's columns; "
                "look for a missing semicolon or a parenthesis too many",
            )

    def _enum(self, statement: Statement) -> None:
        tree = self._parse(statement.text, statement.line)
        kind = tree.args.get("expression")
        if not isinstance(kind, exp.DataType) or kind.this != exp.DType.ENUM:
            self.notes.leave_out(statement.line, f"'{first_line(statement.text)}'")
            return
        draft = Draft(tree.this.name, statement.line)
        draft.state.types["value"] = category(tuple(item.name for item in kind.expressions))
        self.types[draft.name.lower()] = draft

    def _domain(self, statement: Statement) -> None:
        """CREATE DOMAIN name AS type CHECK (VALUE ...): as a table of one column of that name."""
        pattern = r'create\s+domain\s+(?:"?\w+"?\.)?"?(\w+)"?\s+(?:as\s+)?(.*)'
        match = re.fullmatch(pattern, statement.text, re.IGNORECASE | re.DOTALL)
        if match is None:
            self.notes.leave_out(statement.line, f"'{first_line(statement.text)}'")
            return
        tree = self._parse(f"CREATE TABLE {match[1]} (value {match[2]})", statement.line)
        draft = Draft(match[1], statement.line)
        for part in tree.this.expressions:
            draft.add(part, statement.line, self.types, self.notes)
        draft.apply_checks(self.notes)
        self.types[match[1].lower()] = draft

    def _draft(self, target: exp.Expr, line: int) -> Draft:
        if target.name.lower() not in self.drafts:
            raise self.notes.error(line, f"table {target.name} is not declared before this line")
        return self.drafts[target.name.lower()]

    def _unique_index(self, statement: Statement) -> None:
        tree = self._parse(statement.text, statement.line)
        index = tree.this
        params = index.args.get("params") if isinstance(index, exp.Index) else None
        nodes = [getattr(item, "this", item) for item in params.args["columns"]] if params else []
        plain = all(isinstance(node, exp.Column | exp.Identifier) for node in nodes)
        if not nodes or not plain or (params and params.args.get("where")):
            self.notes.leave_out(statement.line, f"'{first_line(statement.text)}'")
            return
        draft = self._draft(index.args["table"], statement.line)
        draft.uniques.append(draft.names(nodes, statement.line, self.notes))

    def _alter(self, statement: Statement) -> None:
        tree = self._parse(statement.text, statement.line)
        if not isinstance(tree, exp.Alter):
            if not _is_harmless(statement):
                self.notes.leave_out(statement.line, f"'{first_line(statement.text)}'")
            return
        draft = self._draft(tree.this, statement.line)
        for action in tree.args["actions"]:
            self._action(draft, action, statement)

    def _action(self, draft: Draft, action: exp.Expr, statement: Statement) -> None:
        line = line_of(action, statement.line)
        if isinstance(action, exp.AddConstraint):
            for part in action.expressions:
                draft.add(part, line, self.types, self.notes)
        elif isinstance(action, exp.ColumnDef):
            draft.add_column(action, line, self.types, self.notes)
        elif isinstance(action, exp.ModifyColumn):
            (name,) = draft.names([action.this], line, self.notes)
            del draft.lines[name]
            draft.add_column(action.this, line, self.types, self.notes)
        elif isinstance(action, exp.AlterColumn) and not action.args.get("dtype"):
            (name,) = draft.names([action.this], line, self.notes)
            if action.args.get("allow_null") is False:
                draft.state.not_null.add(name)
            draft.set_default(name, action.args.get("default"))
        elif not _is_harmless(statement):
            self.notes.leave_out(line, f"'{first_line(statement.text)}'")

    def finish(self) -> SqlDatabase:
        """Everything that has been read, its checks applied and its keys resolved."""
        if not self.drafts:
            raise self.notes.error(
                1,
                "there is no CREATE TABLE statement in the file; name another file by schema_file",
            )
        for draft in self.drafts.values():
            draft.apply_checks(self.notes)
        tables = tuple(
            draft.finished(tuple(dict.fromkeys(self._resolved(draft, key) for key in draft.keys)))
            for draft in self.drafts.values()
        )
        return SqlDatabase(self.notes.dialect, tables, tuple(self.notes.left_out))

    def _resolved(self, draft: Draft, key: SqlKey) -> SqlKey:
        """The key with its parent's own names; InputError if it can't be a foreign key."""
        parent = self.drafts.get(key.parent.lower())
        where = f"foreign key ({', '.join(key.columns)}) of table {draft.name}"
        if parent is None:
            raise self.notes.error(
                key.line,
                f"{where} references table {key.parent}, which the file doesn't "
                "declare; add its CREATE TABLE, or leave the key out",
            )
        columns = parent.primary_key
        if key.parent_columns:
            nodes = [exp.to_identifier(name) for name in key.parent_columns]
            columns = parent.names(nodes, key.line, self.notes)
        if not columns:
            raise self.notes.error(
                key.line, f"{where}: {parent.name} has no primary key; name a unique column of it"
            )
        if len(columns) != len(key.columns):
            raise self.notes.error(
                key.line, f"{where} has {len(key.columns)} columns, but references {len(columns)}"
            )
        unique = {frozenset(parent.primary_key), *map(frozenset, parent.uniques)}
        if frozenset(columns) not in unique:
            raise self.notes.error(
                key.line,
                f"{where} references {parent.name} ({', '.join(columns)}), which is neither its "
                "primary key nor unique; declare it so",
            )
        return SqlKey(key.columns, parent.name, columns, key.line)
