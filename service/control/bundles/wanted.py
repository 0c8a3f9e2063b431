"""The wanted bundle, where a control store says which it is: read for the rollout, written by `Operator`."""

from __future__ import annotations

from service.control.state.control import ControlStore
from service.control.state.desired import Desired, StateError


class WantedBundle:
    """The bundle of the store's active entry, as a rollout reads it.

    Args:
        store: of revisions.
    """

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """For messages."""
        return self._store.name

    def read(self) -> Desired:
        """What is wanted; the newest bundle while the store is empty."""
        document = self._store.read()
        return Desired(bundle=document.active.bundle if document else None)

    def write(self, desired: Desired) -> None:
        """Nobody writes here: a change has an actor and a reason."""
        raise StateError(f"{self.name}: a bundle is activated with an actor, not by {desired}")
