"""A service's experiments in this process: keeps the contract of their changes, by a clock of its own.

What it does to answers and bundles is nothing; who ranks asks it which arm a request has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model.client.control import Call, RefusedError
from model.experiments import Assigner, Experiment, ExperimentError, Experiments, Layer, LookReport

HOUR_MS = 3_600_000


@dataclass
class Clock:
    """Unix time, milliseconds, that a test sets."""

    now_ms: int = 0

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class ExperimentService:
    """Answers calls.

    Attributes:
        clock: of the service.
        document: layers and experiments.
        active: revision.
        metrics: text of /metrics.
        history: changes that were made: time, experiment, what, and its body.
        looks: that were published, by experiment.
        before: called with each call before it is answered, and with True after it was; may raise.
    """

    clock: Callable[[], int]
    document: Experiments = field(
        default_factory=lambda: Experiments(layers=(Layer(name="fusion", salt="salt"),))
    )
    active: int = 1
    metrics: str = ""
    history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    looks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    before: Callable[[Call, bool], None] = lambda call, after: None

    def create(self, **fields: Any) -> Experiment:
        """A draft."""
        arms = [{"name": "control", "share": 5_000}, {"name": "treated", "share": 5_000, "revision": 2}]
        plain = {"id": "test", "layer": "fusion", "arms": arms, "first": 0, "size": 10_000, "ramp": 10_000}
        one = Experiment.model_validate({**plain, "created_ms": self.clock(), **fields})
        self.document = self.document.with_(one)
        return one

    def start(self, name: str = "test") -> None:
        """As people do."""
        self.send(Call(f"/v1/experiments/{name}/start", {"if_edition": self.one(name).edition, "why": ""}))

    def one(self, name: str = "test") -> Experiment:
        return self.document.one(name)

    def assigner(self) -> Assigner:
        return Assigner(self.document)

    def send(self, call: Call) -> Any:
        self.before(call, False)
        answer = self._answered(call)
        self.before(call, True)
        return answer

    def _answered(self, call: Call) -> Any:
        match call.path.strip("/").split("/"):
            case ["metrics"]:
                return self.metrics.encode()
            case ["v1", "fusion", "revisions"]:
                return {"active": self.active}
            case ["v1", "experiments"]:
                layers = [{"name": one.name, "unit": one.unit, "salt": None} for one in self.document.layers]
                reports = [self._report(one) for one in reversed(self.document.experiments)]
                return {"layers": layers, "experiments": reports}
            case ["v1", "experiments", name, "look"]:
                assert call.body is not None
                look = call.body["look"]
                assert LookReport.model_validate(look).model_dump(mode="json") == look
                self.looks.setdefault(name, []).append(look)
                return b""
            case ["v1", "experiments", name, what]:
                return self._changed(name, what, dict(call.body or {}))
        raise RefusedError(f"404 {call.path}", 404, call.path)

    def _report(self, one: Experiment) -> dict[str, Any]:
        looks = self.looks.get(one.id)
        return {**one.model_dump(mode="json"), "waits": None, "look": looks[-1] if looks else None}

    def _changed(self, name: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        one, now_ms = self.document.one(name), self.clock()
        if body["if_edition"] != one.edition:
            raise _refused(409, f"edition {one.edition}, not {body['if_edition']}")
        outcome = body.get("outcome") and {**body["outcome"], "why": body["why"], "time_ms": now_ms}
        if one.state == "stopped" or (what in ("ramp", "pause", "decide") and one.state != "running"):
            raise _refused(409, f"it is {one.state}")
        if what == "start":
            one = one.changed(state="running", since_ms=now_ms, ramped_ms=now_ms, outcome=None)
        elif what == "ramp":
            try:
                one = one.ramped(body["ramp"]).changed(ramped_ms=now_ms)
            except ExperimentError as error:
                raise _refused(422, str(error)) from None
        else:
            if what == "decide":
                if body["if_active"] != self.active:
                    raise _refused(409, f"revision {self.active} is active")
                self.active = next(arm.revision for arm in one.arms if arm.name == body["arm"]) or self.active
                self.document = Experiments(
                    layers=self.document.layers,
                    experiments=tuple(
                        other.changed(state="paused") if other.state == "running" else other
                        for other in self.document.experiments
                    ),
                )
            one = one.changed(state="paused" if what == "pause" else "stopped", outcome=outcome)
        self.document = self.document.with_(one)
        self.history.append((now_ms, name, what, body))
        return self._report(one)


def _refused(status: int, why: str) -> RefusedError:
    return RefusedError(f"{status}: {why}", status, why)
