"""A caller of the service. Knows only the HTTP contract, and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from model.errors import FulcrumError

_TIMEOUT_S = 30.0


def ask(url: str, path: str, body: Mapping[str, Any]) -> bytes:
    """The JSON that the service at `url` answers to a POST.

    Args:
        url: of the service, `http://127.0.0.1:8000`.
        path: of the contract, `/v1/rank`.
        body: of the request.

    Raises:
        FulcrumError: the service cannot be reached, or it refused.
    """
    endpoint = f"{url.rstrip('/')}{path}"
    try:
        answer = httpx.post(
            endpoint,
            content=orjson.dumps(body),
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FulcrumError(f"{endpoint}: no answer ({error}); is `fulcrum serve` running there?") from error
    if answer.status_code != httpx.codes.OK:
        raise FulcrumError(f"{endpoint}: {_refusal(answer)}")
    return answer.content


def _refusal(answer: httpx.Response) -> str:
    try:
        problem = orjson.loads(answer.content)
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in problem.get("errors", ()))
        return f"{problem['status']} {problem['title']}: {detail or problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}; expected a Fulcrum service there"
