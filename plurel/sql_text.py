"""A file of SQL as statements with their lines, and which dialect it is written in.

Only what defines tables is kept: CREATE TABLE, ALTER TABLE, CREATE UNIQUE INDEX, and CREATE TYPE
and CREATE DOMAIN. Dumps hold much else (data, functions, triggers, settings), which is skipped
without being parsed. What begins as no statement does is kept as well, to be refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from plurel.errors import InputError
from plurel.params import DIALECTS
from plurel.sql_mistakes import is_known, swallowed

_SIGNS = {
    "mysql": r"`|\bengine\s*=|\bauto_increment\b|\bunsigned\b|\btinyint\b|\bmediumint\b"
    r"|\bdatetime\s*\(\d\)|\bmediumtext\b|\blongtext\b|\benum\s*\(|\bcollate\s+utf8\w*|\bunique\s+key\b|^\s*key\b|^\s*use\b",
    "postgres": r"::|\b(small|big)?serial\b|\bcharacter\s+varying\b|\bwith(out)?\s+time\s+zone\b"
    r"|\balter\s+table\s+only\b|\bcreate\s+(type|domain|sequence|extension)\b|\bbytea\b|\bjsonb\b"
    r"|\btimestamptz\b|\bbpchar\b|\bpublic\.|\bnextval\b|\bowner\s+to\b|\$\w*\$|\bint[248]\b",
    "sqlite": r"\bautoincrement\b|\bpragma\b|\bwithout\s+rowid\b|^\s*\[|\(\s*\[|\bstrict\s*;"
    r"|\bon\s+conflict\b|\bglob\b|\bjulianday\b|\bnvarchar\b",
}
_KEPT = {
    "table": r"create\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?(?:unlogged\s+)?table\b",
    "alter": r"alter\s+(?:(?:ignore|online|offline)\s+)?table\b",
    "index": r"create\s+unique\s+index\b",
    "type": r"create\s+type\b",
    "domain": r"create\s+domain\b",
    "virtual": r"create\s+(?:virtual|foreign)\s+table\b",
}
_BLOCKS = (
    # bodies of MySQL procedures, rows of a PostgreSQL dump, commands to psql
    re.compile(
        r"^[ \t]*delimiter[ \t]+(?!;\s*$)\S+.*?^[ \t]*delimiter[ \t]+;[^\n]*", re.I | re.M | re.S
    ),
    re.compile(r"^copy\b[^;\n]*\bfrom\s+stdin\b[^;\n]*;.*?^\\\.[ \t]*$", re.I | re.M | re.S),
    re.compile(r"^\\[^\n]*$", re.M),
)


@dataclass(frozen=True)
class Statement:
    """One statement without its comments. kind: a key of what is kept, or "unknown"; code: the
    text with its quotes filled, letter by letter; line: where it begins."""

    kind: str
    text: str
    code: str
    line: int

    def line_at(self, offset: int) -> int:
        """The line of the file in which this letter of the statement stands."""
        return self.line + self.text.count("\n", 0, offset)


def read_text(path: str) -> str:
    """The file's text; InputError if it can't be read."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"schema_file: {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"schema_file: {path} can't be read: {reason}") from None


def detect_dialect(text: str) -> str:
    """The dialect whose signs occur most often outside of strings; PostgreSQL without any."""
    code = re.sub(r"'(?:[^'\\]|''|\\.)*'|--[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
    counts = {
        name: len(re.findall(signs, code, re.IGNORECASE | re.MULTILINE))
        for name, signs in _SIGNS.items()
    }
    return max(DIALECTS, key=lambda name: counts[name])


def statements(text: str, dialect: str, path: str) -> list[Statement]:
    """What is kept, in the order of the file; InputError where a quote or a statement has no end.

    A statement in which another one begins lacks its semicolon.
    """
    for block in _BLOCKS:
        text = block.sub(lambda match: "\n" * match[0].count("\n"), text)
    kept = []
    for start, whole, filled in _split(text, dialect, path):
        begin, stop = len(whole) - len(whole.lstrip()), len(whole.rstrip())
        body, code = whole[begin:stop], filled[begin:stop]
        if not body:
            continue
        line = text.count("\n", 0, start + begin) + 1
        kind = next((k for k, v in _KEPT.items() if re.match(v, body, re.IGNORECASE)), None)
        statement = Statement(kind or "unknown", body, code, line)
        inner = swallowed(code)
        if inner is not None:
            at = statement.line_at(inner)
            raise InputError(
                f"{path}, line {at}: '{first_line(body[inner:])}' stands inside the statement of "
                f"line {line}; end that one with a semicolon"
            )
        if kind is not None or not is_known(code):
            kept.append(statement)
    return kept


def first_line(text: str) -> str:
    """How a statement begins, to be shown."""
    return text.strip().split("\n")[0][:60]


def _split(text: str, dialect: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Between semicolons: where it begins; the text, in which comments are blanks that keep lines
    and lengths; the same with letters for what is in quotes."""
    start = 0
    parts: list[str] = []
    filled: list[str] = []
    for match in _tokens(dialect).finditer(text):
        token, kind = match[0], match.lastgroup
        if kind == "open":
            line = text.count("\n", 0, match.start()) + 1
            raise InputError(f"{path}, line {line}: this quote {token} is never closed")
        if kind == "end":
            yield start, "".join(parts), "".join(filled)
            start, parts, filled = match.end(), [], []
            continue
        if kind == "comment":
            token = re.sub(r"[^\n]", " ", token)
        parts.append(token)
        filled.append(token if kind != "quoted" else re.sub(r"[^\n]", "q", token))
    yield start, "".join(parts), "".join(filled)


def _tokens(dialect: str) -> "re.Pattern[str]":
    escape = r"|\\." if dialect == "mysql" else ""
    inside = r"[^'\\]" if dialect == "mysql" else "[^']"
    comment = r"--[^\n]*|/\*.*?\*/" + (r"|\#[^\n]*" if dialect == "mysql" else "")
    quoted = [rf"'(?:{inside}|''{escape})*'", r'"(?:[^"]|"")*"']
    if dialect != "postgres":
        quoted.append(r"`[^`]*`")
    if dialect == "sqlite":
        quoted.append(r"\[[^\]\n]*\]")
    if dialect == "postgres":
        # before plain quotes: strings with backslashes, and bodies between dollars
        quoted[:0] = [r"\b[eE]'(?:[^'\\]|''|\\.)*'", r"(?P<tag>\$\w*\$).*?(?P=tag)"]
    plain = r"[^'\"`;\[$\-/\#eE]+|."
    return re.compile(
        rf"(?P<comment>{comment})|(?P<quoted>{'|'.join(quoted)})|(?P<end>;)"
        rf"|(?P<open>['\"])|(?P<plain>{plain})",
        re.DOTALL,
    )


def split_body(statement: Statement) -> tuple[int, int]:
    """Where a CREATE TABLE's list of columns in parentheses begins and ends; without one both
    are the statement's end."""
    depth, begin = 0, -1
    for at, letter in enumerate(statement.code):
        if letter == "(":
            depth += 1
            begin = at if begin < 0 else begin
        elif letter == ")":
            depth -= 1
            if depth == 0 and begin >= 0:
                return begin, at + 1
    return len(statement.code), len(statement.code)
