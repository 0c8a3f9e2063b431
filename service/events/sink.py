"""Sink: where exposures go. What every kind of it must be able to do; knows none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from model.events import Shown

P = TypeVar("P")
"""An exposure, prepared for a sink."""


class ExposureSink(Protocol[P]):
    """One worker's way to a folder or a broker, used by one thread."""

    def prepare(self, shown: Shown) -> P:
        """Do what can be done for one exposure as soon as it is there, so that `write` has little to do.

        Raises:
            ValueError: it cannot be written anywhere.
        """

    def write(self, batch: Sequence[P]) -> int:
        """Write exposures, and before them what describes them: bytes written.

        Raises:
            OSError: not all are written; the whole batch may be written again, at once or later. Readers drop
                what they find twice.
            ValueError: one of them cannot be written anywhere.
        """

    def rest(self) -> None:
        """Do what is due without a batch, such as closing the file of an hour that is over.

        Raises:
            OSError: it could not be done.
        """

    def close(self) -> None:
        """End what is open."""
