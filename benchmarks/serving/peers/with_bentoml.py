"""BentoML: one worker with one thread for its synchronous API, access logs off, the rest as it comes."""

from __future__ import annotations

from typing import Any

import bentoml
from ranking import load


@bentoml.service(
    workers=1,
    threads=1,
    resources={"cpu": "1"},
    logging={"access": {"enabled": False}},
)
class RankingService:  # noqa: D101
    def __init__(self) -> None:
        self.ranking = load()

    @bentoml.api(route="/v1/rank")
    def rank(self, user_id: str, candidate_ids: list[str], top_k: int = 50) -> dict[str, Any]:  # noqa: D102
        return {"items": self.ranking.rank(user_id, candidate_ids, top_k)}
