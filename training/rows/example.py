"""The request that a bundle shows as its example: one that its store can answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model.encoding import canonical
from model.schema import Schema
from training.preparation.preparation import PreparedLog


def example_request(schema: Schema, log: PreparedLog) -> dict[str, Any]:
    """A request that the bundle's store can answer: a late validation row's user and a few of the videos."""
    data = schema.data
    if data.item is None:
        return {}
    last = int(np.flatnonzero(log.validation)[-1])
    items = log.frame[data.item].tail(2_000).unique(maintain_order=True).to_list()
    names = [name for name in (canonical(item) for item in reversed(items)) if name is not None][:5]
    context = {}
    for spec in schema.side("context"):
        value = _plain(log.columns[spec.name].value(last))
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            context[spec.name] = value
    user = canonical(log.frame[data.user][last])
    return {"user_id": user, "top_k": 3, "context": context, "candidate_ids": names}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.item() if isinstance(value, np.generic) else value
