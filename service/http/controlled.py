"""Controlled: what routes share that change what a control store wants. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request

from model.errors import FulcrumError
from model.experiments import ExperimentError
from model.fusion import FusionError
from service.contract.errors import (
    ConflictError,
    FieldProblem,
    InvalidRequestError,
    NotFoundError,
    StateUnavailableError,
)
from service.contract.strict_json import read_json
from service.control.bundles.rollout import AmbiguousVersionError
from service.control.changing import NoModelsError, Operator
from service.control.experiments.refusals import TakenError, UnknownExperimentError, UnknownLayerError
from service.control.fusion.revisions import UnknownRevisionError
from service.control.ledger import StaleError
from service.control.state.desired import StateError, UnknownVersionError
from service.http.bodies import refuse_other_than_json, whole_body
from service.http.openapi import BEARER, problems
from service.http.replies import active_service

READ = problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
"""Problems of routes that only read."""
CHANGE = problems(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""Problems of routes that change something."""
SECURED: dict[str, Any] = {"security": [{BEARER: []}]}
"""The documentation of a route that needs a token."""

_Result = TypeVar("_Result")


def operator_of(request: Request) -> Operator:
    """What makes changes.

    Raises:
        NotFoundError: there is no control store.
    """
    operator = active_service(request.app.state).operator
    if operator is None:
        raise NotFoundError(
            "the fusion has no revisions here, and there are no experiments; start the service with "
            "--control FILE.sqlite or redis://... (FULCRUM_CONTROL)"
        )
    return operator


async def document_of(request: Request) -> Any:
    """A request's body, as strict JSON.

    Raises:
        MediaTypeError: it is said to be something else.
        InvalidRequestError: it is no JSON.
    """
    refuse_other_than_json(request.scope["headers"])
    return read_json(await whole_body(request.receive))


async def done(work: Callable[[], _Result]) -> _Result:
    """Work with the store, which may take a while, with its errors in words of the contract."""
    try:
        return await asyncio.to_thread(work)
    except (UnknownRevisionError, UnknownVersionError, UnknownExperimentError, UnknownLayerError) as error:
        raise NotFoundError(str(error)) from error
    except (StaleError, TakenError, AmbiguousVersionError, NoModelsError) as error:
        raise ConflictError(str(error)) from error
    except StateError as error:
        raise StateUnavailableError(str(error)) from error
    except FusionError as error:
        raise InvalidRequestError(FieldProblem("revision", str(error))) from error
    except FulcrumError as error:  # a bundle that is refused
        raise ConflictError(str(error)) from error


@contextmanager
def as_problem_of(
    field: str, kinds: tuple[type[FulcrumError], ...] = (FusionError, ExperimentError)
) -> Iterator[None]:
    """What is wrong with configs and experiments, as wrong with this field of the body."""
    try:
        yield
    except kinds as error:
        raise InvalidRequestError(FieldProblem(field, str(error))) from error
