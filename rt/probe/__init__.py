"""How much a corpus of databases has to teach: what its answers need.

A model that reads many tables learns to read them only where an answer stands in another one. So
the tasks of a corpus are answered by boosted trees (`rt.boosting`) from three nested parts of the
joined row (`rt.joined`), and the lift from one to the next is the measure:

- `row`: the other cells of the target's row, and the calendar of its time;
- `parents`: and the columns of its ancestors, two foreign keys up;
- `children`: and aggregates of the rows that reference the row or one of these (siblings among
  them), and the other parents of the latest of them. The target column is in none of the three, nor
  is a label; time is kept as under `rolling`.

Tasks are of two kinds, which are never added up. `columns`: columns that the project would train on
(`rt.tasks.COLUMN_TASK_TYPES`: every boolean and number column), drawn with the seed, with one rule
for every corpus: rows in order of time, 50 % to fit, 20 % to choose by, the last 30 % to test;
tables without time are split at random, and their rows see everything as of the latest time in the
database. `declared`: the tasks of the folder, on RelBench's own test split, with a fourth part,
`labels`: past labels of the entity and of those that share an ancestor. Of a generated database
these are its forecasts (`rt.defining.drawn`); the columns that it declares are of the first kind.

Skill is one scale for all: 2 AUROC - 1 for booleans; 1 - MAE / MAE of the train median for numbers,
because the trees are fitted to absolute errors and R2 hangs on the few largest values of columns
with heavy tails. 0 is a constant answer, 1 a perfect one; below -1 counts as -1. Negative skill is
kept, so that noise has the mean 0.

A task is *predictable* if its best skill without `labels` exceeds PREDICTABLE, and then *needs
another table* if `parents` or `children` is better than `row` by more than NEEDS; both only where
the 95 % interval over test rows lies above 0, so that a small test split does not make noise a
finding (and hides what is small). Every figure of a corpus is the mean over databases of the mean
over a database's tasks, its interval that of resampled databases, and lifts are differences within
tasks.

`questions` makes the tasks, `skills` scores one, `corpus` runs them, `report` sums up and prints,
`picture` draws. Bad input is InputError in one line.
"""
