"""Refusals: why bundles do not serve, and when each is tried again. Loads nothing.

What is wrong with the content is remembered until the files change; a bundle that waits for its rows or for a
fusion config that fits it is tried again soon, and one that failed otherwise after a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from model.bundle import Bundle
from model.errors import FulcrumError
from model.fusion import FusionError
from service.control.bundles.catalog import Model, Signature
from service.control.bundles.loading import NoRowsError, UnfitError

_AGAIN_S = 1.0
"""Seconds until a bundle is tried again that waits for its rows, or for a fusion config that it fits."""

_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 900.0
"""Seconds until a bundle is tried again that failed for reasons which may pass, twice as long each time."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why a bundle does not serve.

    Attributes:
        signature: the files that were refused.
        reason: in one line.
        waiting: the verified bundle, where nothing is amiss but its rows.
        again_at: when to try again, of `time.monotonic`; None for not before the files change.
        pause_s: before that try, where what failed may pass.
    """

    signature: Signature
    reason: str
    waiting: Bundle | None = None
    again_at: float | None = None
    pause_s: float = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to try again."""
        return self.again_at is not None and time.monotonic() >= self.again_at


class Refusals:
    """The refusals of a worker, by folder.

    Args:
        on_refused: called with each bundle that is refused for another reason than before.
    """

    def __init__(self, on_refused: Callable[[Model, str], None]) -> None:
        self._on_refused = on_refused
        self._by_path: dict[Path, Refusal] = {}

    def of(self, model: Model) -> Refusal | None:
        """Why these files of a bundle do not serve; None where they were not refused."""
        found = self._by_path.get(model.path)
        return found if found is not None and found.signature == model.signature else None

    def reason(self, model: Model) -> str:
        """Why a bundle that was refused does not serve."""
        return self._by_path[model.path].reason

    @property
    def reasons(self) -> dict[str, str]:
        """Why, by folder."""
        return {str(path): refusal.reason for path, refusal in self._by_path.items()}

    def lift(self, model: Model) -> None:
        """It can serve."""
        self._by_path.pop(model.path, None)

    def failed(self, model: Model, error: Exception, bundle: Bundle | None = None) -> None:
        """Refuse a bundle, for as long as it deserves.

        Args:
            model: its folder.
            error: what went wrong.
            bundle: the verified bundle, which may only wait for its rows.
        """
        match error:
            case FusionError():
                self.refuse(model, str(error), again_s=_AGAIN_S)
            case NoRowsError():
                self.refuse(model, str(error), waiting=bundle, again_s=_AGAIN_S)
            case UnfitError():
                self.refuse(model, str(error))
            case _:
                if not isinstance(error, FulcrumError):
                    log.error("bundle_refused", path=str(model.path), exc_info=error)
                before = self._by_path.get(model.path)
                pause_s = min(2.0 * before.pause_s, _LONGEST_PAUSE_S) if before else 0.0
                reason = str(error) if isinstance(error, FulcrumError) else f"bundle {model.path}: {error!r}"
                self.refuse(model, reason, again_s=pause_s or _PAUSE_S, pause_s=pause_s or _PAUSE_S)

    def refuse(
        self,
        model: Model,
        reason: str,
        waiting: Bundle | None = None,
        again_s: float | None = None,
        pause_s: float = 0.0,
    ) -> None:
        """Refuse a bundle until `again_s` seconds have passed; None for as long as its files are these."""
        before = self._by_path.get(model.path)
        again_at = None if again_s is None else time.monotonic() + again_s
        self._by_path[model.path] = Refusal(model.signature, reason, waiting, again_at, pause_s)
        if before is None or before.reason != reason:
            self._on_refused(model, reason)

    def forget(self, models: Iterable[Model]) -> bool:
        """What is gone or has changed is refused no longer; True where there was such a bundle."""
        signatures = {model.path: model.signature for model in models}
        kept = {path: one for path, one in self._by_path.items() if signatures.get(path) == one.signature}
        changed = kept != self._by_path
        self._by_path = kept
        return changed
