"""A caller of the service. Knows only the HTTP contract, and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
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
        address = httpx.URL(endpoint)
        shown = str(address.copy_with(userinfo=b"", query=None, fragment=None))
        answer = httpx.post(
            address,
            content=orjson.dumps(body),
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT_S,
            # No proxy of the environment reaches what listens here alone.
            trust_env=not _is_here(address.host),
        )
    except httpx.InvalidURL:
        raise FulcrumError("not an address of a service; expected such as http://127.0.0.1:8000") from None
    except httpx.HTTPError as error:
        raise FulcrumError(f"{shown}: no answer ({error}); is `fulcrum serve` running there?") from error
    except (ValueError, ImportError):  # of what the environment says
        raise FulcrumError(
            f"{shown}: no way there; correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY"
        ) from None
    if not answer.is_success:
        raise FulcrumError(f"{shown}: {_refusal(answer)}")
    return answer.content


def send_feedback(url: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell the service at `url` what viewers did; whoever gets no answer may send the same events again.

    Args:
        url: of the service.
        events: at most 1,000, each with the keys of `model.events.feedback.KEYS`.

    Returns:
        `{"accepted": n, "rejected": [{"index", "reason"}]}`; what was accepted is on the service's disk.

    Raises:
        FulcrumError: the service cannot be reached, takes no feedback, or cannot keep it now.
    """
    answer: dict[str, Any] = orjson.loads(ask(url, "/v1/feedback", {"events": list(events)}))
    return answer


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host)
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _refusal(answer: httpx.Response) -> str:
    try:
        problem = orjson.loads(answer.content)
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in problem.get("errors", ()))
        return f"{problem['status']} {problem['title']}: {detail or problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}; expected a Fulcrum service there"
