"""The routes of experiments: from HTTP to the control store and back. Decides nothing about either."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response

from model.experiments import MAX_LOOK_BYTES, Experiment, Experiments, Layer, Outcome
from model.frozen import Strict
from model.fusion import FusionError
from service.contract.errors import FieldProblem, InvalidRequestError
from service.contract.experiments import (
    CreateRequest,
    DecideRequest,
    DecisionReport,
    EndRequest,
    ExperimentList,
    ExperimentReport,
    ExperimentWithLooks,
    LayerList,
    LayerReport,
    LayerRequest,
    LookRequest,
    OutcomeRequest,
    OverrideRequest,
    RampRequest,
    StartRequest,
    parse_strictly,
)
from service.control.actors import Actor, Scope
from service.control.changing import Operator
from service.control.experiments.deciding import Decision
from service.control.experiments.refusals import one_of
from service.control.state.desired import StateError
from service.http.access import actor_of, actor_with
from service.http.controlled import CHANGE, READ, SECURED, as_problem_of, document_of, done, operator_of
from service.http.replies import active_service, json_answer

router = APIRouter()

_Body = TypeVar("_Body", bound=Strict)


@router.get("/v1/layers", response_model=LayerList, responses=READ)
async def layers(request: Request) -> Response:
    """The layers of experiments."""
    operator, actor = operator_of(request), _anybody(request)
    document = await done(operator.revisions.document)
    return json_answer({"layers": _layers(document.experiments, actor)})


@router.post(
    "/v1/layers",
    status_code=HTTPStatus.CREATED,
    response_model=LayerReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def create_layer(request: Request) -> Response:
    """Make a layer, for good: its salt deals units alike over restarts and experiments."""
    operator, actor = operator_of(request), _actor(request, "propose")
    asked = parse_strictly(LayerRequest, await document_of(request))
    salt = asked.salt or secrets.token_hex(16)
    layer = Layer(name=asked.name, unit=asked.unit, holdout=asked.holdout, salt=salt)

    def write() -> dict[str, Any]:
        made = operator.experiments.create_layer(str(actor.name), layer, asked.why).experiments
        return next(one for one in _layers(made, actor) if one["name"] == layer.name)

    return _created(await done(write))


@router.get("/v1/experiments", response_model=ExperimentList, responses=READ)
async def experiments(request: Request) -> Response:
    """All experiments that were not stopped long ago, the newest first."""
    operator, actor = operator_of(request), _anybody(request)

    def read() -> dict[str, Any]:
        found = operator.revisions.document().experiments
        looks = operator.experiments.looks.newest([one.id for one in found.experiments])
        newest_first = sorted(found.experiments, key=lambda one: one.created_ms)[::-1]
        listed = [{**_fields(operator, one, actor), "look": looks.get(one.id)} for one in newest_first]
        return {"layers": _layers(found, actor), "experiments": listed}

    return json_answer(await done(read))


@router.post(
    "/v1/experiments",
    status_code=HTTPStatus.CREATED,
    response_model=ExperimentReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def create(request: Request) -> Response:
    """Make an experiment. It holds its buckets; nobody takes part before it is started, but testers."""
    operator, actor = operator_of(request), _actor(request, "propose")
    asked = parse_strictly(CreateRequest, await document_of(request))
    draft = asked.draft()

    def write() -> dict[str, Any]:
        with as_problem_of("body"), as_problem_of("arms", (FusionError,)):
            return _report(operator, operator.create(str(actor.name), draft, asked.first), actor)

    return _created(await done(write))


@router.get("/v1/experiments/{name}", response_model=ExperimentWithLooks, responses=READ)
async def experiment(request: Request, name: str) -> Response:
    """One experiment with what was seen of it."""
    operator, actor = operator_of(request), _anybody(request)

    def read() -> dict[str, Any]:
        one = one_of(operator.revisions.document(), name)
        looks = operator.experiments.looks.all(name)
        return {**_fields(operator, one, actor), "look": looks[-1] if looks else None, "looks": looks}

    return json_answer(await done(read))


@router.post(
    "/v1/experiments/{name}/start",
    response_model=ExperimentReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def start(request: Request, name: str) -> Response:
    """Begin a comparison, the first or another one: nothing that was seen before counts in it. Where no
    bundle was chosen, the one that serves is from now on."""

    def change(operator: Operator, actor: str, body: StartRequest) -> Experiment:
        with as_problem_of("body"), as_problem_of("arms", (FusionError,)):
            return operator.begin(actor, name, body.if_edition, body.why)

    return await _changed(request, StartRequest, change)


@router.post(
    "/v1/experiments/{name}/ramp", response_model=ExperimentReport, responses=CHANGE, openapi_extra=SECURED
)
async def ramp(request: Request, name: str) -> Response:
    """Have more of its buckets live."""

    def change(operator: Operator, actor: str, body: RampRequest) -> Experiment:
        with as_problem_of("ramp"):
            return operator.experiments.ramp(actor, name, body.if_edition, body.ramp, body.why)

    return await _changed(request, RampRequest, change)


@router.post(
    "/v1/experiments/{name}/pause", response_model=ExperimentReport, responses=CHANGE, openapi_extra=SECURED
)
async def pause(request: Request, name: str) -> Response:
    """Give everybody what is active; units keep their arms for the next start."""

    def change(operator: Operator, actor: str, body: EndRequest) -> Experiment:
        with as_problem_of("outcome.arm"):
            said = _outcome(body.outcome)
            return operator.experiments.pause(actor, name, body.if_edition, body.why, said)

    return await _changed(request, EndRequest, change)


@router.post(
    "/v1/experiments/{name}/stop", response_model=ExperimentReport, responses=CHANGE, openapi_extra=SECURED
)
async def stop(request: Request, name: str) -> Response:
    """End it for good: everybody gets what is active, and its buckets are free."""

    def change(operator: Operator, actor: str, body: EndRequest) -> Experiment:
        with as_problem_of("outcome.arm"):
            said = _outcome(body.outcome)
            return operator.experiments.stop(actor, name, body.if_edition, body.why, said)

    return await _changed(request, EndRequest, change)


@router.post(
    "/v1/experiments/{name}/override",
    response_model=ExperimentReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def override(request: Request, name: str) -> Response:
    """Give a tester an arm, whatever their bucket, or none any more. No statistic counts it."""

    def change(operator: Operator, actor: str, body: OverrideRequest) -> Experiment:
        with as_problem_of("arm"):
            return operator.experiments.override(actor, name, body.if_edition, body.unit, body.arm, body.why)

    return await _changed(request, OverrideRequest, change)


@router.post(
    "/v1/experiments/{name}/decide",
    response_model=DecisionReport,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def decide(request: Request, name: str) -> Response:
    """Stop it, and give everybody what an arm has, in one write; of the control, just stop it. A patch
    becomes a new revision. Other experiments that run are paused."""

    operator, actor = operator_of(request), _actor(request, "activate")
    asked = parse_strictly(DecideRequest, await document_of(request))
    decision = Decision(
        str(actor.name),
        name,
        asked.if_edition,
        asked.if_active,
        asked.arm,
        asked.why,
        _outcome(asked.outcome),
    )

    def change() -> dict[str, Any]:
        with as_problem_of("arm"):
            document = operator.decide(decision)
        report = _report(operator, document.experiments.one(name), actor)
        return {**report, "paused": operator.paused(document)}

    return json_answer(await done(change))


@router.post(
    "/v1/experiments/{name}/look",
    status_code=HTTPStatus.NO_CONTENT,
    responses=CHANGE,
    openapi_extra=SECURED,
)
async def look(request: Request, name: str) -> Response:
    """Keep what was seen of it; 400 looks, of which the oldest go first."""
    operator = operator_of(request)
    _actor(request, "activate")
    asked = parse_strictly(LookRequest, await document_of(request)).look
    if len(asked.model_dump_json()) > MAX_LOOK_BYTES:
        raise InvalidRequestError(FieldProblem("look", f"more than {MAX_LOOK_BYTES} bytes as JSON"))

    def write() -> None:
        one_of(operator.revisions.document(), name)
        operator.experiments.looks.keep(name, asked)

    await done(write)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _changed(
    request: Request, model: type[_Body], change: Callable[[Operator, str, _Body], Experiment]
) -> Response:
    """The report of an experiment, once it is changed."""
    operator, actor = operator_of(request), _actor(request, "activate")
    body = parse_strictly(model, await document_of(request))
    return json_answer(await done(lambda: _report(operator, change(operator, str(actor.name), body), actor)))


def _anybody(request: Request) -> Actor:
    return actor_of(request, active_service(request.app.state).actors)


def _actor(request: Request, scope: Scope) -> Actor:
    return actor_with(request, active_service(request.app.state).actors, scope)


def _created(report: dict[str, Any]) -> Response:
    return Response(orjson.dumps(report), HTTPStatus.CREATED, media_type="application/json")


def _outcome(asked: OutcomeRequest | None) -> Outcome | None:
    return None if asked is None else asked.outcome()


def _layers(found: Experiments, actor: Actor) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "unit": layer.unit,
            "holdout": layer.holdout,
            "salt": layer.salt if actor.may("read") else None,
            "free": sum(last - first + 1 for first, last in found.free_runs(layer.name)),
        }
        for layer in found.layers
    ]


def _report(operator: Operator, one: Experiment, actor: Actor) -> dict[str, Any]:
    """Of what was changed, which is in force here at once."""
    operator.converge()
    look = None
    with contextlib.suppress(StateError):  # what was changed is changed
        look = operator.experiments.looks.newest([one.id]).get(one.id)
    return {**_fields(operator, one, actor), "look": look}


def _fields(operator: Operator, one: Experiment, actor: Actor) -> dict[str, Any]:
    shown = one.model_dump(mode="json")
    if not actor.may("read"):
        shown["overrides"] = None
    return {**shown, "waits": operator.waits(one.id)}
