"""Compares a running service with `fulcrum evaluate --predictions`, impression by impression."""

from __future__ import annotations

from typing import Any

import httpx
import polars as pl


def largest_difference(
    client: httpx.Client, rows: pl.DataFrame, user: str, item: str, context: list[str]
) -> tuple[int, float]:
    """Rank each impression's video for its user in its context: impressions compared, largest difference.

    Impressions that share user and context go out in one request, so lists have many lengths.
    """
    tasks = [name.removesuffix("_prediction") for name in rows.columns if name.endswith("_prediction")]
    compared, worst = 0, 0.0
    for key, group in rows.group_by([user, *context], maintain_order=True):
        videos = group.unique(item, maintain_order=True)
        request: dict[str, Any] = {
            "user_id": str(key[0]),
            "context": dict(zip(context, key[1:], strict=True)),
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
