"""Can a classifier tell the databases of one folder from those of another?

    python benchmarks/fidelity.py A B [--seed 0]

A and B hold databases as RelBench folders. Statistics of every database, table, foreign key and
column (sizes, degrees, blocks, moments, ties, autocorrelation, correlations; no names, no storage
types) go to gradient boosting (gb) and logistic regression (lr), which say whether it is of A or
of B: 5-fold cross-validation by database; intervals of 95 % by drawing the databases again.
"""

import argparse
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from _report import finish, print_table
from numpy.typing import NDArray
from scipy.stats import entropy, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plurel.manifest import MANIFEST, TableKeys, read_tables

Array = NDArray[Any]
Features = dict[str, float]
Table = tuple[Array, Array, dict[str, Array], Array]
FLAT = 1e-6  # numbers that deviate by less, relative to the largest, count as all the same
GB = HistGradientBoostingClassifier(learning_rate=0.05, max_iter=200, early_stopping=False)
IMPUTE = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
LR = make_pipeline(IMPUTE, StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))
CLASSIFIERS = {"gb": GB, "lr": LR}


def read_database(folder: Path) -> tuple[dict[str, TableKeys], dict[str, Table]]:
    """Keys, and of each table its features as numbers [rows, columns], NaN where missing, and as
    `ranks`, by foreign key the row that each row references (-1: none), and the times in years."""
    _, keys = read_tables(folder)
    frames = {name: pd.read_parquet(folder / "db" / f"{name}.parquet") for name in keys}
    tables = {}
    for name, frame in frames.items():
        primary, time, foreign = keys[name].primary_key, keys[name].time_column, {}
        for column, parent in keys[name].foreign_keys.items():
            referenced = pd.Index(frames[parent][keys[parent].primary_key])
            foreign[column] = referenced.get_indexer(frame[column])
        columns = [numbers(frame[c]) for c in frame if c not in (primary, time, *foreign)]
        values = np.array(columns).reshape(len(columns), len(frame)).T
        tables[name] = values, ranks(values), foreign, numbers(frame[time]) if time else np.empty(0)
    return keys, tables


def numbers(column: "pd.Series[Any]") -> Array:
    if column.dtype.kind == "M":
        return column.to_numpy("datetime64[s]").astype(np.float64) / 31_557_600
    if column.dtype.kind in "biuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.where((codes := pd.factorize(column)[0]) < 0, np.nan, codes)


def ranks(values: Array) -> Array:
    """Ranks by column, ties shared, with mean 0 and deviation 1; 0 where a value is missing."""
    values = values.astype(np.float32)
    return standardized(rankdata(values, axis=0, nan_policy="omit") if values.size else values)


def standardized(values: Array) -> Array:
    """Mean 0 and deviation 1 by column; 0 where a value is missing or all are the same."""
    present = ~np.isnan(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.nansum(values, axis=0) / count
    centred = np.where(present, values - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / count)
    flat = deviation <= FLAT * (np.abs(mean) + np.abs(centred).max(axis=0, initial=0.0))
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, deviation))


def shape(column: Array) -> Features:
    """Moments, quantiles and ties of numbers, whatever their order; NaN are missing."""
    values = column[~np.isnan(column)]
    if not len(values):
        return {"missing": 1.0}
    counts = np.unique(values.astype(np.float32), return_counts=True)[1]
    standard = standardized(values[:, None])[:, 0]
    found = {
        "missing": 1 - len(values) / len(column),
        "mean": np.arcsinh(values.mean()),
        "log_deviation": np.log(values.std() + 1e-12),
        "distinct": len(counts) / len(values),
        "mode": counts.max() / len(values),
        "at_low": counts[0] / len(values),
        "at_high": counts[-1] / len(values),
        "negative": (values < 0).mean(),
        "boolean": np.isin(values, (0, 1)).all(),
    }
    if not standard.any():
        return found
    places = (0, 5, 10, 25, 50, 75, 90, 95, 100)
    quantiles = np.arcsinh(np.percentile(standard, places))
    found |= dict(zip((f"q{place}" for place in places), quantiles, strict=True))
    found |= {
        "skewness": np.arcsinh((standard**3).mean()),
        "kurtosis": np.log((standard**4).mean()),
    }
    return found | {"entropy": entropy(np.bincount(np.clip(standard * 5 + 15, 0, 30).astype(int)))}


