"""The routes of revisions: from HTTP to the control store and back. Decides nothing about either."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response

from model.errors import FulcrumError
from model.frozen import Strict
from model.fusion import FusionConfig, FusionError, parse_fusion
from service.contract.control import (
    MAX_EVIDENCE_BYTES,
    MAX_PAGE,
    ActivateRequest,
    ActivationReport,
    ActorReport,
    AuditReport,
    CancelRequest,
    ProposeRequest,
    RevisionList,
    RevisionReport,
    RollbackRequest,
    parse_body,
)
from service.contract.errors import (
    ConflictError,
    FieldProblem,
    InvalidRequestError,
    NotFoundError,
    StateUnavailableError,
)
from service.contract.strict_json import read_json
from service.control.bundles.rollout import AmbiguousVersionError, UnknownVersionError
from service.control.changing import NoModelsError, Operator
from service.control.fusion.revisions import UnknownRevisionError, networks_of
from service.control.ledger import StaleError
from service.control.state.control import Document, Revision, Schedule
from service.control.state.desired import StateError
from service.http.access import actor_of, actor_with
from service.http.bodies import refuse_other_than_json, whole_body
from service.http.openapi import BEARER, problems
from service.http.replies import active_service, json_answer

router = APIRouter()

_READ = problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
_CHANGE = problems(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_SECURED: dict[str, Any] = {"security": [{BEARER: []}]}

Before = Annotated[int | None, Query(ge=1, le=1 << 53)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]

_Body = TypeVar("_Body", bound=Strict)
_Result = TypeVar("_Result")


@router.get("/v1/actor", response_model=ActorReport, responses=problems(HTTPStatus.UNAUTHORIZED))
async def actor(request: Request) -> Response:
    """Whose token it is, and what it may do."""
    found = actor_of(request, active_service(request.app.state).actors)
    return json_answer({"actor": found.name, "scopes": sorted(found.scopes)})


@router.get("/v1/fusion/revisions", response_model=RevisionList, responses=_READ)
async def revisions(request: Request, before: Before = None, limit: Limit = 50) -> Response:
    """The revisions of the fusion, the newest first."""
    operator = _operator(request)

    def read() -> dict[str, Any]:
        document = operator.revisions.document()
        found = operator.revisions.store.revisions(before, limit + 1)
        return {
            "active": document.active.revision,
            "before": document.before,
            "before_bundle": None if document.back is None else document.back.bundle,
            "bundle": document.active.bundle,
            "schedule": _schedule(document),
            "revisions": [_entry(one, document) for one in found[:limit]],
            "more": len(found) > limit,
        }

    return json_answer(await _done(read))


@router.post(
    "/v1/fusion/revisions",
    status_code=HTTPStatus.CREATED,
    response_model=RevisionReport,
    responses=_CHANGE,
    openapi_extra=_SECURED,
)
async def propose(request: Request) -> Response:
    """Make a config the newest revision. Nothing ranks by it before it is activated."""
    operator = _operator(request)
    author = actor_with(request, active_service(request.app.state).actors, "propose")
    asked = await _body(request, ProposeRequest)
    if asked.evidence is not None and len(orjson.dumps(asked.evidence)) > MAX_EVIDENCE_BYTES:
        raise InvalidRequestError(FieldProblem("evidence", f"more than {MAX_EVIDENCE_BYTES} bytes as JSON"))
    config, networks = _config(asked.config), _networks(asked.networks)
    if unnamed := sorted(set(networks) - set(networks_of(config))):
        raise InvalidRequestError(FieldProblem(f"networks.{unnamed[0]}", "no scene of the config names it"))

    def write() -> dict[str, Any]:
        with _as_problem_of("config"):
            made = operator.propose(
                str(author.name), config, asked.parent, asked.note, networks, asked.evidence
            )
            return _report(operator, made, operator.revisions.document())

    return Response(orjson.dumps(await _done(write)), HTTPStatus.CREATED, media_type="application/json")


@router.get("/v1/fusion/revisions/{number}", response_model=RevisionReport, responses=_READ)
async def revision(request: Request, number: int) -> Response:
    """One revision with its config."""
    operator = _operator(request)
    return json_answer(
        await _done(lambda: _report(operator, operator.revisions.get(number), operator.revisions.document()))
    )


@router.get("/v1/fusion/networks/{sha256}", responses=_READ)
async def network(request: Request, sha256: str) -> Response:
    """The network of a learned formula that a revision names."""
    operator = _operator(request)
    content = await _done(lambda: operator.revisions.store.network(sha256))
    if content is None:
        raise NotFoundError(f"no revision names a network {sha256[:64]}")
    return Response(content, media_type="application/octet-stream")


@router.post(
    "/v1/fusion/revisions/{number}/activate",
    response_model=ActivationReport,
    responses=_CHANGE,
    openapi_extra=_SECURED,
)
async def activate(request: Request, number: int) -> Response:
    """Rank by this revision from now on, or from a time on. The answer comes once that would survive a crash
    and this worker ranks by it; the others follow within a second."""
    operator = _operator(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = await _body(request, ActivateRequest)

    def change() -> dict[str, Any]:
        with _as_problem_of("revision"):
            if asked.at_ms is not None:
                schedule = Schedule(
                    revision=number,
                    at_ms=asked.at_ms,
                    if_active=asked.if_active,
                    bundle=None if asked.bundle is None else operator.full_version(asked.bundle),
                    actor=who,
                    why=asked.why,
                )
                return _activation(operator.schedule(schedule), asked.if_active)
            before, document = operator.activate(who, number, asked.if_active, asked.why, asked.bundle)
            return _activation(document, before)

    return json_answer(await _done(change))


@router.post(
    "/v1/fusion/rollback", response_model=ActivationReport, responses=_CHANGE, openapi_extra=_SECURED
)
async def rollback(request: Request) -> Response:
    """Go back to the revision that was active before this one; again, and it is the one before that."""
    operator = _operator(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = await _body(request, RollbackRequest)

    def change() -> dict[str, Any]:
        with _as_problem_of("revision"):
            before, document = operator.rollback(who, asked.if_active, asked.why)
            return _activation(document, before)

    return json_answer(await _done(change))


@router.post(
    "/v1/fusion/schedule/cancel", response_model=ActivationReport, responses=_CHANGE, openapi_extra=_SECURED
)
async def cancel(request: Request) -> Response:
    """Take back what was scheduled."""
    operator = _operator(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = await _body(request, CancelRequest)

    def change() -> dict[str, Any]:
        document = operator.cancel(who, asked.why, asked.if_scheduled)
        return _activation(document, document.active.revision)

    return json_answer(await _done(change))


@router.get(
    "/v1/audit",
    response_model=AuditReport,
    responses=problems(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
    ),
    openapi_extra=_SECURED,
)
async def audit(request: Request, before: Before = None, limit: Limit = 50) -> Response:
    """What was changed, by whom and why; the newest first."""
    operator = _operator(request)
    actor_with(request, active_service(request.app.state).actors, "read")
    found = await _done(lambda: operator.revisions.store.events(before, limit + 1))
    return json_answer({"events": [one.model_dump() for one in found[:limit]], "more": len(found) > limit})


def _operator(request: Request) -> Operator:
    operator = active_service(request.app.state).operator
    if operator is None:
        raise NotFoundError(
            "the fusion has no revisions here; start the service with --control FILE.sqlite or redis://... "
            "(FULCRUM_CONTROL)"
        )
    return operator


async def _body(request: Request, model: type[_Body]) -> _Body:
    refuse_other_than_json(request.scope["headers"])
    return parse_body(model, read_json(await whole_body(request.receive)))


async def _done(work: Callable[[], _Result]) -> _Result:
    """Work with the store, which may take a while, with its errors in words of the contract."""
    try:
        return await asyncio.to_thread(work)
    except (UnknownRevisionError, UnknownVersionError) as error:
        raise NotFoundError(str(error)) from error
    except (StaleError, AmbiguousVersionError, NoModelsError) as error:
        raise ConflictError(str(error)) from error
    except StateError as error:
        raise StateUnavailableError(str(error)) from error
    except FusionError as error:
        raise InvalidRequestError(FieldProblem("revision", str(error))) from error
    except FulcrumError as error:  # a bundle that is refused
        raise ConflictError(str(error)) from error


@contextmanager
def _as_problem_of(field: str) -> Iterator[None]:
    try:
        yield
    except FusionError as error:
        raise InvalidRequestError(FieldProblem(field, str(error))) from error


def _config(document: dict[str, Any]) -> FusionConfig:
    with _as_problem_of("config"):
        return parse_fusion(orjson.dumps(document).decode())


def _networks(given: Mapping[str, str]) -> dict[str, bytes]:
    found = {}
    for sha256, text in given.items():
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequestError(FieldProblem(f"networks.{sha256}", "expected base64")) from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise InvalidRequestError(FieldProblem(f"networks.{sha256}", "its sha256 is another"))
        found[sha256] = content
    return found


def _entry(found: Revision, document: Document) -> dict[str, Any]:
    shown = found.model_dump(exclude={"config", "evidence"})
    return {**shown, "active": found.revision == document.active.revision}


def _report(operator: Operator, found: Revision, document: Document) -> dict[str, Any]:
    entry = _entry(found, document)
    return {**entry, "evidence": found.evidence, "config": found.config, "unfit": operator.unfit(found)}


def _schedule(document: Document) -> dict[str, Any] | None:
    return None if document.schedule is None else document.schedule.model_dump()


def _activation(document: Document, before: int) -> dict[str, Any]:
    return {"active": document.active.revision, "before": before, "scheduled": _schedule(document)}
