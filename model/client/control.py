"""The control of a service, as its callers see it: revisions of the fusion, the audit, previews, bundles.

What may be asked is a function each, which gives a `Call`; `Control` sends one and waits for the answer,
`AsyncControl` does the same for a program that does other things meanwhile. Knows only the HTTP contract.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import orjson

from model.client.connection import JSON, TIMEOUT_S, connections, endpoint_of, is_here, no_way, refusal
from model.errors import FulcrumError

_LARGER = "; raise FULCRUM_MAX_BODY_BYTES of the service, or the limit of a proxy before it"


class UnreachableError(FulcrumError):
    """The service cannot be reached, or its answer was lost: what was asked may have been done."""


class RefusedError(FulcrumError):
    """The service refused: nothing was done.

    Attributes:
        status: of HTTP: 401 for a wrong token, 403 without the scope, 404, 409 for a stale precondition,
            422, 503.
        detail: why, without the address and the status.
        retry_after_s: seconds after which another try makes sense (Retry-After); None where that is not said.
    """

    def __init__(self, message: str, status: int, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Call:
    """One request of the contract.

    Attributes:
        path: `/v1/fusion`.
        body: of a POST; None for a GET.
        query: after the path's `?`; what is None is left out.
    """

    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "GET" if self.body is None else "POST"


def fusion() -> Call:
    """The config in force: `{revision, version, config, left_out, ...}`."""
    return Call("/v1/fusion")


def actor() -> Call:
    """Whose the token is: `{actor, scopes}`; null and none without a token."""
    return Call("/v1/actor")


def revisions(before: int | None = None, limit: int = 50) -> Call:
    """`{active, bundle, schedule, revisions, more}`, the newest first, without their configs."""
    return Call("/v1/fusion/revisions", query={"before": before, "limit": limit})


def revision(number: int) -> Call:
    """One revision, whole."""
    return Call(f"/v1/fusion/revisions/{number}")


def network(sha256: str) -> Call:
    """The bytes of a learned formula's network."""
    return Call(f"/v1/fusion/networks/{sha256}")


