"""New tasks of a database: forecasts in a line, SQL or columns to complete, as RelBench's tasks."""
