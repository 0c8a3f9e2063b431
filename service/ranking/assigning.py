"""Assigning: what answers a request, by its arms in experiments. Looks up, and makes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.experiments import Unit
from service.contract.query import Query
from service.control.snapshot import Snapshot
from service.ranking.exposure_id import new_exposure_id, time_ms_of
from service.ranking.fusing import said_by


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a request is answered with.

    Attributes:
        exposure_id: of its answer, which is the unit of layers that deal requests.
        snapshot: bundle and config.
        arms: labels: `layer/experiment:arm`, `layer/holdout`.
        beside: whether the bundle is another than the active one.
    """

    exposure_id: str
    snapshot: Snapshot
    arms: Sequence[str] = ()
    beside: bool = False


def assigned(query: Query, active: Snapshot) -> Assigned:
    """What a request is answered with that begins now.

    Args:
        query: says whose it is, in which scene, in what context.
        active: what is active, with the arms beside it.
    """
    exposure_id = new_exposure_id()
    if active.arms is None:
        return Assigned(exposure_id, active)
    units: dict[Unit, str | None] = {
        "user": query.user_id,
        "session": query.session_id,
        "request": exposure_id,
    }
    found, arms = active.arms.to(units, query.scene, said_by(query), time_ms_of(exposure_id))
    if found is None:
        return Assigned(exposure_id, active, arms)
    return Assigned(exposure_id, found, arms, found.active is not active.active)
