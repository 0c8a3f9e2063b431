"""The contract of revisions, activations and the audit: what requests may hold, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from model.frozen import Strict
from service.contract.errors import FieldProblem, InvalidRequestError, invalid

MAX_NOTE = 2_000
"""Characters of a note and of a reason."""
MAX_EVIDENCE_BYTES = 256 * 1024
MAX_PAGE = 500
"""Revisions or events in an answer."""
_MAX_TIME_MS = 1 << 53

Number = Annotated[int, Field(ge=1, le=1 << 53)]
Text = Annotated[str, Field(max_length=MAX_NOTE)]
Reason = Annotated[str, Field(max_length=MAX_NOTE), StringConstraints(pattern=r"\S")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_Body = TypeVar("_Body", bound=Strict)


class ProposeRequest(Strict):
    """A config that shall become a revision; nothing ranks by it before it is activated."""

    config: dict[str, Any] = Field(description="A fusion config, as in a file of one.")
    parent: Number | None = Field(
        default=None, description="Revision that it was made from; the active one where absent."
    )
    note: Text = Field(default="", description="What it is for.")
    networks: dict[Sha256, str] = Field(
        default_factory=dict,
        max_length=64,
        description="Networks of learned formulas, base64 by their sha256; those that the store has may be "
        "left out.",
    )
    evidence: dict[str, Any] | None = Field(
        default=None, description=f"Of a replay, an estimate; at most {MAX_EVIDENCE_BYTES} bytes as JSON."
    )


class ActivateRequest(Strict):
    """Which revision must be active for this to hold, and why it is done."""

    if_active: Number = Field(description="The revision that is active now; else the answer is 409.")
    why: Reason = Field(description="For the audit.")
    at_ms: Annotated[int, Field(ge=0, le=_MAX_TIME_MS)] | None = Field(
        default=None,
        description="When: milliseconds since 1970, UTC. It is dropped where another revision is active by "
        "then. At once where absent.",
    )
    bundle: Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-f]{1,64}$")] | None = Field(
        default=None,
        description="Version of a bundle, or its beginning, which comes into force with it in each worker.",
    )


class RollbackRequest(Strict):
    """Which revision must be active for this to hold, and why it is done."""

    if_active: Number = Field(description="The revision that is active now; else the answer is 409.")
    why: Reason = Field(description="For the audit.")


class CancelRequest(Strict):
    """Why what was scheduled is taken back."""

    why: Reason = Field(description="For the audit.")
    if_scheduled: Number | None = Field(
        default=None, description="The revision that is scheduled; else the answer is 409. Any where absent."
    )


class ScheduleReport(Strict):
    """An activation that is to come."""

    revision: int
    at_ms: int = Field(description="Milliseconds since 1970, UTC.")
    if_active: int = Field(description="It is dropped where another revision is active by then.")
    bundle: str | None
    actor: str
    why: str


class RevisionEntry(Strict):
    """A revision, without its config."""

    revision: int
    version: str = Field(description="sha256 of the canonical config, as in answers.")
    parent: int | None
    author: str
    origin: str = Field(description="proposed, file, or bundle: its own fusion.")
    note: str
    time_ms: int = Field(description="When it was taken: milliseconds since 1970, UTC.")
    summary: list[str] = Field(description="What changed since its parent, a line each.")
    networks: list[str]
    active: bool


class RevisionReport(RevisionEntry):
    """A revision."""

    evidence: dict[str, Any] | None
    config: dict[str, Any]
    unfit: str | None = Field(
        description="Why the bundle that serves could not serve with it; null if it could."
    )


class RevisionList(Strict):
    """Revisions, the newest first."""

    active: int
    before: int | None = Field(description="The revision that a rollback leads to; null where there is none.")
    before_bundle: str | None = Field(
        description="The bundle that a rollback leads to; null for the newest, or where there is no rollback."
    )
    bundle: str | None = Field(description="Version of the wanted bundle; null for the newest.")
    schedule: ScheduleReport | None
    revisions: list[RevisionEntry]
    more: bool = Field(description="Whether there are older ones: ask with before=.")


class ActivationReport(Strict):
    """What is active now, and was before."""

    active: int
    before: int
    scheduled: ScheduleReport | None
    paused: list[str] = Field(description="Experiments that ran, and were paused by this.")


class AuditEntry(Strict):
    """A change."""

    event: int = Field(description="Counts from 1, in the order of changes.")
    time_ms: int = Field(description="Milliseconds since 1970, UTC, by the clock of the host that made it.")
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    why: str


class AuditReport(Strict):
    """Changes, the newest first."""

    events: list[AuditEntry]
    more: bool = Field(description="Whether there are older ones: ask with before=.")


class ActorReport(Strict):
    """Whose token it is."""

    actor: str | None = Field(description="null without a token.")
    scopes: list[str] = Field(description="read, propose, activate, admin.")


def parse_body(model: type[_Body], document: Any) -> _Body:
    """A JSON document as a request.

    Raises:
        InvalidRequestError: it is none; names the field.
    """
    if not isinstance(document, dict):
        raise InvalidRequestError(FieldProblem("body", "expected an object"))
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), model, all_read=True) from None