def propose(
    config: Mapping[str, Any],
    *,
    parent: int | None = None,
    note: str = "",
    networks: Mapping[str, bytes] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Call:
    """A new revision, which is not active yet; the answer is the revision, and why it is `unfit` for
    the bundle that serves, if it is.

    Args:
        config: as `fulcrum fusion show` takes it, parsed.
        parent: the revision it was made from; the active one where None.
        note: what it is for.
        networks: of learned formulas that the service does not have, by checksum.
        evidence: what a replay or an estimate says of it.
    """
    body: dict[str, Any] = {"config": config, "note": note}
    if parent is not None:
        body["parent"] = parent
    if networks:
        body["networks"] = {sha256: base64.b64encode(data).decode() for sha256, data in networks.items()}
    if evidence is not None:
        body["evidence"] = evidence
    return Call("/v1/fusion/revisions", body)


def activate(
    number: int, *, if_active: int, why: str, at_ms: int | None = None, bundle: str | None = None
) -> Call:
    """Make a revision the active one; the answer is `{active, before, scheduled}`.

    Args:
        number: of the revision.
        if_active: the revision that must be active for it to happen.
        why: for the audit.
        at_ms: when, Unix time in milliseconds; now where None.
        bundle: version of the bundle that comes into force with it.
    """
    body: dict[str, Any] = {"if_active": if_active, "why": why}
    if at_ms is not None:
        body["at_ms"] = at_ms
    if bundle is not None:
        body["bundle"] = bundle
    return Call(f"/v1/fusion/revisions/{number}/activate", body)


def rollback(*, if_active: int, why: str) -> Call:
    """Back to what was active before the active one; the answer is that of `activate`."""
    return Call("/v1/fusion/rollback", {"if_active": if_active, "why": why})


def cancel_schedule(why: str, if_scheduled: int | None = None) -> Call:
    """Give up the activation that is to come; the answer is that of `activate`.

    Args:
        why: for the audit.
        if_scheduled: the revision that must be scheduled for it to happen; any where None.
    """
    body: dict[str, Any] = {"why": why}
    if if_scheduled is not None:
        body["if_scheduled"] = if_scheduled
    return Call("/v1/fusion/schedule/cancel", body)


def audit(before: int | None = None, limit: int = 50) -> Call:
    """`{events, more}`, the newest first; needs the scope `read`."""
    return Call("/v1/audit", query={"before": before, "limit": limit})


def preview(body: Mapping[str, Any]) -> Call:
    """What another config would change for recent requests, or for one: docs/service.md has the body."""
    return Call("/v1/fusion/preview", body)


def models() -> Call:
    """The bundles at hand."""
    return Call("/v1/models")


def activate_bundle(version: str) -> Call:
    """Serve this bundle, and keep to it; the answer is that of `models`."""
    return Call(f"/v1/models/{version}/activate", {})


def ready() -> Call:
    """Whether the service can rank, and what its workers run."""
    return Call("/readyz")


def metrics() -> Call:
    """Numbers for Prometheus: bytes."""
    return Call("/metrics")


class Control:
    """The control of the service at `url`, as one actor; a context manager that keeps its connection.

    Args:
        url: of the service.
        token: of the actor; None for one who may only look.

    Raises:
        FulcrumError: `url` is no address, or `token` no token.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        address, self._shown = endpoint_of(url, "/")
        self._headers = _headers(token)
        try:
            self._http = httpx.Client(
                base_url=address,
                timeout=TIMEOUT_S,
                trust_env=not is_here(address.host),
                verify=address.scheme == "https",  # certificates take a tenth of a second to read
            )
        except (ValueError, ImportError):
            raise no_way(self._shown) from None

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, call: Call) -> Any:
        """The answer's JSON; bytes where it is none.

        Raises:
            UnreachableError: there is no answer.
            RefusedError: the service refused.
        """
        try:
            answer = self._http.request(**_request(call, self._headers))
        except httpx.HTTPError as error:
            raise _no_answer(self._shown, call, error) from error
        return _content(answer, self._shown, call)


class AsyncControl:
    """The same for many actors at a time, each with a token of their own.

    Args:
        url: of the service.
        most: connections.

    Raises:
        FulcrumError: it is no address.
    """

    def __init__(self, url: str, most: int = 32) -> None:
        self._shown = endpoint_of(url, "/")[1]
        self._http = connections(url, most)

    @property
    def shown(self) -> str:
        """Its address, without a login."""
        return self._shown.rstrip("/")

    async def close(self) -> None:
        """Give up the connections."""
        await self._http.aclose()

    async def send(self, call: Call, token: str | None = None, within_s: float = TIMEOUT_S) -> Any:
        """As `Control.send`.

        Args:
            call: what is asked.
            token: of who asks.
            within_s: how long to wait.
        """
        try:
            answer = await self._http.request(**_request(call, _headers(token)), timeout=within_s)
        except httpx.HTTPError as error:
            raise _no_answer(self._shown, call, error) from error
        return _content(answer, self._shown, call)


def _headers(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise FulcrumError("not a token; expected printable ASCII characters without spaces")
    return {"authorization": f"Bearer {token}"}


def _request(call: Call, headers: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of httpx."""
    body = {} if call.body is None else {"content": orjson.dumps(call.body)}
    query = {name: value for name, value in call.query.items() if value is not None}
    return {"method": call.method, "url": call.path, "params": query, "headers": {**JSON, **headers}, **body}


def _no_answer(shown: str, call: Call, error: httpx.HTTPError) -> UnreachableError:
    says = str(error) or type(error).__name__
    return UnreachableError(
        f"{shown.rstrip('/')}{call.path}: no answer ({says}); is `fulcrum serve` running there?"
    )


def _content(answer: httpx.Response, shown: str, call: Call) -> Any:
    if not answer.is_success:
        says = refusal(answer)
        wait = answer.headers.get("retry-after", "")
        more = _LARGER if answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else ""
        raise RefusedError(
            f"{shown.rstrip('/')}{call.path}: {says}{more}",
            answer.status_code,
            says.partition(": ")[2] or says,
            int(wait) if wait.isascii() and wait.isdigit() else None,
        )
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return answer.content
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        raise UnreachableError(
            f"{shown.rstrip('/')}{call.path}: the answer is no JSON; expected a Fulcrum service there"
        ) from None
