"""Measures: what the metrics of an experiment are made of: expressions over rows of a joined log.

`reward` is the experiment's own expression, else the command's or the recipe's; a name that the terms do not
declare is a column. What is unknown of a row adds nothing: it is so in all arms. Knows no arms.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from model.errors import FulcrumError
from model.experiments import Terms
from model.schema import Schema
from training.datasets.served import length_as_declared
from training.experiments.units import Floats
from training.metrics.reward import check_expression
from training.preparation.expressions import column_names
from training.preparation.worth import labels_of, reward_of, worth_of

REWARD = "reward"
ANSWERS = ("failed", "degraded", "slow")
"""Metrics of guardrails that no row has: they are counted by answer."""


@dataclass(frozen=True)
class Measures:
    """Gives expressions and their values.

    Attributes:
        schema: whose labels expressions may name, as in a recipe; None where they name columns alone.
        reward: what an impression is worth, where an experiment does not say; the schema's where None.
    """

    schema: Schema | None = None
    reward: str | None = None

    def of(self, terms: Terms) -> tuple[dict[str, str], dict[str, str]]:
        """Expressions by metric: the primary one, those that are declared, and those of guardrails; and, by
        metric, why there is none."""
        guarded = [one.metric for one in terms.guardrails if one.metric not in ANSWERS]
        found, failed = dict[str, str](), dict[str, str]()
        for name in dict.fromkeys([terms.primary, *terms.metrics, *guarded]):
            try:
                found[name] = terms.metrics.get(name) or self._default(name)
            except FulcrumError as error:
                failed[name] = str(error)
        return found, failed

    def _default(self, name: str) -> str:
        if name != REWARD:
            return name
        if self.reward is None and self.schema is None:
            raise FulcrumError(
                "nothing says what it is; declare it in the experiment's terms, or give "
                "--reward EXPRESSION, or --bundle BUNDLE whose recipe declares it"
            )
        return self.reward or reward_of(self._labelled())

    def columns(self, expressions: Collection[str], known: Collection[str]) -> set[str]:
        """Columns of the joined log, of those that there are, that these expressions read."""
        named = set().union(*(column_names(text) for text in expressions)) if expressions else set()
        if self.schema is not None:
            for task in self.schema.tasks:
                if task.name in named:
                    named |= column_names(task.label) | column_names(task.where or "")
        return (named & set(known)) | {"video_len_s"}

    def values(
        self, frame: pl.DataFrame, expressions: Mapping[str, str], known: Collection[str]
    ) -> tuple[dict[str, Floats], dict[str, str]]:
        """What each row adds to each metric.

        Args:
            frame: the rows [R], with the `columns` that these expressions read.
            expressions: by metric.
            known: every column of the joined log.

        Returns:
            values [R] by metric; and, by metric, why one cannot be evaluated: it is no expression, names what
            is not there, or fails. Such a one adds 0.
        """
        labels: dict[str, Floats] = {}
        if self.schema is not None:
            frame = frame.with_columns(**length_as_declared(self.schema, frame.columns))
        lengths = frame["video_len_s"].fill_null(np.nan).to_numpy()
        found, failed = dict[str, Floats](), dict[str, str]()
        for name, text in expressions.items():
            try:
                if self.schema is not None:
                    labels |= labels_of(self.schema, frame, column_names(text) - labels.keys())
                self._check_names(text, known)
                found[name] = np.nan_to_num(worth_of(text, frame, labels, lengths))
            except FulcrumError as error:
                found[name], failed[name] = np.zeros(frame.height), str(error)
        return found, failed

    def _check_names(self, text: str, known: Collection[str]) -> None:
        tasks = [] if self.schema is None else [task.name for task in self.schema.tasks]
        for name in sorted(check_expression(text).meta.root_names()):
            if name not in known and name not in tasks:
                of = f"; the bundle's tasks are {', '.join(tasks)}" if tasks else ""
                raise FulcrumError(
                    f"{text!r} names {name!r}, which is no column of the joined log; there is "
                    f"{', '.join(sorted(known))}{of}"
                )

    def _labelled(self) -> Schema:
        assert self.schema is not None  # noqa: S101 - the caller has seen to it
        return self.schema
