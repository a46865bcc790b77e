"""Rows of a relational database as one flat table: the row, its ancestors, aggregates of the rows
that reference them, and known labels; everything by what is known at each row's bound.

The rules are those of the sampler (`rustler/src/visibility.rs`), for rows with a time t and a bound
(the smaller of t and the cutoff): a database row is seen only if its time is at most the bound, or
if it has none, and only through rows that are seen themselves; a label, and a cell of a column that
the task names as leaking, only if its row's time plus the horizon is at most the bound and its
row's time is before t. The row itself is always seen, without its target and leaking cells.

Aggregates along foreign keys are deep feature synthesis (Kanter and Veeramachaneni, DSAA 2015),
with the cut in time of each row. `tables` reads a database, `queries` says which rows are described
and what each may know, `relation` aggregates, `anchors` walks to ancestors, `features` puts it
together. Nothing here knows of models.
"""
