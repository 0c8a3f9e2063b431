"""Changing: what a person may do to fusion and bundle of a running service, in one place. Knows no HTTP.

Joins the history (`fusion/revisions.py`, `experiments/changes.py`), what this worker ranks by (`active.py`)
and the bundles (`bundles/rollout.py`): a change is judged here as far as this worker can, written down, then
in force here at once; other workers follow the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.errors import FulcrumError
from model.experiments import Experiment
from model.fusion import FusionConfig, FusionError
from service.control.active import Control
from service.control.bundles.rollout import Rollout
from service.control.experiments.arms import Arms
from service.control.experiments.changes import ExperimentChanges
from service.control.experiments.deciding import Decision, Decisions
from service.control.fusion.in_force import InForce
from service.control.fusion.revisions import Revisions, config_of
from service.control.fusion.schedules import Schedules
from service.control.state.control import Activation, Document, Revision, Schedule
from service.control.state.desired import StateError


class NoModelsError(FulcrumError):
    """The service was started with one bundle, for good."""


class Operator:
    """Makes changes.

    Args:
        revisions: of the control store.
        control: what this worker has active.
        rollout: brings other bundles into service; None where there is but one.

    Attributes:
        experiments: changes of them that no worker needs to judge.
    """

    def __init__(self, revisions: Revisions, control: Control, rollout: Rollout | None) -> None:
        self.revisions = revisions
        self.experiments = ExperimentChanges(revisions)
        self._decisions = Decisions(revisions, self.experiments)
        self._schedules = Schedules(revisions)
        self._control = control
        self._rollout = rollout

    @property
    def problem(self) -> str | None:
        """Why this worker cannot follow the store now; None if it can."""
        return self._in_force.problem

    def full_version(self, bundle: str) -> str:
        """The version that begins with this.

        Raises:
            NoModelsError, UnknownVersionError, AmbiguousVersionError: there is not one such bundle.
        """
        if self._rollout is None:
            raise NoModelsError(
                "this service was started with one bundle; set models, not bundle, to change it"
            )
        return self._rollout.full_version(bundle)

    def unfit(self, revision: Revision) -> str | None:
        """Why the bundle that serves could not serve with a revision; None if it could."""
        try:
            self._in_force.check_config(config_of(revision))
        except FusionError as error:
            return str(error)
        return None

    def propose(
        self,
        actor: str,
        config: FusionConfig,
        parent: int | None,
        note: str,
        networks: Mapping[str, bytes],
        evidence: dict[str, Any] | None,
    ) -> Revision:
        """Write a config down, once its networks passed their trial. Raises as `Revisions.propose`.

        Raises:
            FusionError: a network is missing, or may not rank.
        """
        self._in_force.try_networks(config, networks)
        return self.revisions.propose(actor, config, parent, note, networks, evidence)

    def activate(
        self, actor: str, number: int, if_active: int, why: str, bundle: str | None = None
    ) -> tuple[int, Document]:
        """Rank by a revision, and where a bundle is given, with it. Raises as `Revisions.activate`.

        Raises:
            UnknownVersionError, AmbiguousVersionError, NoModelsError: there is not one such bundle.
            FulcrumError: the bundle is refused; nothing has changed.
        """
        if bundle is None:
            changed = self.revisions.activate(actor, number, if_active, why, None, self._fits)
        else:
            changed = self._activate_both(actor, number, if_active, why, self.full_version(bundle))
        self._control.converge()
        return changed

    def activate_bundle(self, actor: str, bundle: str, why: str = "") -> None:
        """Serve another bundle with the active revision. Raises as `Rollout.activate`."""
        version = self.full_version(bundle)
        assert self._rollout is not None  # noqa: S101 - it has a full version
        self._rollout.activate(version, lambda found: self.revisions.want_bundle(actor, found, why))

    def schedule(self, schedule: Schedule) -> Document:
        """Activate a revision later. Raises as `Schedules.schedule`."""
        return self._schedules.schedule(schedule, self._fits)

    def cancel(self, actor: str, why: str, if_scheduled: int | None = None) -> Document:
        """Take back what was scheduled. Raises as `Schedules.cancel`."""
        return self._schedules.cancel(actor, why, if_scheduled)

    def rollback(self, actor: str, if_active: int, why: str) -> tuple[int, Document]:
        """Go back to the revision that was active before. Raises as `Revisions.rollback`."""
        changed = self.revisions.rollback(actor, if_active, why, self._fits)
        self._control.converge()
        return changed

    def converge(self) -> None:
        """Have what was changed in force here at once, as it is elsewhere within a second."""
        self._control.converge()

    def paused(self, document: Document) -> list[str]:
        """Experiments that the change which made this document paused; none where the store is away."""
        try:
            return self.revisions.paused(document)
        except StateError:  # what was changed is changed
            return []

    def waits(self, experiment: str) -> str | None:
        """Why this worker does not serve an experiment that is to be served; None where it does."""
        return self._arms.waits(experiment)

    def create(self, actor: str, draft: Experiment, first: int | None) -> Experiment:
        """Make an experiment. Raises as `ExperimentChanges.create`.

        Raises:
            UnknownVersionError, NoModelsError: there is no such bundle.
            ExperimentError, FusionError: arms cannot be served beside those of all others.
        """
        for arm in draft.arms:
            if arm.bundle is not None:
                self.full_version(arm.bundle)
        return self.experiments.create(actor, draft, first, self._arms.check)

    def begin(self, actor: str, name: str, if_edition: int, why: str) -> Experiment:
        """Start an experiment. Raises as `ExperimentChanges.start`, and as `create` does of arms."""
        serves = None if self._rollout is None else self._control.snapshot().active.bundle.version
        return self.experiments.start(actor, name, if_edition, why, self._arms.check, serves)

    def decide(self, decision: Decision) -> Document:
        """Stop an experiment, and give everybody what an arm has. Raises as `Decisions.decide`."""
        winner = self._decisions.winner(decision)
        bundle, before = winner.activation.bundle, self.revisions.document().active.bundle
        if bundle is None or bundle == before:
            return self._decisions.decide(decision, self._judge)
        return self._decide_with(decision, winner.revision, self.full_version(bundle))

    def _decide_with(self, decision: Decision, revision: Revision | None, bundle: str) -> Document:
        """With a bundle, which is tried and loaded before anything is written."""
        self.experiments.expect(decision.experiment, decision.if_edition)
        self.revisions.expect(decision.if_active)
        decided: list[Document] = []

        def write(_: str) -> None:
            decided.append(self._decisions.decide(decision, judged=revision))

        assert self._rollout is not None  # noqa: S101 - it has a full version
        reserved = self._in_force.state.active if revision is None else self._in_force.judged(revision)
        with self._in_force.reserved(bundle, reserved):
            self._rollout.activate(bundle, write)
        return decided[-1]

    def _judge(self, config: FusionConfig) -> None:
        self._in_force.check_config(config)
        self._in_force.try_networks(config, {})

    def _activate_both(
        self, actor: str, number: int, if_active: int, why: str, bundle: str
    ) -> tuple[int, Document]:
        self.revisions.expect(if_active)  # before a bundle is loaded, which takes seconds
        active = self._in_force.judged(self.revisions.get(number))
        changed: list[tuple[int, Document]] = []

        def write(version: str) -> None:
            # The rollout has tried the bundle with this revision, and holds its lock.
            changed.append(self.revisions.activate(actor, number, if_active, why, version))

        assert self._rollout is not None  # noqa: S101 - it has a full version
        with self._in_force.reserved(bundle, active):
            self._rollout.activate(bundle, write)
        return changed[-1]

    def _fits(self, activation: Activation) -> None:
        self._in_force.fits(activation)
        if activation.together and activation.bundle is not None and self._rollout is not None:
            self._rollout.full_version(activation.bundle)  # it is still there

    @property
    def _arms(self) -> Arms:
        arms = self._control.arms
        assert arms is not None  # noqa: S101 - with revisions, there are some
        return arms

    @property
    def _in_force(self) -> InForce:
        in_force = self._control.in_force
        assert in_force is not None  # noqa: S101 - with revisions, there is one
        return in_force
