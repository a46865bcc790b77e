"""What names of tables and columns say: words, singulars, and which names mean a key."""

import re
from collections.abc import Sequence

ORIGINAL = "_original"
"""Ends the name of the column that keeps the keys that numbers have replaced."""
_KEYS = "id key code no nr num number uuid guid fk pk sk ref oid"
KEY_WORDS = frozenset(_KEYS.split())
WEAK_WORDS = frozenset(("code", "no", "nr", "num", "number", "ref"))
"""Key words of columns that often are no keys."""
_TABLE_WORDS = frozenset(("tbl", "tb", "table", "dim", "fact", "d", "f", "t", "tab", "lkp", "lu"))
_HIERARCHY = (
    "parent,parent_id,reports_to,manager,manager_id,boss,boss_id,supervisor,supervisor_id,reply_to"
    ",reply_to_id,in_reply_to,previous,previous_id,next,next_id,root_id,ancestor_id,superior_id,"
    "mentor_id,leader_id,replaces,replaced_by,merged_into,duplicate_of,original_id,head_id"
)
_NO_KEYS = (
    "paid valid grid bid hybrid solid fluid rapid invalid unpaid prepaid avoid covid acid said "
    "monkey turkey hockey whiskey donkey laid kid lid mid aid raid void squid android "
    "celluloid polaroid"
)
_JOINED = ("id", "key", "code")
_NOT_KEYS = frozenset(_NO_KEYS.split())
HIERARCHY = frozenset(_HIERARCHY.replace("_", "").split(","))
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters: "ArtistID" and "artist_id" give artist, id."""
    parts = re.sub(r"[^\w]+", "_", name)
    return tuple(word.lower() for word in _SPLIT.split(parts) if word) or (name.lower(),)


def singular(word: str) -> str:
    """An English noun without its plural, as far as endings tell."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes", "zes", "uses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def table_stem(table: str) -> tuple[str, ...]:
    """The words of a table's name, in the singular, without prefixes such as tbl or dim."""
    found = words(table)
    while len(found) > 1 and found[0] in _TABLE_WORDS:
        found = found[1:]
    return tuple(singular(word) for word in found)


def key_stem(column: str) -> tuple[str, ...]:
    """What a key's name names: its words, in the singular, without id, key, code at the end."""
    found = words(column)
    while found and found[-1] in KEY_WORDS:
        found = found[:-1]
    ending = _joined_ending(found[-1]) if found == words(column) else ""
    if ending:
        found = (*found[:-1], found[-1].removesuffix(ending))
    return tuple(singular(word) for word in found)


def is_key_name(column: str) -> bool:
    """Whether a name says that its column identifies something."""
    last = words(column)[-1]
    return last in KEY_WORDS or bool(_joined_ending(last))


def _joined_ending(word: str) -> str:
    """The id, key or code that ends a word without a gap, as in itemid and parkkey; or ""."""
    if word in _NOT_KEYS:
        return ""
    return next((end for end in _JOINED if word.endswith(end) and len(word) > len(end)), "")


def is_hierarchy(column: str) -> bool:
    """Whether a name says that its column refers to a row of its own table."""
    return "".join(words(column)) in HIERARCHY


def ends_with(long: Sequence[str], short: Sequence[str]) -> bool:
    """Whether the words `short` stand at the end of `long`."""
    return bool(short) and tuple(long[-len(short) :]) == tuple(short)


def likeness(first: str, second: str) -> float:
    """How much the names of two tables share, from 0 to 1: by words, or by how they begin."""
    a, b = set(table_stem(first)), set(table_stem(second))
    shared = len(a & b) / max(len(a | b), 1)
    one, other = "".join(table_stem(first)), "".join(table_stem(second))
    common = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), None)
    begun = (min(len(one), len(other)) if common is None else common) / max(len(one), len(other))
    return max(shared, begun if begun * max(len(one), len(other)) >= 3 else 0.0)


KEYS = "keys"
"""The folder, beside `db`, of the keys that rows had in their source."""
LEFT_OUT = "tasks_left_out.yaml"
"""In the folder: definitions of tasks that no longer fitted when it was imported again."""
PLAN = "plan.yaml"
"""In the folder: the plan by which it was made, which --plan takes again."""
