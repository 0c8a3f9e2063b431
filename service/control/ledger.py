"""The ledger: how the control document is changed. Each change is a compare-and-set with its audit events: of
two who change the same thing, one is refused, and no change is without a record.

Whatever changes what is active ends what was meant for what was active before: a schedule is dropped, and
experiments that run are paused, so that everybody gets the new one at once and no comparison mixes two
controls. Knows neither HTTP nor what a worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any
from uuid import uuid4

from model.errors import FulcrumError
from service.control.audit import Action, AuditEvent
from service.control.state.control import (
    MOST_REMEMBERED,
    Activation,
    Change,
    ControlStore,
    Document,
    Revision,
)
from service.control.state.desired import StateError

SYSTEM = "fulcrum"
"""Actor of what happens by itself: seeding, edits of the file, what was scheduled, what a change pauses."""

_TRIES = 100
"""Times that others may come first; each time somebody's change was made."""


class StaleError(FulcrumError):
    """Things are no longer as the caller believes; nothing has changed."""


class Ledger:
    """Reads and changes the document of a store.

    Each method raises StateError where the store cannot be read or written.

    Args:
        store: keeps it.
        clock: Unix time, seconds.
    """

    def __init__(self, store: ControlStore, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock

    def document(self) -> Document:
        """What is wanted.

        Raises:
            StateError: the store is empty, too.
        """
        document = self.store.read()
        if document is None:
            raise StateError(f"{self.store.name}: it is empty, though it was not; restore it, or start again")
        return document

    def now_ms(self) -> int:
        """Unix time, milliseconds."""
        return int(self._clock() * 1000.0)

    def expect(self, active: int, document: Document | None = None) -> None:
        """Raise StaleError unless this revision is active."""
        found = (document or self.document()).active.revision
        if found == active:
            return
        by = next(
            (
                f", by {event.actor}"
                for event in self.store.events(None, 50)
                if (event.after or {}).get("revision") == found != (event.before or {}).get("revision")
                and event.action != "revision_proposed"
            ),
            "",
        )
        raise StaleError(
            f"revision {found} is active{by}, not {active}; look at what changed, then try again"
        )

    def change(self, make: Callable[[Document], Change | None]) -> Document:
        """Make a change of what is wanted, however often others come first.

        Args:
            make: the change of a document; None where there is nothing to change.
        """
        for _ in range(_TRIES):
            document = self.document()
            change = make(document)
            if change is None:
                return document
            if self.store.commit(change):
                return change.document
        raise StateError(f"{self.store.name}: others changed it {_TRIES} times meanwhile; try again")

    def paused(self, document: Document) -> list[str]:
        """Experiments that were paused by the change that made this document, as it made something active."""
        newest_first = self.store.events(document.events + 1, len(document.experiments.experiments) + 1)
        paused = takewhile(lambda event: event.action == "experiment_paused", newest_first)
        return sorted(str((event.after or {}).get("id")) for event in paused)

    def recorded(
        self,
        document: Document,
        actor: str,
        action: Action,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        why: str,
        revision: Revision | None = None,
        networks: Mapping[str, bytes] | None = None,
    ) -> Change:
        """The document as a change of the one with its name, and the audit's event of it."""
        number = document.events + 1
        update: dict[str, Any] = {"change": uuid4().hex, "events": number}
        if revision is not None:
            update["revisions"] = revision.revision
        event = self.event(number, actor, action, before, after, why)
        changed = document.model_copy(update=update)
        return Change(document.change, changed, revision, networks or {}, [event])

    def activation(
        self,
        document: Document,
        actor: str,
        action: Action,
        trail: tuple[Activation, ...],
        why: str,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        revision: Revision | None = None,
        networks: Mapping[str, bytes] | None = None,
    ) -> Change:
        """The change that makes the last of this trail active; what the audit's event says may be given."""
        changed = document.model_copy(update={"trail": trail[-MOST_REMEMBERED:], "schedule": None})
        before = _named(document.active) if before is None else before
        after = _named(trail[-1]) if after is None else after
        change = self.recorded(changed, actor, action, before, after, why, revision, networks)
        so = f"event {change.document.events} changed what is active"
        if document.schedule is not None:
            dropped = document.schedule.model_dump(exclude_none=True)
            change = self.also(change, "schedule_dropped", dropped, None, so)
        for one in document.experiments.experiments:
            if one.state == "running":
                change = self.also(change, "experiment_paused", {"id": one.id}, {"id": one.id}, so)
                paused = one.changed(state="paused")
                experiments = change.document.experiments.with_(paused)
                document_ = change.document.model_copy(update={"experiments": experiments})
                change = replace(change, document=document_)
        return change

    def also(
        self,
        change: Change,
        action: Action,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        why: str,
        actor: str = SYSTEM,
    ) -> Change:
        """The same change with another event of the audit."""
        number = change.document.events + 1
        event = self.event(number, actor, action, before, after, why)
        document = change.document.model_copy(update={"events": number})
        return replace(change, document=document, events=[*change.events, event])

    def event(
        self,
        number: int,
        actor: str,
        action: Action,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        why: str,
    ) -> AuditEvent:
        """An event of the audit, now."""
        return AuditEvent(
            event=number,
            time_ms=self.now_ms(),
            actor=actor,
            action=action,
            before=before,
            after=after,
            why=why,
        )


def _named(activation: Activation) -> dict[str, Any]:
    return activation.model_dump(exclude={"together", "decided"}, exclude_none=True)
