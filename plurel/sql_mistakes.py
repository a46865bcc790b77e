"""Mistakes that a parser would pass over in silence, and tables with them.

A semicolon that is missing, a first word that no dialect has, a comma without a column: each is
told by the text, in which quotes are filled and comments blank (`plurel.sql_text`).
"""

import re

_STARTS = (
    r"abort|alter|analyse|analyze|attach|backup|begin|binlog|bulk|call|case|change|checkpoint|"
    r"checksum|close|cluster|comment|commit|copy|create|deallocate|declare|default|delete|"
    r"delimiter|deny|desc|describe|detach|disable|discard|do|drop|else|elseif|elsif|enable|"
    r"end|exec|execute|exit|explain|export|fetch|flush|for|foreach|get|go|grant|handler|help|"
    r"if|import|insert|install|iterate|kill|leave|listen|load|lock|loop|merge|move|notify|"
    r"open|optimize|perform|pragma|prepare|print|purge|quit|raise|reassign|refresh|reindex|"
    r"release|rename|repair|repeat|replace|reset|resignal|restore|return|revoke|rollback|"
    r"savepoint|security|select|set|show|signal|start|stop|table|truncate|unlisten|unlock|"
    r"until|update|upsert|use|vacuum|values|when|while|with|xa"
)
_MODIFIERS = (
    r"access|aggregate|constraint|default|foreign|fulltext|global|ignore|large|local|"
    r"materialized|offline|online|or|procedural|recursive|replace|spatial|temp|temporary|text|"
    r"trusted|unique|unlogged|virtual"
)
# what no table depends on, and words after which only such a thing can come
_OBJECTS = (
    r"aggregate|algorithm|assertion|cast|collation|conversion|data|database|definer|domain|"
    r"event|extension|function|group|index|instance|keyspace|language|logfile|macro|mapping|"
    r"method|object|operator|package|policy|privileges|procedure|publication|reference|role|"
    r"routine|rule|schema|search|secret|sequence|server|session|sql|statistics|subscription|"
    r"synonym|system|table|tablespace|transform|trigger|type|undo|user|view|warehouse|wrapper"
)
_START = re.compile(rf"(?:{_STARTS})\b", re.IGNORECASE)
_OTHER = re.compile(rf"\w+\s+(?:(?:{_MODIFIERS})\s+)*(?:{_OBJECTS})\b", re.IGNORECASE)
_WITH_BODY = re.compile(
    r"create\s+(?:(?!table\b)\S+\s+){0,4}?"
    r"(?:function|procedure|trigger|event|rule|routine|package)\b",
    re.IGNORECASE,
)
_DECLARATION = re.compile(
    r"^[ \t]*(?:create\s+(?:or\s+replace\s+|global\s+|local\s+|unlogged\s+|foreign\s+|virtual\s+)*"
    r"table|alter\s+table|create\s+unique\s+index|create\s+(?:type|domain))\b",
    re.IGNORECASE | re.MULTILINE,
)
_AFTER_COLUMNS = re.compile(r"\b(?:create|alter|(?<!commit )drop|insert|table)\b", re.IGNORECASE)
_LONE_COMMA = re.compile(r"\(\s*(,)|,\s*(,)|(,)\s*\)")


def is_known(code: str) -> bool:
    """Whether a statement begins as one that declares no table may begin.

    code: the statement, neither empty nor one of those that are read.
    """
    if code[0] == "(":
        return True
    start = _START.match(code)
    if start is None:
        return False
    if start[0].lower() == "table":  # PostgreSQL's TABLE x; with columns it lacks its CREATE
        return "(" not in code
    return start[0].lower() not in ("create", "alter") or _OTHER.match(code) is not None


def swallowed(code: str) -> int | None:
    """Where in a statement another one begins that declares something, or None.

    code: one that is read, or another one. Bodies of functions may hold statements.
    """
    if _WITH_BODY.match(code):
        return None
    return next((m.start() for m in _DECLARATION.finditer(code) if m.start() > 0), None)


def odd_tail(code: str) -> int | None:
    """Where something stands behind a table's list of columns that can't stand there, or None."""
    depth = 0
    for at, letter in enumerate(code):
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or (letter == "," and not code[:at].strip()):
            return at
    match = _AFTER_COLUMNS.search(code)
    return match.start() if match else None


def lone_comma(code: str) -> int | None:
    """Where a list has a comma with nothing before or after it, or None."""
    match = _LONE_COMMA.search(code)
    return match.start(match.lastindex or 0) if match else None
