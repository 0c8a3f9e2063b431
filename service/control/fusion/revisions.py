"""Revisions: how configs of the fusion are proposed, activated, scheduled and rolled back.

Every change is a compare-and-set of the store's document with its revision and its audit event: of two who
change the same thing, one is refused. Knows neither HTTP nor what a worker runs; whether a config fits a
bundle is asked of `Fits`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal
from uuid import uuid4

import orjson

from model.errors import FulcrumError
from model.fusion import FusionConfig, FusionError, canonical_json, parse_fusion, version
from model.fusion.changes import changes
from service.control.audit import Action, AuditEvent
from service.control.fusion.networks import TrialError
from service.control.state.control import (
    MOST_REMEMBERED,
    Activation,
    Change,
    ControlStore,
    Document,
    Revision,
    Schedule,
)
from service.control.state.desired import StateError

SYSTEM = "fulcrum"
"""Actor of what happens by itself: seeding, edits of the file, what was scheduled."""

_TRIES = 100
"""Times that others may come first; each time somebody's change was made."""
_MOST_LINES = 50

Fits = Callable[[Activation], None]
"""Raises FusionError where what is to become active cannot serve."""


class UnknownRevisionError(FulcrumError):
    """The store holds no such revision."""


class StaleError(FulcrumError):
    """Things are no longer as the caller believes; nothing has changed."""


