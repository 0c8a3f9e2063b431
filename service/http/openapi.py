"""The OpenAPI document: the framework's, with our request, our problems and examples that really work.

Knows the contract's types; the examples come from the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from service.contract.answers import Problem
from service.contract.control import ActivateRequest, CancelRequest, ProposeRequest, RollbackRequest
from service.contract.experiments import (
    CreateRequest,
    DecideRequest,
    EndRequest,
    LayerRequest,
    LookRequest,
    OverrideRequest,
    RampRequest,
    StartRequest,
)
from service.contract.feedback import FeedbackRequest
from service.contract.preview import PreviewRequest
from service.contract.request import RankRequest
from service.http.problems import PROBLEM_JSON

BEARER = "bearer"
"""Name of the way in which a request proves that it may change something."""

Examples = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A request's body and the answer to it."""

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"
_REQUESTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "/v1/rank": (RankRequest, "200"),
    "/v1/feedback": (FeedbackRequest, "202"),
    "/v1/fusion/preview": (PreviewRequest, "200"),
    "/v1/fusion/revisions": (ProposeRequest, "201"),
    "/v1/fusion/revisions/{number}/activate": (ActivateRequest, "200"),
    "/v1/fusion/rollback": (RollbackRequest, "200"),
    "/v1/fusion/schedule/cancel": (CancelRequest, "200"),
    "/v1/layers": (LayerRequest, "201"),
    "/v1/experiments": (CreateRequest, "201"),
    "/v1/experiments/{name}/start": (StartRequest, "200"),
    "/v1/experiments/{name}/ramp": (RampRequest, "200"),
    "/v1/experiments/{name}/pause": (EndRequest, "200"),
    "/v1/experiments/{name}/stop": (EndRequest, "200"),
    "/v1/experiments/{name}/override": (OverrideRequest, "200"),
    "/v1/experiments/{name}/decide": (DecideRequest, "200"),
    "/v1/experiments/{name}/look": (LookRequest, "204"),
}
"""By path: the body, and the status of the answer."""


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The documentation of these errors, for a route's `responses`."""
    content = {PROBLEM_JSON: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


def complete(document: dict[str, Any], examples: Mapping[str, Examples]) -> dict[str, Any]:
    """Add what the framework cannot know: the routes read bodies and write problems themselves.

    Args:
        document: the framework's.
        examples: by path.
    """
    document["servers"] = [{"url": "."}]  # where the document is, behind whatever prefix
    components = document.setdefault("components", {}).setdefault("schemas", {})
    document["components"]["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    components |= _schemas(Problem)
    for path, (model, status) in _REQUESTS.items():
        components |= _schemas(model)
        operation = document["paths"][path]["post"]
        request: dict[str, Any] = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
        operation["requestBody"] = {"required": True, "content": {_JSON: request}}
        if path in examples:
            answer = operation["responses"][status]["content"][_JSON]
            request["example"], answer["example"] = map(dict, examples[path])
    return document


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    """The schemas of a model and of those it is made of, by name."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    return {**schema.pop("$defs", {}), model.__name__: schema}
