"""The control store: one small document, and the history behind it. Says what is wanted, changes nothing.

The document is replaced whole, and only by who has read the one that it replaces; revisions and audit events
that belong to a change are written with it or not at all. So two who change something at once cannot both
succeed, and no history is lost between a change and its record.

    document    which revision and bundle are wanted, and which were before; experiments
    revisions   configs of the fusion by number, from 1
    networks    of learned formulas, by checksum
    events      of the audit, by number, from 1
    looks       at experiments, by their ids: apart from the document, as they come often and decide nothing
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import StringConstraints

from model.experiments import Experiments
from model.frozen import Frozen
from service.control.audit import AuditEvent

Version = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

MOST_REMEMBERED = 100
"""Activations in the document: how far a rollback can go."""


class Activation(Frozen):
    """A revision and a bundle that were activated."""

    revision: int
    bundle: Version | None = None
    """The bundle that should serve; None for the newest."""
    together: bool = False
    """Whether the revision comes into force only with this bundle."""
    decided: bool = False
    """Whether an experiment was decided for the bundle: a rollback undoes that, though the revision stays."""


class Schedule(Frozen):
    """An activation that is to come."""

    revision: int
    at_ms: int
    """Unix time, milliseconds."""
    if_active: int
    """The revision that must be active then; else the schedule is dropped."""
    bundle: Version | None = None
    actor: str
    why: str


class Document(Frozen):
    """What is wanted."""

    schema_version: Literal[1] = 1
    change: str
    """Random name of the change that made this document: never used again, so that it says which one it is
    even where a store has lost its newest changes and others took their numbers."""
    revisions: int
    """Number of the newest revision."""
    events: int
    """Number of the newest audit event."""
    trail: tuple[Activation, ...]
    """What was activated, oldest first; the last one is active. A rollback removes it."""
    schedule: Schedule | None = None
    experiments: Experiments = Experiments()
    """All that are not long stopped, and all layers."""
    file_version: Version | None = None
    """Version of the fusion file's config that was recorded last; None where there was none."""

    @property
    def active(self) -> Activation:
        """What is active."""
        return self.trail[-1]

    @property
    def before(self) -> int | None:
        """The revision that a rollback leads to; None where there is none."""
        return None if self.back is None else self.back.revision

    @property
    def before_at(self) -> int | None:
        """Place in the trail of what a rollback leads to; None where there is nothing.

        That is what was active before the active revision, or before a bundle that an experiment was decided
        for meanwhile.
        """
        active, trail = self.active.revision, self.trail
        for at in reversed(range(len(trail) - 1)):
            of, after = trail[at], trail[at + 1]
            if of.revision != active or (after.decided and of.bundle != after.bundle):
                return at
        return None

    @property
    def back(self) -> Activation | None:
        """What a rollback activates; None where there is nothing before.

        A bundle that came with the active revision goes back with it; one that was activated apart stays.
        """
        at = self.before_at
        if at is None:
            return None
        target, left = self.trail[at], self.trail[at + 1]
        bundle = target.bundle if left.together or left.decided else self.active.bundle
        # Back together, as they came; a bundle that was the newest then is not known by name.
        together = bundle is not None and (left.together or target.together)
        return Activation(revision=target.revision, bundle=bundle, together=together)


class Revision(Frozen):
    """A config of the fusion, and where it comes from."""

    revision: int
    version: Version
    """Hash of the canonical config."""
    parent: int | None
    """Revision that it was made from; None for the first."""
    author: str
    origin: Literal["bundle", "file", "proposed"]
    note: str
    time_ms: int
    """Unix time of the host that took it, milliseconds."""
    summary: tuple[str, ...]
    """What changed since the parent, a line each: `default: vtr weight 0.2 -> 0.4`."""
    networks: tuple[str, ...] = ()
    """Checksums of the networks that the config names, hexadecimal."""
    evidence: dict[str, Any] | None = None
    """What was attached: of a replay, an estimate."""
    config: dict[str, Any]
    """Canonical, as parsed: `model.fusion.canonical_json`."""


@dataclass(frozen=True)
class Change:
    """What is written at once.

    Attributes:
        expected: `change` of the document that this one replaces; None for an empty store.
        document: the new one.
        revision: a new revision, if any; its number is `document.revisions`.
        networks: new networks of learned formulas, by checksum.
        events: of the audit, in their order; the last number is `document.events`.
    """

    expected: str | None
    document: Document
    revision: Revision | None = None
    networks: Mapping[str, bytes] = field(default_factory=dict)
    events: Sequence[AuditEvent] = ()


class ControlStore(Protocol):
    """Where document and history lie. Thread-safe.

    Each method raises StateError where the store cannot be read or written now.
    """

    @property
    def name(self) -> str:
        """For messages; free of secrets."""

    def read(self) -> Document | None:
        """What is wanted; None while the store is empty. Cheap: workers call it ten times a second."""

    def commit(self, change: Change) -> bool:
        """Make this change, durably, unless the document is no longer the expected one: then False.

        Raises:
            StateError: it was not made, or it is not known whether it was: says which. Where the answer was
                lost and a second look finds the change, it was made, and nothing is raised.
        """

    def revision(self, number: int) -> Revision | None:
        """One revision; None where there is none."""

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions below `before` (None: all), the newest first, at most `limit`."""

    def network(self, sha256: str) -> bytes | None:
        """A network; None where there is none."""

    def events(self, before: int | None, limit: int) -> list[AuditEvent]:
        """Audit events below `before` (None: all), the newest first, at most `limit`."""

    def looks(self, experiment: str) -> bytes:
        """What was kept of the looks at an experiment; empty where nothing was."""

    def newest_looks(self, experiments: Collection[str]) -> dict[str, bytes]:
        """The newest look at each of these that has one."""

    def keep_looks(self, experiment: str, newest: bytes, all_of_them: bytes) -> None:
        """Keep this in place of what was kept of an experiment; of two who do so at once, the last counts.

        Raises:
            StateError: it is not kept, or it is not known.
        """

    def close(self) -> None:
        """Give up connections."""
