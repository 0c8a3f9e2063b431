"""Audit: what was changed, by whom and why, as typed events. Knows no store."""

from __future__ import annotations

from typing import Any, Literal

from model.frozen import Frozen

Action = Literal[
    "store_seeded",
    "revision_proposed",
    "file_edited",
    "revision_activated",
    "revision_rolled_back",
    "activation_scheduled",
    "schedule_cancelled",
    "schedule_dropped",
    "bundle_activated",
    "layer_created",
    "experiment_created",
    "experiment_started",
    "experiment_ramped",
    "experiment_paused",
    "experiment_stopped",
    "experiment_decided",
    "experiment_override",
]
"""What can happen."""


class AuditEvent(Frozen):
    """One change; never edited, never removed."""

    event: int
    """Counts from 1, without gaps; the order of changes, whatever clocks say."""
    time_ms: int
    """Unix time of the host that made the change, milliseconds."""
    actor: str
    action: Action
    before: dict[str, Any] | None = None
    """What it replaced: `{"revision", "bundle"}` of an activation; None where there was nothing."""
    after: dict[str, Any] | None = None
    """What there is since."""
    why: str = ""
