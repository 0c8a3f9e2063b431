"""The yardstick's data: random users, items and features, with planted labels. Needs no files.

Made for measuring: 21 user and 12 item features of equal width, every user and item named by its number.
The labels follow a hidden linear model of the features, so that quality gates have something to lose.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from pydantic import Field

from model.frozen import Frozen
from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource, SourceTable

USER_FEATURES, ITEM_FEATURES = 21, 12
_BEHAVIOURS = {"long_view": 0.0, "share": -4.0, "comment": -3.5}
_SPREAD = 1.5


class BenchOptions(Frozen):
    """`data.options` of the reader `bench`."""

    rows: int = Field(default=100_000, ge=100)
    """Impressions."""
    users: int = Field(default=2_000, ge=10)
    items: int = Field(default=20_000, ge=10)
    values: int = Field(default=1_000, ge=2)
    """Distinct values of each feature."""
    seed: int = 11


@reader("bench", options=BenchOptions)
def read_bench(_schema: Schema, _folder: None, options: BenchOptions) -> LogSource:
    """Make the data set."""
    random = np.random.default_rng(options.seed)
    users = random.integers(0, options.values, (options.users, USER_FEATURES))
    items = random.integers(0, options.values, (options.items, ITEM_FEATURES))
    user, item = (random.integers(0, size, options.rows) for size in (options.users, options.items))
    length = np.exp(random.normal(3.2, 0.7, options.items)).clip(3, 300).round(1)
    log = {"user_id": user, "item_id": item, "time": np.arange(options.rows)}
    for behaviour, base in _BEHAVIOURS.items():
        logit = base + _SPREAD * _hidden_score(random, options.values, users, items, user, item)
        log[behaviour] = (random.random(options.rows) < _sigmoid(logit)).astype(np.int8)
    completion = _sigmoid(_hidden_score(random, options.values, users, items, user, item))
    log["completion"] = (completion + random.normal(0, 0.15, options.rows)).clip(0, 1)
    tables = (
        SourceTable("users", _table("user_id", "u", users), "user_id"),
        SourceTable(
            "items", _table("item_id", "i", items).with_columns(pl.Series("length_s", length)), "item_id"
        ),
    )
    return LogSource(pl.DataFrame(log), tables, f"bench:{options.model_dump_json()}")


def _hidden_score(
    random: np.random.Generator,
    values: int,
    users: np.ndarray,
    items: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
) -> np.ndarray:
    """A weight a feature value, summed over features and scaled to deviation one: [rows]."""
    user_part = random.normal(size=(USER_FEATURES, values))[np.arange(USER_FEATURES), users].sum(axis=1)
    item_part = random.normal(size=(ITEM_FEATURES, values))[np.arange(ITEM_FEATURES), items].sum(axis=1)
    score = user_part[user] + item_part[item]
    return np.asarray(score / np.sqrt(USER_FEATURES + ITEM_FEATURES))


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def _table(key: str, prefix: str, features: np.ndarray) -> pl.DataFrame:
    columns = {f"{prefix}{place}": features[:, place] for place in range(features.shape[1])}
    return pl.DataFrame({key: np.arange(len(features)), **columns})
