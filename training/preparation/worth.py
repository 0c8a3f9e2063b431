"""Worth: what impressions were worth, as the recipe or a command's `--reward` declares it.

An expression over task names, columns of the log and `video_len_s`. Knows neither predictions nor orders.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from model.schema import Schema
from training.metrics.reward import default_reward, values_of
from training.preparation.expressions import column_names, floats

Array = npt.NDArray[np.float64]


def reward_of(schema: Schema, reward: str | None = None) -> str:
    """The expression that counts: the one given, else the recipe's, else the sum of all labels."""
    return reward or schema.reward or default_reward(schema)


def labels_of(schema: Schema, frame: pl.DataFrame, only: Collection[str] | None = None) -> dict[str, Array]:
    """By task, or by those of them that are asked for: labels [rows], NaN outside the task's sample space."""
    found = {}
    for task in schema.tasks:
        if only is not None and task.name not in only:
            continue
        label = floats(frame, task.label, f"tasks.{task.name}.label")
        if task.where is not None:
            label = np.where(floats(frame, task.where, f"tasks.{task.name}.where") == 1.0, label, np.nan)
        bounds = getattr(task, "bounds", (0.0, 1.0))
        found[task.name] = np.clip(label, *bounds)
    return found


def worth_of(text: str, frame: pl.DataFrame, labels: Mapping[str, Array], video_len_s: Array) -> Array:
    """What each row was worth [rows]; NaN where something that the reward names is unknown.

    Args:
        text: the expression. A task's name means its label, whatever columns there are.
        frame: the rows.
        labels: by task [rows], NaN where unknown.
        video_len_s: seconds [rows], NaN where unknown.

    Raises:
        FulcrumError: no expression, an unknown name, text where numbers are needed, or a value that is
            infinite or no number.
    """
    known = {*labels, "video_len_s"}
    named = sorted((column_names(text) & set(frame.columns)) - known)
    columns = {name: floats(frame, name, "reward") for name in named}
    return values_of(text, {**columns, **labels}, video_len_s)
