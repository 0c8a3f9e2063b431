"""LitServe: one API server and one inference worker, with the queue that its documentation advises from 100
requests a second on (ZeroMQ). No batches: a request of some hundred candidates is one.
"""

from __future__ import annotations

from typing import Any

import litserve as ls
from ranking import load, settings


class RankingAPI(ls.LitAPI):  # noqa: D101
    def setup(self, device: str) -> None:  # noqa: D102
        del device
        self.ranking = load()

    def predict(self, request: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: D102
        return self.ranking.rank(request["user_id"], request["candidate_ids"], request.get("top_k", 50))

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: D102
        return {"items": output}


if __name__ == "__main__":
    given = settings()
    server = ls.LitServer(
        RankingAPI(api_path="/v1/rank"),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        fast_queue=True,
    )
    server.run(
        host=given["host"],
        port=given["port"],
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
