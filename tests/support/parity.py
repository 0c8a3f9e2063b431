"""Compares a running service with `fulcrum evaluate --predictions`, impression by impression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import polars as pl


def largest_difference(
    client: httpx.Client,
    rows: pl.DataFrame,
    user: str,
    item: str,
    context: Sequence[str],
    *,
    user_features: Sequence[str] = (),
) -> tuple[int, float]:
    """Rank each impression's video for its user in its context: impressions compared, largest difference.

    Impressions that share user, context and user features go out in one request, so lists have many lengths.

    Args:
        client: of the service.
        rows: of `evaluate --predictions`.
        user, item: columns of the ids.
        context: context features.
        user_features: what is sent as it was at the impression, in place of the store's.
    """
    tasks = [name.removesuffix("_prediction") for name in rows.columns if name.endswith("_prediction")]
    compared, worst = 0, 0.0
    for key, group in rows.group_by([user, *context, *user_features], maintain_order=True):
        videos = group.unique(item, maintain_order=True)
        of_context, of_user = key[1 : 1 + len(context)], key[1 + len(context) :]
        request: dict[str, Any] = {
            "user_id": str(key[0]),
            "context": dict(zip(context, of_context, strict=True)),
            "user_features": dict(zip(user_features, of_user, strict=True)),
            "candidate_ids": [str(video) for video in videos[item]],
            "top_k": videos.height,
        }
        answer = client.post("/v1/rank", json=request)
        assert answer.status_code == 200, answer.text
        found = {entry["id"]: entry for entry in answer.json()["items"]}
        for row in videos.iter_rows(named=True):
            entry = found[str(row[item])]
            assert entry["status"] == "ok"
            for task in tasks:
                worst = max(worst, abs(entry["predictions"][task] - row[f"{task}_prediction"]))
        compared += videos.height
    return compared, worst
