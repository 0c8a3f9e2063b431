"""Origin: what an exposure was made with, which its writer says once. Knows no folder, no broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.events.catalogue import EventCatalogue
from model.events.exposures import Exposure


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """One bundle with one fusion config; many exposures share it.

    Attributes:
        tasks: names of the bundle's predictions.
        events: the bundle's catalogue; None where it declares none, or another bundle's holds.
        fusion_version: of the fusion config.
        fusion: gives the config as canonical JSON; takes a millisecond.
    """

    tasks: tuple[str, ...]
    events: EventCatalogue | None
    fusion_version: str
    fusion: Callable[[], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An exposure and its origin."""

    exposure: Exposure
    origin: Origin
