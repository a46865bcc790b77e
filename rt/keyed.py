"""Frames whose keys follow RelBench's contract: 0..n-1 in row order."""

import numpy as np
import pandas as pd


def numbered(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """The table with the key 0..n-1 in front."""
    table = table.reset_index(drop=True)
    table.insert(0, key, np.arange(len(table), dtype=np.int64))
    return table


def key_of(codes: pd.Series, table: pd.DataFrame, code: str, key: str) -> pd.Series:
    """Foreign keys (nullable integers) in place of codes; null for a code that is not there."""
    return codes.map(table.set_index(code)[key]).astype("Int64")
