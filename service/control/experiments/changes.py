"""Changes of experiments and layers: what may follow what, and what stands in the audit.

    draft -> running <-> paused -> stopped

Each change says which edition of the experiment it has seen, and is one write of the control document with
its audit events. Knows no HTTP; whether arms can be served is asked of `Check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from model.errors import shown
from model.experiments import Experiment, Experiments, Layer, Outcome
from service.control.audit import Action
from service.control.experiments.looks import Looks
from service.control.experiments.refusals import (
    TakenError,
    arm_of,
    expected,
    first_bucket,
    refuse_taken,
    refuse_unknown_layer,
    time_text,
)
from service.control.fusion.revisions import Revisions
from service.control.ledger import StaleError
from service.control.state.control import MOST_REMEMBERED, Activation, Change, Document

MOST_STOPPED = 100
"""Experiments that are stopped and that the document keeps; the audit has all."""
MAX_STOPPED_BYTES = 256 * 1024
"""Of all these as JSON: each worker reads them at each change."""
MAX_OPEN_BYTES = 512 * 1024
"""Of all others."""
MOST_LAYERS = 100
MOST_TESTERS = 100
"""Overrides of an experiment."""
UNSTOPPED = ("draft", "running", "paused")

Check = Callable[[Experiments, str], None]
"""Raises where arms of the experiment of that id cannot be served beside those of all others."""


class ExperimentChanges:
    """Changes of a store's experiments. Each method raises StateError where it cannot be read or written.

    Methods that name an experiment raise UnknownExperimentError where there is none, and StaleError where it
    has changed since `if_edition`, or is in a state in which this cannot be done. They return it as changed.
    """

    def __init__(self, revisions: Revisions) -> None:
        self.looks = Looks(revisions.store)
        self._ledger = revisions

    def expect(self, name: str, edition: int) -> Experiment:
        """The experiment, if it is of this edition and not stopped."""
        return expected(self._ledger, self._ledger.document(), name, edition, *UNSTOPPED)

    def create_layer(self, actor: str, layer: Layer, why: str) -> Document:
        """Make a layer, for good.

        Raises:
            TakenError: there is one of that name or salt, or there are too many.
        """

        def make(document: Document) -> Change:
            experiments = document.experiments
            for one in experiments.layers:
                if one.name == layer.name:
                    raise TakenError(f"there is a layer {layer.name} already; take another name")
                if one.salt == layer.salt:
                    raise TakenError(
                        f"layer {one.name} has that salt, and both would deal alike; take another, or none"
                    )
            if len(experiments.layers) >= MOST_LAYERS:
                raise TakenError(f"there are {MOST_LAYERS} layers, which is the most; take one of them")
            changed = Experiments(layers=(*experiments.layers, layer), experiments=experiments.experiments)
            after = layer.model_dump(mode="json")
            return self._ledger.recorded(
                with_experiments(document, changed), actor, "layer_created", None, after, why
            )

        return self._ledger.change(make)

    def create(self, actor: str, draft: Experiment, first: int | None, check: Check) -> Experiment:
        """Make an experiment, of which nothing happens before it is started, but for its overrides.

        Args:
            actor: its author.
            draft: as it shall be, wherever its buckets are.
            first: of its buckets; None for the first that are free.
            check: asked before anything is written.

        Raises:
            UnknownLayerError, UnknownRevisionError: there is no such layer, or revision of an arm.
            TakenError: of id, buckets, or what only one layer may have.
        """

        def make(document: Document) -> Change:
            experiments = document.experiments
            refuse_unknown_layer(experiments, draft.layer)
            for arm in draft.arms:
                if arm.revision is not None:
                    self._ledger.get(arm.revision)
            refuse_taken(experiments, draft)
            made = draft.model_copy(
                update={
                    "first": first_bucket(experiments, draft, first),
                    "author": actor,
                    "created_ms": self._ledger.now_ms(),
                }
            )
            changed = experiments.with_(made)
            open_ones = [one for one in changed.experiments if one.state != "stopped"]
            if _size(open_ones) > MAX_OPEN_BYTES:
                raise TakenError(
                    f"experiments that are not stopped would have more than {MAX_OPEN_BYTES} bytes as JSON; "
                    "stop one of them, or propose what its arms have as revisions"
                )
            check(changed, made.id)
            after = made.model_dump(mode="json", exclude_none=True)
            return self._ledger.recorded(
                with_experiments(document, changed), actor, "experiment_created", None, after, made.note
            )

        made = self._ledger.change(make).experiments.one(draft.id)
        self.looks.forget([draft.id])  # looks at one that had its name
        return made

    def start(
        self, actor: str, name: str, if_edition: int, why: str, check: Check, bundle: str | None
    ) -> Experiment:
        """Begin a comparison: what was seen before does not count.

        Args:
            actor: who does it.
            name: of the experiment.
            if_edition: its present edition.
            why: for the audit.
            check: asked before anything is written.
            bundle: version of the bundle that serves, which is wanted from now on where none was named: a
                bundle that is published later does not become active by itself. None where that cannot be.
        """

        def make(document: Document) -> Change:
            one = expected(self._ledger, document, name, if_edition, "draft", "paused")
            now_ms = self._ledger.now_ms()
            if one.stop_ms is not None and one.stop_ms <= now_ms:
                raise StaleError(
                    f"experiment {name} ended at its stop_ms, {time_text(one.stop_ms)}; make another"
                )
            since_ms = max(now_ms, one.start_ms or 0)
            changed = one.changed(state="running", since_ms=since_ms, ramped_ms=since_ms, outcome=None)
            experiments = document.experiments.with_(changed)
            check(experiments, name)
            change = self.recorded(document, one, changed, actor, "experiment_started", why)
            if document.active.bundle is not None or bundle is None:
                return change
            return self._pinned(change, bundle, name)

        return self._ledger.change(make).experiments.one(name)

    def ramp(self, actor: str, name: str, if_edition: int, ramp: int, why: str) -> Experiment:
        """Have more of its buckets live.

        Raises:
            ExperimentError: fewer than now, or more than it holds.
        """

        def update(one: Experiment) -> dict[str, Any]:
            if one.ramped(ramp).ramp == one.ramp:
                raise StaleError(f"the ramp of experiment {name} is {ramp} already")
            began = one.state == "running"
            return {
                "ramp": ramp,
                "ramped_ms": max(self._ledger.now_ms(), one.start_ms or 0) if began else one.ramped_ms,
            }

        return self._change(actor, name, if_edition, "experiment_ramped", why, update, *UNSTOPPED)

    def pause(
        self, actor: str, name: str, if_edition: int, why: str, outcome: Outcome | None = None
    ) -> Experiment:
        """Give everybody what is active; units keep their arms for a next start.

        Raises:
            ExperimentError: the outcome is of no arm of it.
        """
        return self._change(
            actor,
            name,
            if_edition,
            "experiment_paused",
            why,
            lambda one: {"state": "paused", **self.outcome(one, outcome, actor, why)},
            "running",
        )

    def stop(
        self, actor: str, name: str, if_edition: int, why: str, outcome: Outcome | None = None
    ) -> Experiment:
        """End it for good; its buckets are free. Raises as `pause`."""

        def make(document: Document) -> Change:
            one = expected(self._ledger, document, name, if_edition, *UNSTOPPED)
            changed = one.changed(state="stopped", **self.outcome(one, outcome, actor, why))
            return self.recorded(document, one, changed, actor, "experiment_stopped", why)

        return self.stopping(name, make).experiments.one(name)

    def override(
        self, actor: str, name: str, if_edition: int, unit: str, arm: str | None, why: str
    ) -> Experiment:
        """Give a tester an arm, whatever their bucket, or none any more.

        Raises:
            ExperimentError: it has no such arm.
            TakenError: there are too many testers.
        """

        def update(one: Experiment) -> dict[str, Any]:
            others = {tester: has for tester, has in one.overrides.items() if tester != unit}
            if arm is None:
                if unit not in one.overrides:
                    raise StaleError(f"experiment {name} has no override of {shown(unit)}")
                return {"overrides": others}
            arm_of(one, arm)
            if len(others) >= MOST_TESTERS:
                raise TakenError(
                    f"experiment {name} has {MOST_TESTERS} overrides, which is the most; remove one"
                )
            return {"overrides": {**others, unit: arm}}

        return self._change(actor, name, if_edition, "experiment_override", why, update, *UNSTOPPED)

    def _change(
        self,
        actor: str,
        name: str,
        if_edition: int,
        action: Action,
        why: str,
        update: Callable[[Experiment], dict[str, Any]],
        *states: str,
    ) -> Experiment:
        def make(document: Document) -> Change:
            one = expected(self._ledger, document, name, if_edition, *states)
            return self.recorded(document, one, one.changed(**update(one)), actor, action, why)

        return self._ledger.change(make).experiments.one(name)

    def stopping(self, name: str, make: Callable[[Document], Change]) -> Document:
        """Make a change that stops an experiment: of too many stopped ones, the oldest go with it."""
        dropped: set[str] = set()

        def trimmed(document: Document) -> Change:
            change = make(document)
            experiments = change.document.experiments
            others = [one for one in experiments.experiments if one.id != name]
            # In the order in which they were stopped.
            stopped = [*(one for one in others if one.state == "stopped"), experiments.one(name)]
            dropped.clear()
            while len(stopped) > MOST_STOPPED or (len(stopped) > 1 and _size(stopped) > MAX_STOPPED_BYTES):
                dropped.add(stopped.pop(0).id)
            kept = (*(one for one in others if one.state != "stopped"), *stopped)
            changed = Experiments(layers=experiments.layers, experiments=kept)
            return replace(change, document=with_experiments(change.document, changed))

        document = self._ledger.change(trimmed)
        self.looks.forget(dropped)
        return document

    def recorded(
        self,
        document: Document,
        one: Experiment,
        changed: Experiment,
        actor: str,
        action: Action,
        why: str,
        more: dict[str, Any] | None = None,
    ) -> Change:
        """An experiment as it is changed, and the audit's event of it: what is unlike, and `more`."""
        old, new = one.model_dump(mode="json"), changed.model_dump(mode="json")
        unlike = [key for key in new if old[key] != new[key]]
        before, after = ({"id": one.id, **{key: of[key] for key in unlike}} for of in (old, new))
        experiments = document.experiments.with_(changed)
        return self._ledger.recorded(
            with_experiments(document, experiments), actor, action, before, {**after, **(more or {})}, why
        )

    def _pinned(self, change: Change, bundle: str, name: str) -> Change:
        document = change.document
        active = Activation(revision=document.active.revision, bundle=bundle)
        trail = (*document.trail, active)[-MOST_REMEMBERED:]
        document = document.model_copy(update={"trail": trail})
        before = {"revision": active.revision}
        after = {**before, "bundle": bundle}
        why = f"experiment {name} began; the newest bundle no longer becomes active by itself"
        return self._ledger.also(replace(change, document=document), "bundle_activated", before, after, why)

    def outcome(self, one: Experiment, outcome: Outcome | None, actor: str, why: str) -> dict[str, Outcome]:
        """The outcome as a field of the experiment, with who says so; none where nothing is said.

        Raises:
            ExperimentError: it is of no arm of it.
        """
        if outcome is None:
            return {}
        if outcome.arm is not None:
            arm_of(one, outcome.arm)
        said = {"why": why, "actor": actor, "time_ms": self._ledger.now_ms()}
        return {"outcome": outcome.model_copy(update=said)}


def _size(experiments: Iterable[Experiment]) -> int:
    """Bytes as JSON."""
    return sum(len(one.model_dump_json(exclude_none=True)) for one in experiments)


def with_experiments(document: Document, experiments: Experiments) -> Document:
    """The document with these in place of its own."""
    return document.model_copy(update={"experiments": experiments})