def course(z: Array) -> Features:
    """How standardised numbers move from row to row, and over all rows."""
    rows = len(z)
    if rows < 30 or not z.any():
        return {}
    place = (np.arange(rows) + 0.5) / rows
    power = (np.cos(np.pi * np.arange(1, 25)[:, None] * place) @ z / rows) ** 2
    return {
        "lag1": (z[1:] * z[:-1]).mean(),
        "lag20": (z[20:] * z[:-20]).mean(),
        "trend": abs(np.corrcoef(place, z)[0, 1]),
        "smooth": power.sum(),
        "wave": power.max(),
    }


def information(first: Array, second: Array, bins: int) -> float:
    """Mutual information of two kinds of row numbers, cut into bins, over the smaller entropy."""
    a, b = (rows * bins // (rows.max() + 1) for rows in (first, second))
    joint = np.bincount(a * bins + b, minlength=bins * bins).reshape(bins, bins)
    sides = [entropy(joint.sum(axis=axis)) for axis in (0, 1)]
    return (sum(sides) - entropy(joint.ravel())) / max(min(sides), 1e-9)


def within_table(z: Array) -> list[Features]:
    """Of each column, how it goes with the table's others."""
    columns, others = z.shape[1], max(z.shape[1] - 1, 1)
    matrix = z.T @ z / len(z)
    inverse = np.linalg.pinv(matrix + 0.02 * np.eye(columns))
    size = np.abs(matrix - np.diag(np.diag(matrix)))
    found = {
        "correlation": size.sum(axis=0) / others,
        "correlation_max": size.max(axis=0, initial=0.0),
        "correlation_before": np.append(np.nan, np.diag(size, 1)),
        "strong": (size > 0.9).sum(axis=0) / others,
        "explained": 1 - 1 / np.maximum(np.diag(inverse), 1.0),
    }
    return [{key: value[column] for key, value in found.items()} for column in range(columns)]


def through_key(z: Array, parent: Array, rows: Array) -> list[Features]:
    """Of each column, the variance between parents, and correlations with the parents' columns."""
    degrees = np.bincount(rows, minlength=len(parent))
    free = (len(rows) - 1) / max(len(rows) - (degrees > 0).sum(), 1)
    size = np.abs(z.T @ standardized(parent[rows])) / len(rows)
    sums = np.array([np.bincount(rows, column, len(parent)) for column in z.T])
    between = (sums.reshape(-1, len(parent)) ** 2 / np.maximum(degrees, 1)).sum(axis=1)
    of_parent = 1 - (1 - between / np.maximum((z**2).sum(axis=0), 1e-9)) * free
    both = zip(of_parent, size.max(axis=1, initial=0.0), strict=True)
    return [{"of_parent": share, "with_parent": largest} for share, largest in both]


def key_features(rows: Array, parents: int, others: list[Array]) -> Features:
    """Degrees and blocks of one foreign key, and how it goes with the table's other keys."""
    degrees = np.bincount(rows, minlength=parents) / len(rows) * parents
    place = standardized(rows[:, None].astype(float))[:, 0]
    steps = np.diff([part.mean() for part in np.array_split(place, 100) if len(part)])
    by_parent = shape(degrees) | course(standardized(degrees[:, None])[:, 0])
    return {
        **averages("degree", [by_parent]),
        **course(place),
        "log_parents": np.log(parents),
        "log_children": np.log(len(rows)),
        "blocks": information(np.arange(len(rows)), rows, 20),
        "parent_entropy": entropy(np.bincount(rows * 30 // parents)),
        "jumps": (np.abs(steps) * np.sqrt(len(rows) / 100) > 3).mean(),
        "other_keys": max((information(other, rows, 10) for other in others), default=np.nan),
    }


def averages(name: str, found: list[Features]) -> Features:
    means = pd.DataFrame(found, dtype=float).mean()
    return {f"{name}_{key}": value for key, value in means.items()}


def database_features(folder: Path) -> dict[str, list[Features]]:
    """By level the features of all that is in a database; upper levels have means of lower ones."""
    keys, tables = read_database(folder)
    edges: Any = {name: list(own.foreign_keys.values()) for name, own in keys.items()}
    graph: nx.DiGraph[str] = nx.DiGraph(edges).reverse()
    found: dict[str, list[Features]] = {"database": [], "table": [], "key": [], "column": []}
    for name, (values, z, foreign, _) in tables.items():
        columns, links = within_table(z), []
        place = {"log_rows": np.log(len(z)), "columns": len(columns), "keys": len(foreign)}
        place |= {"children": graph.out_degree(name), "ancestors": len(nx.ancestors(graph, name))}
        for number, column in enumerate(columns):
            column |= shape(values[:, number]) | course(z[:, number]) | place
            column["position"] = number / len(columns)
        for key, rows in foreign.items():
            if not (rows >= 0).any():
                continue
            parent, seen = tables[keys[name].foreign_keys[key]][1], rows >= 0
            others = [np.maximum(other[seen], 0) for other in foreign.values() if other is not rows]
            shared = through_key(z[seen], parent, rows[seen])
            links.append(key_features(rows[seen], len(parent), others) | averages("column", shared))
            for column, more in zip(columns, shared, strict=True):
                column |= {k: max(v, column.get(k, -np.inf)) for k, v in more.items()}
        found["table"].append(place | averages("key", links) | averages("column", columns))
        found["key"] += links
        found["column"] += columns
    times = [times for *_, times in tables.values() if len(times) > 1]
    found["database"] = [schema_features(graph, times) | averages("table", found["table"])]
    return found


def schema_features(graph: "nx.DiGraph[str]", times: list[Array]) -> Features:
    """The graph of the tables, and the dates of those that have some."""
    found: Features = {"tables": len(graph), "edges": len(graph.edges)}
    if nx.is_directed_acyclic_graph(graph):
        found["shortcuts"] = len(graph.edges) - len(nx.transitive_reduction(graph).edges)
        found["depth"] = nx.dag_longest_path_length(graph)
    for name, side in (("children", graph.out_degree), ("parents", graph.in_degree)):
        degrees = [degree for _, degree in side]
        found |= {f"without_{name}": degrees.count(0), f"most_{name}": max(degrees)}
    if times:
        found |= {"start": min(map(np.min, times)), "end": max(map(np.max, times))}
        found["gaps"] = max(np.diff(part).std() * len(part) / np.ptp(part) for part in times)
    return found


def read_corpora(folders: list[Path]) -> dict[str, pd.DataFrame]:
    """By level a frame of features whose index has the corpus, 0 or 1, and the database."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for corpus, folder in enumerate(folders):
        for path in sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")):
            for level, found in database_features(path).items():
                parts = frames.setdefault(level, [])
                index = [[corpus] * len(found), [len(parts)] * len(found)]
                parts.append(pd.DataFrame(found, index, dtype=float))
    return {level: pd.concat(parts) for level, parts in frames.items()}


def judge(frame: pd.DataFrame, seed: int) -> dict[str, Array]:
    """By classifier scores of databases that it was not fitted on."""
    features, corpus, database = frame.to_numpy(), *map(frame.index.get_level_values, (0, 1))
    scores = {name: np.empty(len(frame)) for name in CLASSIFIERS}
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for train, test in folds.split(features, corpus, database):
        for name, classifier in CLASSIFIERS.items():
            model = classifier.fit(features[train], corpus[train])
            scores[name][test] = model.predict_proba(features[test])[:, 1]
    return scores


def interval(frame: pd.DataFrame, scores: Array, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    corpus, database = map(frame.index.get_level_values, (0, 1))
    sides = [np.unique(database[corpus == side]) for side in (0, 1)]
    found = []
    for _ in range(300):
        drawn = np.concatenate([rng.choice(side, len(side)) for side in sides])
        weight = np.bincount(drawn, minlength=database.max() + 1)[database]
        found.append(roc_auc_score(corpus, scores, sample_weight=weight))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def separating(level: str, frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """The five features that tell most alone: AUROC and medians (where there is a value)."""
    corpus, medians = frame.index.get_level_values(0), frame.groupby(level=0).median()
    filled = frame.fillna(frame.median()).fillna(0.0)
    alone = {name: roc_auc_score(corpus, filled[name]) for name in frame}
    names = sorted(alone, key=lambda name: -abs(alone[name] - 0.5))[:5]
    return [(f"{level} {name}", alone[name], *medians[name]) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    figures: dict[str, float] = {}
    rows, tops = [], []
    for level, frame in read_corpora(args.folders).items():
        for name, scores in judge(frame, args.seed).items():
            auroc = float(roc_auc_score(frame.index.get_level_values(0), scores))
            low, high = interval(frame, scores, args.seed)
            rows.append((f"{level} {name}", len(frame), auroc, low, high))
            ends = zip(("", "_low", "_high"), (auroc, low, high), strict=True)
            figures |= {f"{level}_{name}{end}": value for end, value in ends}
        tops += separating(level, frame)
    print_table(("level", "of them", "AUROC", "low", "high"), rows)
    print_table(("feature", "AUROC", "median A", "median B"), tops)
    finish(**figures)


if __name__ == "__main__":
    main()
