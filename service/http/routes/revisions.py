"""The routes of revisions: from HTTP to the control store and back. Decides nothing about either."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from model.fusion import FusionConfig, parse_fusion
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
from service.contract.errors import FieldProblem, InvalidRequestError, NotFoundError
from service.control.changing import Operator
from service.control.fusion.revisions import networks_of
from service.control.state.control import Document, Revision, Schedule
from service.http.access import actor_of, actor_with
from service.http.controlled import CHANGE, READ, SECURED, as_problem_of, document_of, done, operator_of
from service.http.openapi import problems
from service.http.replies import active_service, json_answer

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=1 << 53)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/v1/actor", response_model=ActorReport, responses=problems(HTTPStatus.UNAUTHORIZED))
async def actor(request: Request) -> Response:
    """Whose token it is, and what it may do."""
    found = actor_of(request, active_service(request.app.state).actors)
    return json_answer({"actor": found.name, "scopes": sorted(found.scopes)})


@router.get("/v1/fusion/revisions", response_model=RevisionList, responses=READ)
async def revisions(request: Request, before: Before = None, limit: Limit = 50) -> Response:
    """The revisions of the fusion, the newest first."""
    operator = operator_of(request)

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

    return json_answer(await done(read))


@router.post(
    "/v1/fusion/revisions",
    status_code=HTTPStatus.CREATED,
    response_model=RevisionReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def propose(request: Request) -> Response:
    """Make a config the newest revision. Nothing ranks by it before it is activated."""
    operator = operator_of(request)
    author = actor_with(request, active_service(request.app.state).actors, "propose")
    asked = parse_body(ProposeRequest, await document_of(request))
    if asked.evidence is not None and len(orjson.dumps(asked.evidence)) > MAX_EVIDENCE_BYTES:
        raise InvalidRequestError(FieldProblem("evidence", f"more than {MAX_EVIDENCE_BYTES} bytes as JSON"))
    config, networks = _config(asked.config), _networks(asked.networks)
    if unnamed := sorted(set(networks) - set(networks_of(config))):
        raise InvalidRequestError(FieldProblem(f"networks.{unnamed[0]}", "no scene of the config names it"))

    def write() -> dict[str, Any]:
        with as_problem_of("config"):
            made = operator.propose(
                str(author.name), config, asked.parent, asked.note, networks, asked.evidence
            )
            return _report(operator, made, operator.revisions.document())

    return Response(orjson.dumps(await done(write)), HTTPStatus.CREATED, media_type="application/json")


@router.get("/v1/fusion/revisions/{number}", response_model=RevisionReport, responses=READ)
async def revision(request: Request, number: int) -> Response:
    """One revision with its config."""
    operator = operator_of(request)
    return json_answer(
        await done(lambda: _report(operator, operator.revisions.get(number), operator.revisions.document()))
    )


@router.get("/v1/fusion/networks/{sha256}", responses=READ)
async def network(request: Request, sha256: str) -> Response:
    """The network of a learned formula that a revision names."""
    operator = operator_of(request)
    content = await done(lambda: operator.revisions.store.network(sha256))
    if content is None:
        raise NotFoundError(f"no revision names a network {sha256[:64]}")
    return Response(content, media_type="application/octet-stream")


@router.post(
    "/v1/fusion/revisions/{number}/activate",
    response_model=ActivationReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def activate(request: Request, number: int) -> Response:
    """Rank by this revision from now on, or from a time on. The answer comes once that would survive a crash
    and this worker ranks by it; the others follow within a second."""
    operator = operator_of(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = parse_body(ActivateRequest, await document_of(request))

    def change() -> dict[str, Any]:
        with as_problem_of("revision"):
            if asked.at_ms is not None:
                schedule = Schedule(
                    revision=number,
                    at_ms=asked.at_ms,
                    if_active=asked.if_active,
                    bundle=None if asked.bundle is None else operator.full_version(asked.bundle),
                    actor=who,
                    why=asked.why,
                )
                return _activation(operator, operator.schedule(schedule), asked.if_active)
            before, document = operator.activate(who, number, asked.if_active, asked.why, asked.bundle)
            return _activation(operator, document, before)

    return json_answer(await done(change))


@router.post("/v1/fusion/rollback", response_model=ActivationReport, responses=CHANGE, openapi_extra=SECURED)
async def rollback(request: Request) -> Response:
    """Go back to the revision that was active before this one; again, and it is the one before that."""
    operator = operator_of(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = parse_body(RollbackRequest, await document_of(request))

    def change() -> dict[str, Any]:
        with as_problem_of("revision"):
            before, document = operator.rollback(who, asked.if_active, asked.why)
            return _activation(operator, document, before)

    return json_answer(await done(change))


@router.post(
    "/v1/fusion/schedule/cancel", response_model=ActivationReport, responses=CHANGE, openapi_extra=SECURED
)
async def cancel(request: Request) -> Response:
    """Take back what was scheduled."""
    operator = operator_of(request)
    who = str(actor_with(request, active_service(request.app.state).actors, "activate").name)
    asked = parse_body(CancelRequest, await document_of(request))

    def change() -> dict[str, Any]:
        document = operator.cancel(who, asked.why, asked.if_scheduled)
        return _activation(operator, document, document.active.revision)

    return json_answer(await done(change))


@router.get(
    "/v1/audit",
    response_model=AuditReport,
    responses=problems(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
    ),
    openapi_extra=SECURED,
)
async def audit(request: Request, before: Before = None, limit: Limit = 50) -> Response:
    """What was changed, by whom and why; the newest first."""
    operator = operator_of(request)
    actor_with(request, active_service(request.app.state).actors, "read")
    found = await done(lambda: operator.revisions.store.events(before, limit + 1))
    return json_answer({"events": [one.model_dump() for one in found[:limit]], "more": len(found) > limit})


def _config(document: dict[str, Any]) -> FusionConfig:
    with as_problem_of("config"):
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


def _activation(operator: Operator, document: Document, before: int) -> dict[str, Any]:
    active, paused = document.active.revision, operator.paused(document)
    return {"active": active, "before": before, "scheduled": _schedule(document), "paused": paused}
