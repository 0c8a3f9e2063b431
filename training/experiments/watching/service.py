"""The service as the controller sees it: experiments, what is active, numbers of answers; and what it may
change, each change with what it has seen before, so that of two one is refused. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from model.client import control, experiments
from model.client.control import Call, RefusedError
from model.errors import FulcrumError, checked
from model.experiments import Experiment, Unit
from training.experiments.watching.answers import Counted, counted
from training.experiments.watching.deciding import Action

STALE = 409
MOST_LETTERS = 1_000
"""Of a reason."""
_CALLS: dict[str, Callable[..., Call]] = {
    "stop": experiments.stop,
    "pause": experiments.pause,
    "decide": experiments.decide,
    "ramp": experiments.ramp,
}


class Sender(Protocol):
    """What sends calls: `model.client.control.Control`, or a service in this process."""

    def send(self, call: Call) -> Any:
        """The answer's JSON; bytes where it is none.

        Raises:
            UnreachableError: there is no answer.
            RefusedError: the service refused.
        """


@dataclass(frozen=True)
class Reported:
    """An experiment as the service reports it.

    Attributes:
        experiment: it, without what only some may read.
        unit: of its layer.
        waits: why the worker that answered does not serve it; None if it does.
        look_ms: when its newest look was; None before there is one.
    """

    experiment: Experiment
    unit: Unit
    waits: str | None
    look_ms: int | None


class StaleError(FulcrumError):
    """It has changed since it was read; nothing was done."""


class Experiments:
    """Asks and changes. Each method raises as `Sender.send`.

    Args:
        sender: of calls.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def all(self) -> list[Reported]:
        """Every experiment that the service knows, the newest first."""
        document = self._sender.send(experiments.experiments())
        units = {layer["name"]: layer["unit"] for layer in document["layers"]}
        return [_reported(report, units) for report in document["experiments"]]

    def one(self, name: str) -> Reported | None:
        """An experiment; None where it is no more."""
        return next((one for one in self.all() if one.experiment.id == name), None)

    def active(self) -> int:
        """The revision that is active."""
        return int(self._sender.send(control.revisions(limit=1))["active"])

    def answers(self) -> Counted:
        """Answers of arms, as the host that is met has counted them since it was started."""
        content = self._sender.send(control.metrics())
        return counted(content.decode() if isinstance(content, bytes) else str(content))

    def publish(self, name: str, look: dict[str, Any]) -> None:
        """Keep a look beside the experiment."""
        self._sender.send(experiments.look(name, look))

    def act(self, experiment: Experiment, action: Action, if_active: int) -> None:
        """Do it, if the experiment is still the one that was seen.

        Args:
            experiment: as it was seen.
            action: what to do.
            if_active: the revision that was active then.

        Raises:
            StaleError: it is another one now, or something else is active.
        """
        given = {"if_edition": experiment.edition, "why": action.why[:MOST_LETTERS], **action.body}
        if action.what == "decide":
            given["if_active"] = if_active
        try:
            self._sender.send(_CALLS[action.what](experiment.id, **given))
        except RefusedError as error:
            if error.status != STALE:
                raise
            raise StaleError(str(error)) from None


def _reported(report: dict[str, Any], units: dict[str, Unit]) -> Reported:
    fields = {name: of for name, of in report.items() if name in Experiment.model_fields and of is not None}
    experiment = checked(Experiment, fields, f"experiment {report.get('id')!r} of the service")
    look_ms = (report.get("look") or {}).get("time_ms")
    return Reported(experiment, units[experiment.layer], report.get("waits"), look_ms)
