"""Synthetic relational databases: schemas, foreign keys and features from structural models."""

__version__ = "0.1.0"