class Revisions:
    """The revisions of a store.

    Each method raises StateError where the store cannot be read or written.

    Args:
        store: keeps them.
        clock: Unix time, seconds.
    """

    def __init__(self, store: ControlStore, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock

    def seed(
        self,
        config: FusionConfig,
        origin: Literal["bundle", "file"],
        source: str,
        networks: Mapping[str, bytes],
    ) -> Document:
        """What is wanted; an empty store takes this config as active revision 1."""
        while (document := self.store.read()) is None:
            first = Revision(
                revision=1,
                version=version(config),
                parent=None,
                author=SYSTEM,
                origin=origin,
                note=f"in force when the store was empty: {source}",
                time_ms=self._now_ms(),
                summary=(),
                networks=tuple(networks),
                config=orjson.loads(canonical_json(config)),
            )
            active = Activation(revision=1)
            event = self._event(1, SYSTEM, "store_seeded", None, _named(active), source)
            file_version = first.version if origin == "file" else None
            document = Document(
                change=uuid4().hex, revisions=1, events=1, trail=(active,), file_version=file_version
            )
            if self.store.commit(Change(None, document, first, networks, [event])):
                return document
        return document

    def get(self, number: int) -> Revision:
        """One revision.

        Raises:
            UnknownRevisionError: there is none of that number.
        """
        found = self.store.revision(number)
        if found is None:
            document = self.store.read()
            newest = document.revisions if document else 0
            raise UnknownRevisionError(
                f"there is no revision {number}; the newest is {newest}, see GET /v1/fusion/revisions"
            )
        return found

    def document(self) -> Document:
        """What is wanted.

        Raises:
            StateError: the store is empty, too.
        """
        document = self.store.read()
        if document is None:
            raise StateError(f"{self.store.name}: it is empty, though it was not; restore it, or start again")
        return document

    def expect(self, active: int) -> None:
        """Raise StaleError unless this revision is active."""
        self._expect(self.document(), active)

    def propose(
        self,
        actor: str,
        config: FusionConfig,
        parent: int | None = None,
        note: str = "",
        networks: Mapping[str, bytes] | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> Revision:
        """Write a config down as the newest revision; the active one stays.

        Args:
            actor: who does it.
            config: parsed; its networks were tried.
            parent: what it was made from; None for the active one.
            note: what it is for.
            networks: those that it names and the store may lack, by checksum; others are left out.
            evidence: of a replay, an estimate.

        Raises:
            UnknownRevisionError: there is no such parent.
            StaleError: it says what its parent says.
        """
        made: list[Revision] = []
        named = {name: content for name, content in (networks or {}).items() if name in networks_of(config)}

        def make(document: Document) -> Change:
            base = self.get(document.active.revision if parent is None else parent)
            revision = self._revision(document, base, config, actor, "proposed", note, evidence)
            if revision.version == base.version:
                raise StaleError(f"nothing would change: revision {base.revision} has the same config")
            made.append(revision)
            after = {"revision": revision.revision, "version": revision.version, "parent": base.revision}
            return self._with(document, actor, "revision_proposed", None, after, note, revision, named)

        self._change(make)
        return made[-1]

    def activate(
        self,
        actor: str,
        number: int,
        if_active: int,
        why: str,
        bundle: str | None = None,
        fits: Fits = lambda _: None,
    ) -> tuple[int, Document]:
        """Make a revision the active one: the revision that was before, and what is wanted now.

        Args:
            actor: who does it.
            number: of the revision.
            if_active: the revision that must be active now.
            why: for the audit.
            bundle: version of a bundle that comes into force with it; None leaves what is wanted.
            fits: asked before anything is written.

        Raises:
            UnknownRevisionError: there is none of that number.
            StaleError: another one is active, or it is active already.
            FusionError: of `fits`.
        """
        before: list[int] = []

        def make(document: Document) -> Change:
            self.get(number)
            self._expect(document, if_active)
            active = document.active
            wanted = Activation(revision=number, bundle=bundle or active.bundle, together=bundle is not None)
            if wanted == active or (number == active.revision and bundle in (None, active.bundle)):
                raise StaleError(f"revision {number} is active already")
            fits(wanted)
            before.append(active.revision)
            return self._activation(document, actor, "revision_activated", (*document.trail, wanted), why)

        document = self._change(make)
        return before[-1], document

    def want_bundle(self, actor: str, bundle: str, why: str = "") -> Document:
        """Want this bundle from now on, with the active revision."""

        def make(document: Document) -> Change:
            wanted = Activation(revision=document.active.revision, bundle=bundle)
            trail = (*document.trail, wanted)
            return self._activation(document, actor, "bundle_activated", trail, why)

        return self._change(make)

    def schedule(self, schedule: Schedule, fits: Fits = lambda _: None) -> Document:
        """Activate a revision later, in place of whatever was scheduled.

        Raises:
            UnknownRevisionError, StaleError, FusionError: as for `activate`.
        """

        def make(document: Document) -> Change:
            self.get(schedule.revision)
            self._expect(document, schedule.if_active)
            if schedule.at_ms <= self._now_ms():
                raise StaleError(
                    f"at_ms {schedule.at_ms} is not in the future (now {self._now_ms()}); "
                    "leave it out to activate at once"
                )
            active = document.active
            if schedule.revision == active.revision and schedule.bundle in (None, active.bundle):
                raise StaleError(f"revision {schedule.revision} is active already")
            fits(
                Activation(
                    revision=schedule.revision,
                    bundle=schedule.bundle or active.bundle,
                    together=schedule.bundle is not None,
                )
            )
            earlier = document.schedule
            before = earlier.model_dump(exclude_none=True) if earlier else None
            after = schedule.model_dump(exclude_none=True)
            changed = document.model_copy(update={"schedule": schedule})
            return self._with(changed, schedule.actor, "activation_scheduled", before, after, schedule.why)

        return self._change(make)

    def cancel(self, actor: str, why: str, if_scheduled: int | None = None) -> Document:
        """Take back what was scheduled.

        Args:
            actor: who does it.
            why: for the audit.
            if_scheduled: the revision that must be scheduled; None for any.

        Raises:
            StaleError: nothing is scheduled, or another revision.
        """

        def make(document: Document) -> Change:
            if document.schedule is None:
                raise StaleError("nothing is scheduled")
            found = document.schedule
            if if_scheduled not in (None, found.revision):
                raise StaleError(
                    f"revision {found.revision} is scheduled, by {found.actor}, not {if_scheduled}"
                )
            before = document.schedule.model_dump(exclude_none=True)
            changed = document.model_copy(update={"schedule": None})
            return self._with(changed, actor, "schedule_cancelled", before, None, why)

        return self._change(make)

    def rollback(
        self, actor: str, if_active: int, why: str, fits: Fits = lambda _: None
    ) -> tuple[int, Document]:
        """Go back to the revision that was active before this one: what was active, and what is wanted now.

        Twice goes two back, never to and fro. A bundle that came with the revision goes back with it; one
        that was activated apart stays.

        Raises:
            StaleError: another revision is active, or there is none before it.
            FusionError: of `fits`.
        """
        before: list[int] = []

        def make(document: Document) -> Change:
            self._expect(document, if_active)
            active, at, wanted = document.active, document.before_at, document.back
            if at is None or wanted is None:
                raise StaleError(f"no revision was active before {active.revision}")
            fits(wanted)
            before.append(active.revision)
            return self._activation(
                document, actor, "revision_rolled_back", (*document.trail[:at], wanted), why
            )

        document = self._change(make)
        return before[-1], document

    def due(self, fits: Fits) -> Document | None:
        """What is wanted, once what was scheduled for by now is active; None while the store is empty.

        A schedule whose premise is gone, or that no longer fits, is dropped.
        """
        document = self.store.read()
        if document is None or document.schedule is None or self._now_ms() < document.schedule.at_ms:
            return document

        def make(document: Document) -> Change | None:
            schedule = document.schedule
            if schedule is None or self._now_ms() < schedule.at_ms:
                return None
            active = document.active
            wanted = Activation(
                revision=schedule.revision,
                bundle=schedule.bundle or active.bundle,
                together=schedule.bundle is not None,
            )
            problem = None
            if active.revision != schedule.if_active:
                problem = f"revision {active.revision} is active, not {schedule.if_active}"
            else:
                try:
                    fits(wanted)
                except TrialError as error:  # it may pass: it stays due
                    raise StateError(f"what is scheduled cannot be judged now: {error}") from error
                except FusionError as error:
                    problem = str(error)
            if problem is not None:
                before = schedule.model_dump(exclude_none=True)
                changed = document.model_copy(update={"schedule": None})
                return self._with(changed, SYSTEM, "schedule_dropped", before, None, problem)
            trail = (*document.trail, wanted)
            why = f"scheduled by {schedule.actor}: {schedule.why}"
            fired = document.model_copy(update={"schedule": None})
            return self._activation(fired, schedule.actor, "revision_activated", trail, why)

        return self._change(make)

    def record_file(self, config: FusionConfig, source: str, networks: Mapping[str, bytes]) -> Document:
        """Write an edit of the fusion file down. It becomes active where the active revision came from it."""
        edited = version(config)

        def make(document: Document) -> Change | None:
            if document.file_version == edited:
                return None
            base = self.get(document.active.revision)
            changed = document.model_copy(update={"file_version": edited})
            if base.version == edited:
                return self._with(changed, SYSTEM, "file_edited", None, {"revision": base.revision}, source)
            revision = self._revision(changed, base, config, SYSTEM, "file", f"edit of {source}", None)
            active = base.origin == "file"
            if active:
                wanted = Activation(revision=revision.revision, bundle=document.active.bundle)
                trail = _bounded((*changed.trail, wanted))
                changed = changed.model_copy(update={"trail": trail, "schedule": None})
            after = {"revision": revision.revision, "version": edited, "active": active}
            why = (
                source if active else f"{source}; not active, as revision {base.revision} came from elsewhere"
            )
            before = {"revision": base.revision}
            change = self._with(changed, SYSTEM, "file_edited", before, after, why, revision, networks)
            dropped = document.schedule if active else None
            return change if dropped is None else self._dropping(change, dropped)

        return self._change(make)

    def _change(self, make: Callable[[Document], Change | None]) -> Document:
        """Make a change of what is wanted, however often others come first."""
        for _ in range(_TRIES):
            document = self.document()
            change = make(document)
            if change is None:
                return document
            if self.store.commit(change):
                return change.document
        raise StateError(f"{self.store.name}: others changed it {_TRIES} times meanwhile; try again")

    def _activation(
        self,
        document: Document,
        actor: str,
        action: Action,
        trail: tuple[Activation, ...],
        why: str,
    ) -> Change:
        """What is scheduled goes with it: it was meant for what was active."""
        changed = document.model_copy(update={"trail": _bounded(trail), "schedule": None})
        change = self._with(changed, actor, action, _named(document.active), _named(trail[-1]), why)
        return change if document.schedule is None else self._dropping(change, document.schedule)

    def _dropping(self, change: Change, schedule: Schedule) -> Change:
        """The same change, and the audit's event of what was scheduled."""
        number = change.document.events + 1
        why = f"event {number - 1} changed what is active"
        dropped = schedule.model_dump(exclude_none=True)
        event = self._event(number, SYSTEM, "schedule_dropped", dropped, None, why)
        document = change.document.model_copy(update={"events": number})
        return replace(change, document=document, events=[*change.events, event])

    def _with(
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
        event = self._event(number, actor, action, before, after, why)
        changed = document.model_copy(update=update)
        return Change(document.change, changed, revision, networks or {}, [event])

    def _revision(
        self,
        document: Document,
        base: Revision,
        config: FusionConfig,
        author: str,
        origin: Literal["file", "proposed"],
        note: str,
        evidence: dict[str, Any] | None,
    ) -> Revision:
        lines = changes(config_of(base), config)
        if len(lines) > _MOST_LINES:
            lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]
        return Revision(
            revision=document.revisions + 1,
            version=version(config),
            parent=base.revision,
            author=author,
            origin=origin,
            note=note,
            time_ms=self._now_ms(),
            summary=tuple(lines),
            networks=tuple(networks_of(config)),
            evidence=evidence,
            config=orjson.loads(canonical_json(config)),
        )

    def _expect(self, document: Document, active: int) -> None:
        if document.active.revision == active:
            return
        found = document.active.revision
        by = next(
            (
                f", by {event.actor}"
                for event in self.store.events(None, 50)
                if (event.after or {}).get("revision") == found and event.action != "revision_proposed"
            ),
            "",
        )
        raise StaleError(
            f"revision {found} is active{by}, not {active}; look at what changed, then try again"
        )

    def _event(
        self,
        number: int,
        actor: str,
        action: Action,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        why: str,
    ) -> AuditEvent:
        return AuditEvent(
            event=number,
            time_ms=self._now_ms(),
            actor=actor,
            action=action,
            before=before,
            after=after,
            why=why,
        )

    def _now_ms(self) -> int:
        return int(self._clock() * 1000.0)


def config_of(revision: Revision) -> FusionConfig:
    """The config of a revision.

    Raises:
        FusionError: this version of Fulcrum does not know a part of it.
    """
    return parse_fusion(orjson.dumps(revision.config).decode(), source=f"revision {revision.revision}")


def networks_of(config: FusionConfig) -> list[str]:
    """Checksums of the networks that a config names."""
    found = (getattr(scene, "sha256", None) for scene in config.scenes.values())
    return list(dict.fromkeys(sha256 for sha256 in found if sha256))


def _named(activation: Activation) -> dict[str, Any]:
    return activation.model_dump(exclude={"together"}, exclude_none=True)


def _bounded(trail: tuple[Activation, ...]) -> tuple[Activation, ...]:
    return trail[-MOST_REMEMBERED:]
