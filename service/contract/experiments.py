"""The contract of experiments and layers: what requests may hold, and what is answered.

Says nothing of what may follow what, nor whether arms can be served.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import Field, StringConstraints, ValidationError

from model.experiments import (
    BUCKETS,
    MAX_LOOK_BYTES,
    Arm,
    Experiment,
    LookReport,
    Outcome,
    Ramp,
    Terms,
    Unit,
    Verdict,
)
from model.experiments.config import Label, Parts
from model.frozen import Strict
from model.fusion.conditions import RequestCondition
from service.contract.control import Number, Reason, Text
from service.contract.errors import FieldProblem, InvalidRequestError, invalid
from service.contract.request import Id

MAX_EXPERIMENT_BYTES = 32 * 1024
"""Of an experiment, as JSON: each worker reads all of them at each change."""

TimeMs = Annotated[int, Field(ge=0, le=1 << 53, description="Milliseconds since 1970, UTC.")]
Edition = Annotated[
    int, Field(ge=1, le=1 << 53, description="The experiment's present edition; else the answer is 409.")
]

_Body = TypeVar("_Body", bound=Strict)


class LayerRequest(Strict):
    """A layer that shall be made, for good."""

    name: Label
    unit: Unit = Field(default="user", description="What is dealt into its 10,000 buckets.")
    holdout: Annotated[int, Field(ge=0, lt=BUCKETS)] = Field(
        default=0, description="Buckets, the last ones, whose units are in no experiment of it, ever."
    )
    salt: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None, description="Of its hashes; one is drawn where absent."
    )
    why: Text = Field(default="", description="For the audit.")


class CreateRequest(Strict):
    """An experiment that shall be made; nobody takes part before it is started, but testers."""

    id: Label
    layer: Label
    arms: Annotated[list[Arm], Field(min_length=2, max_length=20)] = Field(
        description="The first is the control. Shares are of the experiment's units, in ten thousandths. "
        "What an arm does not name is what is active; `patch` is a JSON merge patch of the active config."
    )
    size: Parts = Field(description="Buckets that it holds, of the layer's 10,000.")
    first: Annotated[int, Field(ge=0, lt=BUCKETS)] | None = Field(
        default=None, description="The first of them; where absent, the first run that is free."
    )
    ramp: Parts | None = Field(default=None, description="Of these, so many are live; all where absent.")
    scenes: list[Id] | None = Field(default=None, description="Whose requests take part; all where absent.")
    when: RequestCondition | None = Field(default=None, description="What else must hold of a request.")
    overrides: dict[Id, Label] = Field(
        default_factory=dict, max_length=100, description="By unit: the arm that a tester gets."
    )
    start_ms: TimeMs | None = None
    stop_ms: TimeMs | None = None
    note: Text = ""
    terms: Terms | None = Field(default=None, description="How it is judged; by people alone where absent.")
    ramps: Annotated[list[Ramp], Field(max_length=50)] = Field(
        default_factory=list, description="How the ramp grows where nothing alarms."
    )
    on_better: Literal["activate", "pause"] = "pause"

    def draft(self) -> Experiment:
        """The experiment, with its buckets at `first` or 0.

        Raises:
            InvalidRequestError: it is none, or too large.
        """
        given = dict(self) | {"first": self.first or 0, "ramp": self.ramp or self.size}
        try:
            draft = Experiment.model_validate(given)
        except ValidationError as error:
            raise invalid(error.errors(include_url=False), Experiment, all_read=True) from None
        if len(draft.model_dump_json(exclude_none=True)) > MAX_EXPERIMENT_BYTES:
            raise InvalidRequestError(FieldProblem("body", f"more than {MAX_EXPERIMENT_BYTES} bytes as JSON"))
        return draft


class OutcomeRequest(Strict):
    """How a comparison ended."""

    verdict: Verdict
    arm: Label | None = Field(default=None, description="Of which it is said.")

    def outcome(self) -> Outcome:
        """As the experiment has it, but for who says so."""
        return Outcome(verdict=self.verdict, arm=self.arm)


class StartRequest(Strict):
    """The start of a comparison."""

    if_edition: Edition
    why: Reason = Field(description="For the audit.")


class EndRequest(Strict):
    """A pause, or the end of an experiment."""

    if_edition: Edition
    why: Reason = Field(description="For the audit.")
    outcome: OutcomeRequest | None = Field(
        default=None, description="How the comparison ended; what was said before stays where absent."
    )


class RampRequest(Strict):
    """More live buckets."""

    if_edition: Edition
    ramp: Parts = Field(description="Buckets that are live then; a ramp only adds units.")
    why: Reason = Field(description="For the audit.")


class OverrideRequest(Strict):
    """An arm for a tester."""

    if_edition: Edition
    unit: Id = Field(description="User, session or request, as the layer deals them.")
    arm: Label | None = Field(description="null takes the override away.")
    why: Reason = Field(description="For the audit.")


class DecideRequest(Strict):
    """An arm for everybody."""

    if_edition: Edition
    if_active: Number = Field(description="The revision that is active now; else the answer is 409.")
    arm: Label = Field(
        description="Whose revision or patch, and bundle, become active; of the control, none."
    )
    why: Reason = Field(description="For the audit.")
    outcome: OutcomeRequest | None = None


class LookRequest(Strict):
    """What was seen of an experiment."""

    look: LookReport = Field(description=f"At most {MAX_LOOK_BYTES} bytes as JSON.")


class LayerReport(Strict):
    """A layer."""

    name: str
    unit: Unit
    holdout: int
    salt: str | None = Field(description="null for who has not the scope read.")
    free: int = Field(description="Buckets that no experiment holds, without the holdout's.")


class LayerList(Strict):
    """All layers, the oldest first."""

    layers: list[LayerReport]


class ExperimentReport(Strict):
    """An experiment, and how this worker and its controller see it."""

    id: str
    layer: str
    arms: list[Arm]
    first: int = Field(description="The first of its buckets.")
    size: int = Field(description="Buckets that it holds until it is stopped.")
    ramp: int = Field(description="Of these, the first so many are live.")
    scenes: list[str] | None
    when: dict[str, Any] | None
    overrides: dict[str, str] | None = Field(description="null for who has not the scope read.")
    state: Literal["draft", "running", "paused", "stopped"]
    start_ms: int | None
    stop_ms: int | None
    edition: int = Field(description="Counts its changes: each names the one that it has seen.")
    author: str
    note: str
    created_ms: int = Field(description="Milliseconds since 1970, UTC, as are all moments.")
    since_ms: int | None = Field(description="When the present comparison began; nothing before counts.")
    ramped_ms: int | None = Field(description="When the ramp last grew, or the comparison began.")
    terms: Terms | None
    ramps: list[Ramp]
    on_better: Literal["activate", "pause"]
    outcome: Outcome | None = Field(description="How the last comparison ended.")
    waits: str | None = Field(
        description="Why the worker that answers does not serve it; null where it does, or need not."
    )
    look: LookReport | None = Field(description="The newest; null where there was none.")


class ExperimentWithLooks(ExperimentReport):
    """An experiment with what was seen of it."""

    looks: list[LookReport] = Field(description="The oldest first.")


class DecisionReport(ExperimentReport):
    """An experiment that was decided."""

    paused: list[str] = Field(description="Other experiments that ran, and were paused by this.")


class ExperimentList(Strict):
    """Experiments, the newest first, and their layers."""

    layers: list[LayerReport]
    experiments: list[ExperimentReport]


def parse_strictly(model: type[_Body], document: Any) -> _Body:
    """A JSON document as a request, in which "1" nowhere stands for 1.

    Raises:
        InvalidRequestError: it is none; names the field.
    """
    if not isinstance(document, dict):
        raise InvalidRequestError(FieldProblem("body", "expected an object"))
    try:
        return model.model_validate_json(orjson.dumps(document), strict=True)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), model, all_read=True) from None
