"""Cycles of references: where tables are ordered in spite of them, and where they can't be."""

from collections.abc import Hashable

import networkx as nx

from plurel.errors import InputError
from plurel.sql_model import SqlDatabase, SqlTable
from plurel.sql_roles import owners


def order_tables(database: SqlDatabase) -> tuple[list[str], set[tuple[str, int]]]:
    """Names of tables, each after those that its features read; and the keys that are not read.

    Not read are references of a table to itself, and in each cycle of tables all keys of one table
    to the next: where they may be null, else where they are declared last.
    """
    places = {table.name: place for place, table in enumerate(database.tables)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(places)
    unread: set[tuple[str, int]] = set()
    for table in database.tables:
        for number, key in enumerate(table.foreign_keys):
            if key.parent == table.name:
                unread.add((table.name, number))
            else:
                graph.add_edge(key.parent, table.name)
    while not nx.is_directed_acyclic_graph(graph):
        cycle = nx.find_cycle(graph, min(_cyclic(graph), key=places.__getitem__))
        parent, child = max(
            ((edge[0], edge[1]) for edge in cycle),
            key=lambda edge: _breakable(database.by_name[edge[1]], edge[0]),
        )
        graph.remove_edge(parent, child)
        keys = database.by_name[child].foreign_keys
        unread |= {(child, n) for n, key in enumerate(keys) if key.parent == parent}
    return list(nx.lexicographical_topological_sort(graph, key=places.__getitem__)), unread


def _cyclic(graph: "nx.DiGraph[str]") -> set[str]:
    """The nodes on some cycle."""
    parts = nx.strongly_connected_components(graph)
    return {node for part in parts if len(part) > 1 for node in part}


def _breakable(child: SqlTable, parent: str) -> tuple[bool, int]:
    """How well the references of `child` to `parent` do without being read: nullable, then late."""
    keys = [key for key in child.foreign_keys if key.parent == parent]
    nullable = all(any(not child.column(c).not_null for c in key.columns) for key in keys)
    return nullable, max(key.line for key in keys)


def check_values(database: SqlDatabase, path: str) -> None:
    """InputError, with the cycle spelled out, if a key's value would depend on itself.

    Row numbers reference in circles without harm; the values of columns that belong to several
    keys, or that copy another table's column, do not.
    """
    graph: nx.DiGraph[Hashable] = nx.DiGraph()
    for table in database.tables:
        links = (table.name, None)
        owned = owners(table.foreign_keys, table.name)
        for key, mine in zip(table.foreign_keys, owned, strict=True):
            shared = _shared(table, key.columns)
            for column, parent in zip(key.columns, key.parent_columns, strict=True):
                if column in mine:
                    graph.add_edge((table.name, column), (key.parent, parent))
                    graph.add_edge((table.name, column), links)
                if key.parent != table.name and (shared or _partly_unique(table, key.columns)):
                    graph.add_edge(links, (key.parent, parent))
    try:
        cycle = nx.find_cycle(graph)
    except nx.NetworkXNoCycle:
        return
    names = [name if column is None else f"{name}.{column}" for (name, column), *_ in cycle]
    lines = [database.by_name[name].line for (name, _), *_ in cycle]
    spelled = " -> ".join([*names, names[0]])
    raise InputError(
        f"{path}, line {lines[0]}: the keys {spelled} take their values from each other in a "
        "circle; let one of these columns reference nothing"
    )


def _shared(table: SqlTable, columns: tuple[str, ...]) -> bool:
    """True if another foreign key of the table has one of the columns, too."""
    return sum(bool(set(columns) & set(key.columns)) for key in table.foreign_keys) > 1


def _partly_unique(table: SqlTable, columns: tuple[str, ...]) -> bool:
    """True if a unique set of the table holds some, not all, of the columns."""
    return any(0 < len(set(columns) & set(s)) < len(columns) for s in table.unique_sets)
