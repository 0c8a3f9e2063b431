"""Deciding: an experiment is stopped, and what an arm of it has becomes everybody's, in one write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from model.experiments import Arm, Experiment, Outcome
from model.fusion import FusionConfig, patched
from service.control.audit import Action
from service.control.experiments.changes import UNSTOPPED, ExperimentChanges
from service.control.experiments.refusals import arm_of, expected, one_of
from service.control.fusion.revisions import Revisions, config_of
from service.control.ledger import StaleError
from service.control.state.control import Activation, Change, Document, Revision

Judge = Callable[[FusionConfig], None]
"""Raises FusionError where a config could not rank here."""


@dataclass(frozen=True)
class Decision:
    """What somebody decides.

    Attributes:
        actor: who does it.
        experiment: its id.
        if_edition: its present edition.
        if_active: the revision that must be active now.
        arm: whose revision or patch, and bundle, everybody gets.
        why: for the audit.
        outcome: how the comparison ended; None leaves what was said of it.
    """

    actor: str
    experiment: str
    if_edition: int
    if_active: int
    arm: str
    why: str
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Winner:
    """What a decision makes active.

    Attributes:
        activation: the active one where nothing changes.
        revision: None where the active one stays.
        is_new: whether it is yet to be written down, as an arm's patch is.
    """

    activation: Activation
    revision: Revision | None = None
    is_new: bool = False


class Decisions:
    """Decisions about experiments of a store."""

    def __init__(self, revisions: Revisions, changes: ExperimentChanges) -> None:
        self._ledger = revisions
        self._changes = changes

    def decide(
        self, decision: Decision, judge: Judge = lambda _: None, judged: Revision | None = None
    ) -> Document:
        """Stop an experiment, and make active what an arm has; of the control, the first arm, just stop it.

        A patch becomes a new revision, as if it had been proposed and activated.

        Args:
            decision: what is decided.
            judge: asked of another config before anything is written.
            judged: the revision that was judged ahead; another one is stale.

        Returns:
            What is wanted then.

        Raises:
            UnknownExperimentError, StaleError: as for other changes; another revision is active.
            ExperimentError: it has no such arm, or the outcome is of none.
            FusionError: of `judge`, or a patch makes no config any more.
            StateError: the store cannot be read or written.
        """
        actor, name, why = decision.actor, decision.experiment, decision.why

        def make(document: Document) -> Change:
            one = expected(self._ledger, document, name, decision.if_edition, *UNSTOPPED)
            self._ledger.expect(decision.if_active, document)
            winner = self._winner(document, one, decision)
            revision, wanted = winner.revision, winner.activation
            if judged is not None and (revision is None or _named(revision) != _named(judged)):
                raise StaleError("another revision was proposed meanwhile; try again")
            if revision is not None:
                judge(config_of(revision))
            said = self._changes.outcome(one, decision.outcome, actor, why)
            stopped = one.changed(state="stopped", **said)
            now = wanted.model_dump(include={"revision", "bundle"}, exclude_none=True)
            more = {"arm": decision.arm, **now}
            change = self._changes.recorded(document, one, stopped, actor, "experiment_decided", why, more)
            so = f"arm {decision.arm} of experiment {name}: {why}"
            if revision is not None and winner.is_new:
                after = {**now, "version": revision.version, "parent": revision.parent}
                proposed = self._ledger.recorded(
                    change.document, actor, "revision_proposed", None, after, revision.note, revision
                )
                change = _then(change, proposed)
            if wanted == document.active:
                return change
            action: Action = "bundle_activated" if revision is None else "revision_activated"
            trail = (*change.document.trail, wanted)
            return _then(change, self._ledger.activation(change.document, actor, action, trail, so))

        return self._changes.stopping(name, make)

    def winner(self, decision: Decision) -> Winner:
        """What a decision would make active now. Raises as `decide`, its preconditions apart."""
        document = self._ledger.document()
        return self._winner(document, one_of(document, decision.experiment), decision)

    def _winner(self, document: Document, one: Experiment, decision: Decision) -> Winner:
        arm, active = arm_of(one, decision.arm), document.active
        if arm == one.arms[0]:
            return Winner(active)
        revision, is_new = self._revision(document, one, arm, decision.actor)
        bundle = None if arm.bundle == active.bundle else arm.bundle
        if revision is not None:
            wanted = Activation(
                revision=revision.revision, bundle=bundle or active.bundle, together=bundle is not None
            )
            return Winner(wanted, revision, is_new)
        if bundle is None:
            return Winner(active)
        return Winner(Activation(revision=active.revision, bundle=bundle, decided=True))

    def _revision(
        self, document: Document, one: Experiment, arm: Arm, actor: str
    ) -> tuple[Revision | None, bool]:
        """The revision that an arm has, None where it is the active one; and whether it is new."""
        active = document.active.revision
        if arm.revision is not None:
            return (None if arm.revision == active else self._ledger.get(arm.revision)), False
        if arm.patch is None:
            return None, False
        base, said = self._ledger.get(active), f"arm {arm.name} of experiment {one.id}"
        config = patched(config_of(base), arm.patch, said)
        made = self._ledger.made(document, base, config, actor, "proposed", said, None)
        return (None, False) if made.version == base.version else (made, True)


def _named(revision: Revision) -> tuple[int, str]:
    return revision.revision, revision.version


def _then(first: Change, second: Change) -> Change:
    """Two changes, the second one of the first one's document, as one."""
    return replace(
        second,
        expected=first.expected,
        revision=second.revision or first.revision,
        networks={**first.networks, **second.networks},
        events=[*first.events, *second.events],
    )
