"""Ray Serve: one replica with a FastAPI ingress, in the mode that its guides advise for throughput.

That is the environment RAY_SERVE_ENABLE_HA_PROXY=1 and RAY_SERVE_THROUGHPUT_OPTIMIZED=1: HAProxy in place of
the Python proxy, straight to the replica, and user code in the replica's own event loop.
The deployment travels to its replica by value, where FastAPI cannot resolve annotations that are text.
"""

import signal
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ranking import load, settings
from ray import serve

app = FastAPI()


class Request(BaseModel):  # noqa: D101
    user_id: str
    candidate_ids: list[str]
    top_k: int = 50


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
@serve.ingress(app)
class RankingDeployment:  # noqa: D101
    def __init__(self) -> None:
        self.ranking = load()

    @app.post("/v1/rank")
    async def rank(self, request: Request) -> dict[str, Any]:  # noqa: D102
        return {"items": self.ranking.rank(request.user_id, request.candidate_ids, request.top_k)}


if __name__ == "__main__":
    given = settings()
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    serve.start(http_options={"host": given["host"], "port": given["port"]})
    serve.run(RankingDeployment.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
