"""Connections to a service: how one asks it, and what it says when it refuses. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import httpx
import orjson

from model.errors import FulcrumError

TIMEOUT_S = 30.0
"""Seconds that an answer may take."""
JSON = {"content-type": "application/json"}
"""Headers of what is sent."""


def ask(url: str, path: str, body: Mapping[str, Any]) -> bytes:
    """The JSON that the service at `url` answers to a POST.

    Args:
        url: of the service, `http://127.0.0.1:8000`.
        path: of the contract, `/v1/rank`.
        body: of the request.

    Raises:
        FulcrumError: the service cannot be reached, or it refused.
    """
    endpoint, shown = endpoint_of(url, path)
    try:
        answer = httpx.post(
            endpoint,
            content=orjson.dumps(body),
            headers=JSON,
            timeout=TIMEOUT_S,
            trust_env=not is_here(endpoint.host),
        )
    except httpx.HTTPError as error:
        raise FulcrumError(f"{shown}: no answer ({error}); is `fulcrum serve` running there?") from error
    except (ValueError, ImportError):  # of what the environment says
        raise no_way(shown) from None
    if not answer.is_success:
        raise FulcrumError(f"{shown}: {refusal(answer)}")
    return answer.content


def send_feedback(url: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Send what viewers did to the service at `url`; without an answer, send the same events again.

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


def connections(url: str, most: int) -> httpx.AsyncClient:
    """Connections to the service at `url`, for many requests at a time; they speak JSON.

    Args:
        url: of the service.
        most: connections.

    Raises:
        FulcrumError: it is no address.
    """
    address, shown = endpoint_of(url, "/")
    try:
        return httpx.AsyncClient(
            base_url=address,
            headers=JSON,
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            trust_env=not is_here(address.host),
        )
    except (ValueError, ImportError):
        raise no_way(shown) from None


def endpoint_of(url: str, path: str) -> tuple[httpx.URL, str]:
    """An address, and how it is shown."""
    try:
        address = httpx.URL(f"{url.rstrip('/')}{path}")
    except (httpx.InvalidURL, ValueError):
        raise _no_address() from None
    if address.scheme not in ("http", "https") or not address.host:
        raise _no_address()
    return address, shown_address(address)


def shown_address(address: httpx.URL) -> str:
    """An address as text, without a login."""
    return str(address.copy_with(userinfo=b"", query=None, fragment=None))


def _no_address() -> FulcrumError:
    return FulcrumError("not an address of a service; expected such as http://127.0.0.1:8000")


def no_way(shown: str) -> FulcrumError:
    """An error of the environment's proxies."""
    return FulcrumError(
        f"{shown}: no way there; correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY"
    )


def is_here(host: str) -> bool:
    """Whether it is this machine: no proxy of the environment reaches what listens here alone."""
    try:
        address = ip_address(host)
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def refusal(answer: httpx.Response) -> str:
    """Why the service refused, from its problem document."""
    try:
        problem = orjson.loads(answer.content)
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in problem.get("errors", ()))
        return f"{problem['status']} {problem['title']}: {detail or problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}; expected a Fulcrum service there"
