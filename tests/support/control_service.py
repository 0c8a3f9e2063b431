"""A service that has control and ranks nothing: the contract's answers from memory, for tests of callers.

Its sample of recent requests is drawn at random; previews score it by `model.fusion`, so that what callers
show of them is what a service would say.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from model.errors import checked
from model.fusion import FusionConfig, canonical_json, explain, parse_fusion, version
from model.fusion.changes import changes
from model.fusion.comparison import biggest_moves, compare_orders
from model.fusion.inheritance import resolved


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


def parsed(config: Mapping[str, Any]) -> FusionConfig:
    """A config of its document, without the way by text."""
    return checked(FusionConfig, resolved(dict(config)))


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
        self.chosen: str | None = None
        self.unfit: dict[int, str] = {}
        self.layers: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.looks: dict[str, list[dict[str, Any]]] = {}
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
            self._explained(parsed(one).scene(scene)[0], rows) for one in (active["config"], other)
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
