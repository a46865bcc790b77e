"""CHECK constraints: what they leave of the columns' types.

Understood: comparisons of one column with literals, BETWEEN, IN and = ANY lists, lengths of texts,
IS NOT NULL, `x IS NULL OR ...`, all of them joined by AND, and `a <= b` between two columns.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlglot import exp

from plurel.sql_model import Ordered, SqlType, Value
from plurel.sql_types import category, step


class NoValueLeft(Exception):
    """A check, in words, that leaves no value of a column, and the column."""


class NotUnderstood(Exception):
    """A part of a statement that can't be turned into something to generate; the text says why."""


@dataclass
class Narrowed:
    """What checks have left of a table's columns so far."""

    types: dict[str, SqlType]
    not_null: set[str]
    ordered: list[Ordered]


_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.EQ: "=",
    exp.NEQ: "<>",
}
_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "=": "=", "<>": "<>"}
_NOW = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime)


def apply_check(check: exp.Expr, state: Narrowed, names: Mapping[str, str]) -> None:
    """Narrow the columns of a table by one CHECK; raises NotUnderstood, naming the part, or
    NoValueLeft.

    names: the columns by their names in lower case.
    """
    check = _bare(check) or check
    if isinstance(check, exp.And):
        apply_check(check.left, state, names)
        apply_check(check.right, state, names)
    elif isinstance(check, exp.Or):
        _apply_or(check, state, names)
    elif isinstance(check, exp.Between):
        for sign, bound in ((">=", check.args["low"]), ("<=", check.args["high"])):
            _compare(check, check.this, sign, bound, state, names)
    elif isinstance(check, exp.In) and check.expressions and not check.args.get("query"):
        _choose(_column(check.this, names, check), check.expressions, state, check)
    elif isinstance(check, exp.Not) and _is_null_test(check.this):
        test = _bare(check.this) or check
        state.not_null.add(_column(test.this, names, check))
    elif type(check) in _COMPARISONS:
        sign = _COMPARISONS[type(check)]
        _compare(check, check.this, sign, check.expression, state, names)
    else:
        raise NotUnderstood(_spell(check))


def literal(node: exp.Expr | None) -> Value | None:
    """The value of a literal, through casts, parentheses and signs; None if it isn't one."""
    node = _bare(node)
    if isinstance(node, exp.Neg):
        value = literal(node.this)
        return -value if isinstance(value, int | float) else None
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.BitString):
        return int(str(node.this), 2)
    if not isinstance(node, exp.Literal):
        return None
    if node.is_string:
        return str(node.this)
    number = float(node.this)
    return int(number) if number.is_integer() and "." not in node.this else number


def _bare(node: exp.Expr | None) -> exp.Expr | None:
    """Without parentheses and casts around it."""
    while isinstance(node, exp.Paren | exp.Cast):
        node = node.this
    return node


def _spell(node: exp.Expr) -> str:
    return f"CHECK ({' '.join(node.sql().split())})"


def _column(node: exp.Expr | None, names: Mapping[str, str], whole: exp.Expr) -> str:
    node = _bare(node)
    name = names.get(node.name.lower()) if isinstance(node, exp.Column | exp.Identifier) else None
    if name is None:
        raise NotUnderstood(_spell(whole))
    return name


def _is_null_test(node: exp.Expr | None) -> bool:
    node = _bare(node)
    return isinstance(node, exp.Is) and isinstance(_bare(node.expression), exp.Null)


def _apply_or(check: exp.Or, state: Narrowed, names: Mapping[str, str]) -> None:
    """`x IS NULL OR ...` is the rest; `x = 1 OR x = 2` and lists of the same column are a list."""
    parts = [part for part in map(_bare, check.flatten()) if part is not None]
    rest = [part for part in parts if not _is_null_test(part)]
    if len(rest) == 1 and len(parts) > 1:
        apply_check(rest[0], state, names)
        return
    values: list[exp.Expr] = []
    chosen = set()
    for part in rest:
        if isinstance(part, exp.In) and part.expressions:
            values += part.expressions
        elif isinstance(part, exp.EQ):
            values.append(part.expression)
        else:
            raise NotUnderstood(_spell(check))
        chosen.add(_column(part.this, names, check))
    if len(chosen) != 1:
        raise NotUnderstood(_spell(check))
    _choose(chosen.pop(), values, state, check)


def _choose(name: str, nodes: list[exp.Expr], state: Narrowed, whole: exp.Expr) -> None:
    """The column holds one of the literals."""
    kind = state.types[name]
    values = [literal(node) for node in nodes]
    if any(value is None for value in values):
        raise NotUnderstood(_spell(whole))
    if kind.base == "boolean" and {int(v) for v in values if isinstance(v, int)} == {0, 1}:
        return
    wanted = tuple(_typed(value, kind, whole) for value in values if value is not None)
    if kind.base == "category":
        wanted = tuple(value for value in kind.values if value in wanted)
    elif kind.low is not None and kind.high is not None:
        low, high = kind.low, kind.high
        wanted = tuple(v for v in wanted if isinstance(v, str) or low <= v <= high)
    if not wanted:
        raise NoValueLeft(_spell(whole), name)
    state.types[name] = replace(category(wanted), spelled=kind.spelled)


