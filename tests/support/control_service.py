"""A service that has control and ranks nothing: the contract's answers from memory, for tests of callers.

Its sample of recent requests is drawn at random; previews score it by `model.fusion`, so that what callers
show of them is what a service would say.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model.fusion import FusionError, canonical_json, explain, parse_fusion, version
from model.fusion.changes import changes
from model.fusion.comparison import biggest_moves, compare_orders

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


def config(tasks: int = 4, scenes: int = 1, formula: str = "log_power") -> dict[str, Any]:
    """A config of so many tasks and scenes."""
    names = ["vtr", "vcr", "shr", "cmr"][:tasks] + [f"behaviour_{n}" for n in range(4, tasks)]
    length = {"kind": "log", "scale_s": 30.0, "weight": 0.3}
    if formula == "weighted_sum":
        terms: dict[str, Any] = {task: {"price": 1.0 + at, "b": 1.0} for at, task in enumerate(names)}
        scene = {"formula": formula, "tasks": terms, "video_len": length}
    else:
        terms = {task: {"weight": 1.0 - 0.08 * at, "smoothing": 0.02} for at, task in enumerate(names)}
        scene = {"formula": formula, "tasks": terms, "video_len": length}
    every = {"default": scene} | {f"scene_{n}": scene for n in range(1, scenes)}
    return orjson.loads(
        canonical_json(parse_fusion(orjson.dumps({"schema_version": 1, "scenes": every}).decode()))
    )


@dataclass
class Service:
    """What it knows; tests change it as they like.

    Attributes:
        requests, candidates: of the sample.
        control: whether it was started with control.
        asked: paths that were asked, in order.
    """

    first: dict[str, Any] = field(default_factory=config)
    requests: int = 60
    candidates: int = 40
    control: bool = True
    id_length: int = 6
    asked: list[str] = field(default_factory=list)
    previews_at_once: int = 0
    most_previews_at_once: int = 0

    def __post_init__(self) -> None:
        self.revisions: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.schedule: dict[str, Any] | None = None
        self.bundle = "sha256:" + "b" * 64
        self.trail = [1]
        self._add(self.first, None, "fulcrum", "in force when the store was empty", "file")
        self._draw()

    def _draw(self) -> None:
        random = np.random.default_rng(5)
        shape = (self.requests, self.candidates)
        self.tasks = list(next(iter(self.first["scenes"].values())).get("tasks", {"vtr": 0}))
        self.predictions = {
            task: random.beta(1 + at % 3, 2 + 3 * at, shape).astype(np.float32)
            for at, task in enumerate(self.tasks)
        }
        self.lengths = np.where(random.random(shape) < 0.03, np.nan, random.gamma(1.5, 25.0, shape))

    def _add(
        self, config: dict[str, Any], parent: int | None, author: str, note: str, origin: str
    ) -> dict[str, Any]:
        parsed = parse_fusion(orjson.dumps(config).decode())
        base = parent and self.revisions[parent - 1]["config"]
        lines = changes(parse_fusion(orjson.dumps(base).decode()), parsed) if base else []
        made = {
            "revision": len(self.revisions) + 1,
            "version": version(parsed),
            "parent": parent,
            "author": author,
            "origin": origin,
            "note": note,
            "time_ms": int(time.time() * 1000),
            "summary": lines,
            "networks": [],
            "evidence": None,
            "config": orjson.loads(canonical_json(parsed)),
        }
        self.revisions.append(made)
        return made

    def propose(
        self, config: dict[str, Any], note: str, author: str = "paul", parent: int | None = None
    ) -> int:
        """A new revision's number."""
        return self._add(config, parent or self.trail[-1], author, note, "proposed")["revision"]

    def activate(self, number: int, actor: str = "paul", why: str = "better") -> None:
        """As a colleague would."""
        self._event("revision_activated", actor, {"revision": self.trail[-1]}, {"revision": number}, why)
        self.trail.append(number)

    def _event(self, action: str, actor: str, before: Any, after: Any, why: str) -> None:
        self.events.append(
            {
                "event": len(self.events) + 1,
                "time_ms": int(time.time() * 1000),
                "actor": actor,
                "action": action,
                "before": before,
                "after": after,
                "why": why,
            }
        )

    def preview(self, body: Mapping[str, Any], ids: bool) -> dict[str, Any]:
        """The answer to a preview."""
        active = self.revisions[self.trail[-1] - 1]
        other = self.revisions[body["revision"] - 1]["config"] if "revision" in body else body["config"]
        rows = min(self.requests, body.get("recent", 1))
        top, scene = body.get("top", 10), body.get("scene", "default")
        head = {
            "sample_id": "s1",
            "made_ms": int(time.time() * 1000) - 60_000,
            "requests": rows,
            "candidates": rows * self.candidates,
            "base": {"revision": active["revision"], "version": active["version"]},
        }
        if not rows:
            nothing = {"changed_first": None, "changed_top": None, "kendall_tau": None, "movers": []}
            return head | nothing | {"sample_id": None, "exposure": None, "rates": None}
        before, after = (
            self._explained(parse_fusion(orjson.dumps(one).decode()).scene(scene)[0], rows)
            for one in (active["config"], other)
        )
        scores = [np.asarray(one.fused.order).reshape(rows, self.candidates) for one in (before, after)]
        compared = compare_orders(scores[0], scores[1], top=top)
        if "pick" in body:
            pick = body["pick"] % rows
            items = [
                self._items(one, places[pick], pick, top, ids)
                for one, places in ((before, compared.before), (after, compared.after))
            ]
            moves = biggest_moves(compared.before[pick], compared.after[pick], self.candidates)
            movers = [
                {
                    "id": self._id(pick, m.candidate) if ids else None,
                    "candidate": m.candidate,
                    "before": m.before + 1,
                    "after": m.after + 1,
                }
                for m in moves
            ]
            return head | {
                "pick": pick,
                "scene": scene,
                "before": items[0],
                "after": items[1],
                "movers": movers,
            }
        shown = [places < top for places in (compared.before, compared.after)]
        edges = [0.0, 7.0, 15.0, 30.0, 60.0, 120.0, None]
        bins = []
        for low, high in [(None, None), *itertools.pairwise(edges)]:
            lengths = self.lengths[:rows]
            inside = np.isnan(lengths) if low is None else (lengths >= low) & (lengths < (high or np.inf))
            shares = [float((inside & one).sum() / one.sum()) for one in shown]
            bins.append(
                {
                    "from_s": low,
                    "to_s": high,
                    "candidates": float(inside.mean()),
                    "before": shares[0],
                    "after": shares[1],
                }
            )
        return head | {
            "changed_first": float(compared.first_changed.mean()),
            "changed_top": float(compared.top_changed.mean()),
            "kendall_tau": float(np.nanmean(compared.tau_b)),
            "movers": [],
            "exposure": {
                "video_len": bins,
                "status": [
                    {"status": "ok", "before": 0.98, "after": 0.97},
                    {"status": "default_features", "before": 0.02, "after": 0.03},
                ],
            },
            "rates": {
                task: {"before": float(p[:rows][shown[0]].mean()), "after": float(p[:rows][shown[1]].mean())}
                for task, p in self.predictions.items()
            },
        }

    def _id(self, row: int, candidate: int) -> str:
        return f"v{row * self.candidates + candidate}".ljust(self.id_length, "x")

    def _explained(self, scene: Any, rows: int) -> Any:
        p = {task: values[:rows].ravel() for task, values in self.predictions.items()}
        lists = np.repeat(np.arange(rows), self.candidates)
        return explain(scene, p, self.lengths[:rows].ravel(), lists=lists)

    def _items(self, one: Any, places: Any, row: int, top: int, ids: bool) -> list[dict[str, Any]]:
        items = []
        for place, candidate in enumerate(np.argsort(places)[:top]):
            at = row * self.candidates + int(candidate)
            terms: dict[str, Any] = {
                task: {"p": float(part.p[at]), "weight": part.weight, "term": float(part.term[at])}
                for task, part in one.tasks.items()
            }
            seconds = float(self.lengths[row, candidate])
            known = None if np.isnan(seconds) else seconds
            length = one.video_len
            terms["video_len"] = {
                "video_len": known,
                "f": float(length.f[at]),
                "weight": length.weight,
                "term": float(length.term[at]),
            }
            items.append(
                {
                    "id": self._id(row, int(candidate)) if ids else None,
                    "candidate": int(candidate),
                    "rank": place + 1,
                    "score": float(one.fused.score[at]),
                    "video_len_s": known,
                    "status": "ok",
                    "predictions": {task: float(part.p[at]) for task, part in one.tasks.items()},
                    "terms": terms,
                }
            )
        return items


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
            return JSONResponse(
                service.revisions[number - 1] | {"active": number == active["revision"], "unfit": None}
            )
        return needs("activate") or _changed(service, path, body, str(name))

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


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
        "bundle": None,
        "schedule": service.schedule,
        "revisions": shown,
        "more": False,
        "before": earlier[-1] if earlier else None,
    }


def _changed(service: Service, path: str, body: dict[str, Any], actor: str) -> Response:
    if path.endswith("/cancel"):
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
        service._event(
            "revision_rolled_back", actor, {"revision": before}, {"revision": service.trail[-1]}, body["why"]
        )
        return JSONResponse({"active": service.trail[-1], "before": before, "scheduled": None})
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
    service.activate(number, actor, body["why"])
    return JSONResponse({"active": number, "before": before, "scheduled": None})


def _ready(service: Service, fusion: str) -> dict[str, Any]:
    return {
        "status": "ready",
        "bundle": service.bundle,
        "fusion": fusion,
        "workers": {"wanted": 4, "ready": 4, "replaced": 1},
        "bundles": {service.bundle: 4},
        "fusions": {fusion: 4},
        "generations": {"20261128-1": 4},
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
