"""Schedules: activations that are to come. One at a time; it holds only while nothing else becomes active."""

from __future__ import annotations

from model.fusion import FusionError
from service.control.fusion.networks import TrialError
from service.control.fusion.revisions import Fits, Revisions
from service.control.ledger import SYSTEM, StaleError
from service.control.state.control import Activation, Change, Document, Schedule
from service.control.state.desired import StateError


class Schedules:
    """What is scheduled. Each method raises StateError where the store cannot be read or written."""

    def __init__(self, revisions: Revisions) -> None:
        self._ledger = revisions

    def schedule(self, schedule: Schedule, fits: Fits = lambda _: None) -> Document:
        """Activate a revision later, in place of whatever was scheduled.

        Raises:
            UnknownRevisionError, StaleError, FusionError: as for `activate`.
        """

        def make(document: Document) -> Change:
            self._ledger.get(schedule.revision)
            self._ledger.expect(schedule.if_active, document)
            if schedule.at_ms <= self._ledger.now_ms():
                raise StaleError(
                    f"at_ms {schedule.at_ms} is not in the future (now {self._ledger.now_ms()}); "
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
            return self._ledger.recorded(
                changed, schedule.actor, "activation_scheduled", before, after, schedule.why
            )

        return self._ledger.change(make)

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
            return self._ledger.recorded(changed, actor, "schedule_cancelled", before, None, why)

        return self._ledger.change(make)

    def due(self, fits: Fits) -> Document | None:
        """What is wanted, once what was scheduled for by now is active; None while the store is empty.

        A schedule whose premise is gone, or that no longer fits, is dropped.
        """
        document = self._ledger.store.read()
        if document is None or document.schedule is None or self._ledger.now_ms() < document.schedule.at_ms:
            return document

        def make(document: Document) -> Change | None:
            schedule = document.schedule
            if schedule is None or self._ledger.now_ms() < schedule.at_ms:
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
                return self._ledger.recorded(changed, SYSTEM, "schedule_dropped", before, None, problem)
            trail = (*document.trail, wanted)
            why = f"scheduled by {schedule.actor}: {schedule.why}"
            fired = document.model_copy(update={"schedule": None})
            return self._ledger.activation(fired, schedule.actor, "revision_activated", trail, why)

        return self._ledger.change(make)
