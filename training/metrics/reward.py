"""Reward: what an impression was worth, as an expression over the names of its labels.

Polars SQL, as in a recipe. Knows labels and lengths, neither predictions nor orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from model.errors import FulcrumError
from model.schema import Schema

_LENGTH = "video_len_s"


def default_reward(schema: Schema) -> str:
    """The sum of all labels; one that is unknown outside its task's sample space counts as 0."""
    return " + ".join(
        task.name if task.where is None else f"coalesce({task.name}, 0)" for task in schema.tasks
    )


def check_expression(text: str) -> pl.Expr:
    """The expression, whatever it names.

    Raises:
        FulcrumError: it is none.
    """
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"reward {text!r}: no Polars SQL expression ({_first(error)})") from error
    if not isinstance(expression, pl.Expr):
        raise FulcrumError(f"reward {text!r}: expected one expression, found several")
    return expression


def check_reward(text: str, labels: Sequence[str]) -> pl.Expr:
    """The expression, which names only labels that there are; reads no data.

    Raises:
        FulcrumError: no expression, or an unknown name.
    """
    expression = check_expression(text)
    known = (_LENGTH, *labels)
    for name in sorted(set(expression.meta.root_names())):
        if name not in known:
            raise FulcrumError(f"reward {text!r}: there is no label {name!r}; there is {', '.join(known)}")
    return expression


def not_negative(text: str, found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """These values of a reward.

    Raises:
        FulcrumError: one is below 0.
    """
    strange = found[found < 0]
    if len(strange):
        raise FulcrumError(
            f"reward {text!r}: expected 0 or more, found {strange[0]:g} in {len(strange)} rows"
        )
    return found


def values_of(
    text: str,
    labels: Mapping[str, npt.NDArray[np.float64]],
    video_len_s: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The expression's value of each row, float64 [rows]; NaN where a label that it needs is unknown.

    Args:
        text: the expression; it may name labels and `video_len_s`.
        labels: by task name, NaN where unknown.
        video_len_s: NaN where unknown.

    Raises:
        FulcrumError: no expression, an unknown name, or a value that is infinite or no number.
    """
    expression = check_reward(text, list(labels))
    frame = pl.DataFrame({_LENGTH: video_len_s} | dict(labels)).fill_nan(None)
    try:
        values = frame.select(value=expression.cast(pl.Float64))["value"]
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"reward {text!r}: fails on these labels ({_first(error)})") from error
    if len(values) == 1 != frame.height:
        values = values.new_from_index(0, frame.height)
    if len(values) != frame.height:
        raise FulcrumError(f"reward {text!r}: expected a number for each row, found {len(values)} numbers")
    strange = values.filter(~values.is_finite())  # what is unknown is null
    if len(strange):
        raise FulcrumError(
            f"reward {text!r}: expected a finite number, found {strange[0]:g} in {len(strange):,} of "
            f"{len(values):,} rows"
        )
    return values.fill_null(np.nan).to_numpy()


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