def _typed(value: Value, kind: SqlType, whole: exp.Expr) -> Value:
    """A literal as a value of the column's type."""
    of_texts = kind.base == "text" or (kind.base == "category" and isinstance(kind.values[0], str))
    if of_texts:
        return str(value)
    if kind.base in ("integer", "decimal", "float", "category"):
        try:
            number = float(value)
        except ValueError:
            raise NotUnderstood(_spell(whole)) from None
        return int(number) if kind.base != "float" and number.is_integer() else number
    raise NotUnderstood(_spell(whole))


def _compare(
    whole: exp.Expr,
    left: exp.Expr,
    sign: str,
    right: exp.Expr,
    state: Narrowed,
    names: Mapping[str, str],
) -> None:
    bare_left, bare_right = _bare(left), _bare(right)
    sides = [isinstance(side, exp.Column | exp.Identifier) for side in (bare_left, bare_right)]
    if all(sides) and sign not in ("=", "<>"):
        low, high = _column(left, names, whole), _column(right, names, whole)
        if sign in (">", ">="):
            low, high = high, low
        state.ordered.append(Ordered(low, high, strict="=" not in sign))
        return
    if literal(bare_left) is not None and bare_right is not None:
        bare_left, bare_right, sign = bare_right, bare_left, _FLIPPED[sign]
    if isinstance(bare_right, exp.Any | exp.Array | exp.Tuple) and sign == "=":
        array = bare_right.find(exp.Array)
        _choose(_column(bare_left, names, whole), array.expressions if array else [], state, whole)
        return
    value = literal(bare_right)
    if isinstance(bare_left, exp.Length):
        _bound_length(_column(bare_left.this, names, whole), sign, value, state, whole)
        return
    name = _column(bare_left, names, whole)
    if isinstance(bare_right, _NOW) and sign in ("<", "<="):
        return  # every date lies in a window in the past
    if value is None:
        raise NotUnderstood(_spell(whole))
    _bound(name, sign, value, state, whole)


def _bound(name: str, sign: str, value: Value, state: Narrowed, whole: exp.Expr) -> None:
    kind = state.types[name]
    if sign == "=":
        _choose(name, [exp.convert(value)], state, whole)
        return
    if sign == "<>" and kind.base == "text" and value == "":
        state.types[name] = replace(kind, min_length=max(kind.min_length, 1))
        return
    number = _as_number(value, kind, whole)
    if sign == "<>" and number not in (kind.low, kind.high):
        raise NotUnderstood(_spell(whole))
    if sign == "<>":
        sign = ">" if number == kind.low else "<"
    gap = step(kind)
    low, high = kind.low, kind.high
    if sign in (">", ">="):
        low = max(-math.inf if low is None else low, _edge(number, gap, sign == ">", 1))
    else:
        high = min(math.inf if high is None else high, _edge(number, gap, sign == "<", -1))
    if low is not None and high is not None and low > high:
        raise NoValueLeft(_spell(whole), name)
    from_below = sign in (">", ">=")
    state.types[name] = replace(
        kind,
        low=low,
        high=high,
        low_checked=kind.low_checked or from_below,
        high_checked=kind.high_checked or not from_below,
    )


def _edge(number: float, gap: float, open_: bool, way: int) -> float:
    """The first value from `number` on in the direction `way`, on the type's grid."""
    if not gap:
        return math.nextafter(number, way * math.inf) if open_ else number
    rounding = math.ceil if way > 0 else math.floor
    steps = rounding(round(number / gap, 6))
    if open_ and abs(steps * gap - number) < gap * 1e-6:
        steps += way
    return steps / round(1 / gap) if gap < 1 else steps * gap


def _as_number(value: Value, kind: SqlType, whole: exp.Expr) -> float:
    if kind.base in ("date", "timestamp") and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise NotUnderstood(_spell(whole)) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if kind.base not in ("integer", "decimal", "float") or isinstance(value, bool):
        raise NotUnderstood(_spell(whole))
    try:
        return float(value)
    except ValueError:
        raise NotUnderstood(_spell(whole)) from None


def _bound_length(
    name: str, sign: str, value: Value | None, state: Narrowed, whole: exp.Expr
) -> None:
    kind = state.types[name]
    if kind.base != "text" or not isinstance(value, int) or sign == "<>":
        raise NotUnderstood(_spell(whole))
    low = value + (sign == ">") if sign in (">", ">=", "=") else 0
    high = value - (sign == "<") if sign in ("<", "<=", "=") else kind.length
    length = high if kind.length is None or high is None else min(high, kind.length)
    shortest = max(kind.min_length, low)
    if length is not None and shortest > length:
        raise NoValueLeft(_spell(whole), name)
    state.types[name] = replace(kind, min_length=shortest, length=length)
