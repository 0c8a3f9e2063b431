"""A service that has control and ranks nothing, over HTTP: it listens, goes away, and comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model.fusion import FusionError, canonical_json, patched
from tests.support.control_service import Service, parsed
from tests.support.experiments_in_memory import changed

TOKENS = {
    "token-of-lea": ("lea", ["read"]),
    "token-of-paul": ("paul", ["read", "propose"]),
    "token-of-anna": ("anna", ["read", "propose", "activate"]),
}
_METRICS = """# TYPE fulcrum_workers_ready gauge
fulcrum_workers_ready 4.0
# TYPE fulcrum_requests counter
fulcrum_requests_total{route="/v1/rank",status="200"} %(requests)s
# TYPE fulcrum_rank_degraded counter
fulcrum_rank_degraded_total{reason="feature_store_timeout"} 12.0
# TYPE fulcrum_rank_stage_seconds histogram
fulcrum_rank_stage_seconds_bucket{stage="network",le="0.005"} %(half)s
fulcrum_rank_stage_seconds_bucket{stage="network",le="0.01"} %(requests)s
fulcrum_rank_stage_seconds_bucket{stage="network",le="+Inf"} %(requests)s
fulcrum_rank_stage_seconds_count{stage="network"} %(requests)s
"""


def app(site: Site) -> Starlette:
    """Its HTTP."""

    def who(request: Request) -> tuple[str | None, list[str]] | None:
        given = request.headers.get("authorization")
        return TOKENS.get(given.removeprefix("Bearer ")) if given else (None, [])

    async def answer(request: Request) -> Response:
        path, service = request.url.path, site.service
        service.asked.append(path)
        actor = who(request)
        if actor is None:
            return _problem(401, "send the token as `Authorization: Bearer TOKEN`")
        name, scopes = actor
        body = orjson.loads(await request.body()) if request.method == "POST" else None

        def needs(scope: str) -> Response | None:
            return None if scope in scopes else _problem(403, f"needs the scope {scope}")

        active = service.revisions[service.trail[-1] - 1]
        if path == "/v1/fusion":
            return JSONResponse(
                {
                    "revision": active["revision"] if service.control else None,
                    "version": active["version"],
                    "source": "control",
                    "scenes": sorted(active["config"]["scenes"]),
                    "config": active["config"],
                    "left_out": {scene: [] for scene in active["config"]["scenes"]},
                    "schedule": service.schedule,
                    "rejected": None,
                }
            )
        if path == "/readyz":
            return JSONResponse(_ready(service, active["version"]))
        if path == "/metrics":
            requests = len(service.asked) * 10
            return Response(_METRICS % {"requests": requests, "half": requests // 2}, media_type="text/plain")
        if path == "/v1/models":
            return JSONResponse(_models(service))
        if path.startswith("/v1/models/"):
            service.bundle = path.split("/")[3]
            return needs("activate") or JSONResponse(_models(service))
        if not service.control:
            return _problem(404, "no revisions are kept here; start the service with --control")
        if path == "/v1/actor":
            return JSONResponse({"actor": name, "scopes": scopes})
        if path.startswith("/v1/experiments"):
            return _experiments(service, path.split("/")[3:], body, needs, str(name))
        if path == "/v1/audit":
            return needs("read") or JSONResponse({"events": service.events[::-1], "more": False})
        if path == "/v1/fusion/preview":
            return await _previewed(service, body, "read" in scopes)
        if path == "/v1/fusion/revisions" and body is None:
            return JSONResponse(_listed(service))
        if path == "/v1/fusion/revisions":
            if (refused := needs("propose")) is not None:
                return refused
            try:
                number = service.propose(body["config"], body.get("note", ""), str(name), body.get("parent"))
            except FusionError as error:
                return _problem(422, str(error))
            service._event("revision_proposed", str(name), None, {"revision": number}, body.get("note", ""))
            return JSONResponse(service.revisions[-1] | {"active": False, "unfit": None}, 201)
        if body is None:
            number = int(path.split("/")[4])
            if number > len(service.revisions):
                return _problem(404, f"there is no revision {number}")
            known = {"active": number == active["revision"], "unfit": service.unfit.get(number)}
            return JSONResponse(service.revisions[number - 1] | known)
        return needs("activate") or _changed(service, path, body, str(name))

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


def _experiments(
    service: Service,
    path: list[str],
    body: dict[str, Any] | None,
    needs: Callable[[str], Response | None],
    actor: str,
) -> Response:
    if not path:
        return JSONResponse({"layers": service.layers, "experiments": service.experiments})
    if body is None:
        one = next(each for each in service.experiments if each["id"] == path[0])
        return JSONResponse({**one, "looks": service.looks.get(path[0], [])})
    if (refused := needs("activate")) is not None:
        return refused
    one, says = changed(service.experiments, path[0], path[1], body)
    if one is None:
        return _problem(409, says)
    if path[1] == "decide":
        if body["if_active"] != service.trail[-1]:
            return _problem(409, "another revision is active")
        arm = next(each for each in one["arms"] if each["name"] == body["arm"])
        if arm["patch"] is not None:
            active = parsed(service.revisions[service.trail[-1] - 1]["config"])
            config = orjson.loads(canonical_json(patched(active, arm["patch"])))
            service.activate(service.propose(config, f"arm {arm['name']}", actor), actor, body["why"])
    service._event(says, actor, None, {"id": path[0]}, body["why"])
    others = [each["id"] for each in service.experiments if each["state"] == "running"]
    return JSONResponse({**one, "paused": others} if path[1] == "decide" else one)


async def _previewed(service: Service, body: dict[str, Any], ids: bool) -> Response:
    service.previews_at_once += 1
    service.most_previews_at_once = max(service.most_previews_at_once, service.previews_at_once)
    try:
        return JSONResponse(await asyncio.to_thread(service.preview, body, ids))
    except FusionError as error:
        return _problem(422, str(error))
    finally:
        service.previews_at_once -= 1


def _listed(service: Service) -> dict[str, Any]:
    active, earlier = service.trail[-1], service.trail[:-1]
    shown = [
        {name: value for name, value in one.items() if name not in ("config", "evidence")}
        | {"active": one["revision"] == active}
        for one in service.revisions[::-1]
    ]
    return {
        "active": active,
        "bundle": service.chosen,
        "before_bundle": None,
        "schedule": service.schedule,
        "revisions": shown,
        "more": False,
        "before": earlier[-1] if earlier else None,
    }


def _changed(service: Service, path: str, body: dict[str, Any], actor: str) -> Response:
    if path.endswith("/cancel"):
        wanted = body.get("if_scheduled")
        if service.schedule is None or wanted not in (None, service.schedule["revision"]):
            return _problem(409, f"another revision is scheduled than {wanted}")
        service._event("schedule_cancelled", actor, service.schedule, None, body["why"])
        service.schedule = None
        return JSONResponse({"schedule": None})
    before = service.trail[-1]
    if body["if_active"] != before:
        return _problem(409, f"revision {before} is active, not {body['if_active']}; look at what changed")
    if path.endswith("/rollback"):
        if len(service.trail) < 2:
            return _problem(409, f"no revision was active before {before}")
        service.trail.pop()
        service.schedule = None
        service._event(
            "revision_rolled_back", actor, {"revision": before}, {"revision": service.trail[-1]}, body["why"]
        )
        return JSONResponse({"active": service.trail[-1], "before": before, "scheduled": None, "paused": []})
    number = int(path.split("/")[4])
    if body.get("at_ms"):
        service.schedule = {
            "revision": number,
            "at_ms": body["at_ms"],
            "if_active": before,
            "bundle": None,
            "actor": actor,
            "why": body["why"],
        }
        service._event("activation_scheduled", actor, None, service.schedule, body["why"])
        return JSONResponse({"active": before, "before": before, "scheduled": service.schedule})
    service.schedule = None
    service.activate(number, actor, body["why"])
    return JSONResponse({"active": number, "before": before, "scheduled": None, "paused": []})


def _ready(service: Service, fusion: str) -> dict[str, Any]:
    return {
        "status": "ready",
        "bundle": service.bundle,
        "fusion": fusion,
        "workers": {"wanted": 4, "ready": 4, "replaced": 1},
        "bundles": {service.bundle: 4},
        "fusions": {fusion: 4},
        "revisions": {str(service.trail[-1]): 4},
        "control": "followed",
        "generations": {"20261128T202131-4f0c2a": 4},
        "features": "reachable",
        "feedback": "written",
        "events": "written",
    }


def _models(service: Service) -> dict[str, Any]:
    models = [
        {
            "name": f"demo/ple-{letter}",
            "version": "sha256:" + letter * 64,
            "created": "2026-11-27T10:00:00Z",
            "path": f"/models/{letter}",
            "status": "active" if service.bundle == "sha256:" + letter * 64 else "available",
            "reason": None,
            "tasks": service.tasks,
            "metrics": {"vtr": {"auc": 0.7 + at / 100, "logloss": 0.4}, "rows": 1000},
            "workers": 4 if service.bundle == "sha256:" + letter * 64 else 0,
        }
        for at, letter in enumerate("ba")
    ]
    return {"active": service.bundle, "desired": service.bundle, "problem": None, "models": models}


def _problem(status: int, detail: str) -> Response:
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


@dataclass
class Site:
    """Where a service listens: it goes away and comes back at the same address, or is another one.

    Attributes:
        service: what answers.
        port: 0 for a free one, until it is up.
    """

    service: Service
    port: int = 0

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen."""
        config = uvicorn.Config(app(self), port=self.port, log_config=None, ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the service did not start"
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def down(self) -> None:
        """Go away, in the middle of what is asked."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


@contextmanager
def running(service: Service) -> Iterator[Site]:
    """A service on a free port of this process."""
    site = Site(service)
    site.up()
    try:
        yield site
    finally:
        site.down()
