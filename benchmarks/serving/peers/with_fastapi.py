"""FastAPI and onnxruntime, as most teams write it, under uvicorn with uvloop and httptools.

Written by FastAPI's documentation: bodies and answers are pydantic models, which also make the JSON. Work
that blocks goes into a plain `def`, which runs in the pool of threads; with one worker that computes on one
core, many write `async def` instead and spare the way into a thread: `async` as the argument does that.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from ranking import load, settings

app = FastAPI()
ranking = load()


class Request(BaseModel):  # noqa: D101
    user_id: str
    candidate_ids: list[str]
    top_k: int = 50


class Item(BaseModel):  # noqa: D101
    id: str
    rank: int
    score: float
    predictions: dict[str, float]


class Answer(BaseModel):  # noqa: D101
    items: list[Item]


def rank(request: Request) -> Answer:  # noqa: D103
    return Answer(items=ranking.rank(request.user_id, request.candidate_ids, request.top_k))


async def rank_in_loop(request: Request) -> Answer:  # noqa: D103
    return rank(request)


app.post("/v1/rank")(rank_in_loop if "async" in sys.argv else rank)

if __name__ == "__main__":
    given = settings()
    uvicorn.run(app, host=given["host"], port=given["port"], access_log=False, log_level="warning")
